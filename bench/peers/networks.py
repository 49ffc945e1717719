"""The networks of bench/s1.kd to s11.kd in PyTorch, with its own names, images [N, 3, 32, 32] to logits [N, classes].

Those that are distilled return a list of their stages' maps too."""

import torch
import torch.nn.functional as F
from torch import nn


def conv(inputs, outputs, kernel, stride=1, groups=1, bias=False):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=bias)


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, inputs, channels, stride=1):
        super().__init__()
        self.conv1 = conv(inputs, channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv(channels, channels, 3)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or inputs != channels:
            self.downsample = nn.Sequential(conv(inputs, channels, 1, stride), nn.BatchNorm2d(channels))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inputs, channels, stride=1, groups=1, group_width=64):
        super().__init__()
        middle, outputs = channels * group_width // 64 * groups, 4 * channels
        self.conv1 = conv(inputs, middle, 1)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = conv(middle, middle, 3, stride, groups)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = conv(middle, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


class ResNet(nn.Module):
    """A 3x3 stem and stages of blocks; those after the first halve the map. `stages` says how many are run: with fewer
    than all, forward() gives the last one's map."""

    def __init__(self, blocks, widths, classes=100, block=BasicBlock, stem=None, **block_args):
        super().__init__()
        inputs = stem or widths[0]
        self.conv1 = conv(3, inputs, 3)
        self.bn1 = nn.BatchNorm2d(inputs)
        for i, (count, width) in enumerate(zip(blocks, widths)):
            stage = []
            for j in range(count):
                stage.append(block(inputs, width, 2 if i > 0 and j == 0 else 1, **block_args))
                inputs = width * block.expansion
            setattr(self, f"layer{i + 1}", nn.Sequential(*stage))
        self.fc = nn.Linear(inputs, classes)
        self.stages = len(blocks)
        self.has_head = True

    def truncate(self, stages):
        """Drops all behind the stage of that number, from 1."""
        for i in range(stages, self.stages):
            delattr(self, f"layer{i + 1}")
        del self.fc
        self.stages, self.has_head = stages, False

    def maps(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        found = []
        for i in range(self.stages):
            y = getattr(self, f"layer{i + 1}")(y)
            found.append(y)
        return found

    def head(self, y):
        """Logits and the features that they are of."""
        pool = y.mean((2, 3))
        return self.fc(pool), pool

    def forward(self, x):
        y = self.maps(x)[-1]
        return self.head(y)[0] if self.has_head else y


class WideBlock(nn.Module):
    def __init__(self, inputs, channels, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv(inputs, channels, 3, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = conv(channels, channels, 3)
        self.convShortcut = None
        if stride != 1 or inputs != channels:
            self.convShortcut = conv(inputs, channels, 1, stride)

    def forward(self, x):
        active = F.relu(self.bn1(x), inplace=True)
        y = F.relu(self.bn2(self.conv1(active)), inplace=True)
        y = self.conv2(y)
        return y + (x if self.convShortcut is None else self.convShortcut(active))


class WideResNet(nn.Module):
    def __init__(self, depth, widen, classes=100):
        super().__init__()
        self.conv1 = conv(3, 16, 3)
        inputs = 16
        for i in range(3):
            blocks = []
            for j in range((depth - 4) // 6):
                blocks.append(WideBlock(inputs, 16 * widen * 2**i, 2 if i > 0 and j == 0 else 1))
                inputs = 16 * widen * 2**i
            block = nn.Module()
            block.layer = nn.Sequential(*blocks)
            setattr(self, f"block{i + 1}", block)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        y = self.conv1(x)
        for block in (self.block1, self.block2, self.block3):
            y = block.layer(y)
        return self.fc(F.relu(self.bn1(y), inplace=True).mean((2, 3)))


class InvertedResidual(nn.Module):
    def __init__(self, inputs, channels, stride, expansion):
        super().__init__()
        wide = expansion * inputs
        self.conv1 = conv(inputs, wide, 1)
        self.bn1 = nn.BatchNorm2d(wide)
        self.conv2 = conv(wide, wide, 3, stride, groups=wide)
        self.bn2 = nn.BatchNorm2d(wide)
        self.conv3 = conv(wide, channels, 1)
        self.bn3 = nn.BatchNorm2d(channels)
        self.adds = stride == 1
        self.shortcut = None
        if stride == 1 and inputs != channels:
            self.shortcut = nn.Sequential(conv(inputs, channels, 1), nn.BatchNorm2d(channels))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        if not self.adds:
            return y
        return y + (x if self.shortcut is None else self.shortcut(x))


class MobileNetV2(nn.Module):
    """The form for 32x32 images: the stem and the first two stages keep the map's size."""

    stages = [(1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]

    def __init__(self, classes=100):
        super().__init__()
        self.conv1 = conv(3, 32, 3)
        self.bn1 = nn.BatchNorm2d(32)
        blocks, inputs = [], 32
        for expansion, channels, count, stride in self.stages:
            for j in range(count):
                blocks.append(InvertedResidual(inputs, channels, stride if j == 0 else 1, expansion))
                inputs = channels
        self.layers = nn.Sequential(*blocks)
        self.conv2 = conv(inputs, 1280, 1)
        self.bn2 = nn.BatchNorm2d(1280)
        self.linear = nn.Linear(1280, classes)

    def forward(self, x):
        y = self.layers(F.relu(self.bn1(self.conv1(x)), inplace=True))
        return self.linear(F.relu(self.bn2(self.conv2(y)), inplace=True).mean((2, 3)))


class Vgg(nn.Module):
    """VGG16 with batch norm; the classifier is one layer on the mean of the last map."""

    def __init__(self, classes=100):
        super().__init__()
        layers, inputs = [], 3
        for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(count):
                layers += [conv(inputs, width, 3, bias=True), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                inputs = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class Connector(nn.Module):
    """1x1 convolution, batch norm, ReLU."""

    def __init__(self, inputs, channels):
        super().__init__()
        self.conv = conv(inputs, channels, 1)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Scala(nn.Module):
    """An exit of BYOT: logits and features of a stage's map, which `kernel` brings to 4x4 and less."""

    def __init__(self, inputs, outputs, kernel, classes=100, width=128):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel, kernel)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.fc = nn.Linear(outputs, classes)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        feature = F.relu(self.bn3(self.conv3(y)), inplace=True).mean((2, 3))
        return self.fc(feature), feature


class Attention(nn.Module):
    """An edge of MHGD from a front tap's vectors to a back tap's; its second phase uses the scores alone."""

    def __init__(self, front, back, heads=8):
        super().__init__()
        d = (front + back) // 2
        self.heads = heads
        self.theta, self.theta_bn = nn.Linear(back, d * heads, bias=False), nn.BatchNorm1d(d * heads)
        self.phi, self.phi_bn = nn.Linear(front, d * heads, bias=False), nn.BatchNorm1d(d * heads)
        self.f1, self.f1_bn = nn.Linear(front, d, bias=False), nn.BatchNorm1d(d)
        self.f2 = nn.Linear(d * heads, back)

    def scores(self, front, back):
        """[heads, N, N], back by front."""
        theta = self.theta_bn(self.theta(back)).view(len(back), -1, self.heads)
        phi = self.phi_bn(self.phi(front)).view(len(front), -1, self.heads)
        return theta.permute(2, 0, 1) @ phi.permute(2, 1, 0)


def resnet_cifar20():
    return ResNet([3, 3, 3], [16, 32, 64])


def resnet18():
    return ResNet([2, 2, 2, 2], [64, 128, 256, 512])


def resnet34():
    return ResNet([3, 4, 6, 3], [64, 128, 256, 512])


def resnet50():
    return ResNet([3, 4, 6, 3], [64, 128, 256, 512], block=Bottleneck)


def resnet152():
    return ResNet([3, 8, 36, 3], [64, 128, 256, 512], block=Bottleneck)


def resnext29():
    return ResNet([3, 3, 3], [64, 128, 256], block=Bottleneck, groups=8, group_width=64)


def fold_batch_norms(module):
    """Batch norms into the convolutions and linear layers before them, in a network that is only evaluated: each norm
    into the layer that was made just before it."""
    for child in module.children():
        fold_batch_norms(child)
    names = [name for name, _ in module.named_children()]
    for before, name in zip(names, names[1:]):
        first, norm = getattr(module, before), getattr(module, name)
        if isinstance(first, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, before, torch.nn.utils.fuse_conv_bn_eval(first, norm))
            setattr(module, name, nn.Identity())
        if isinstance(first, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
            setattr(module, before, torch.nn.utils.fuse_linear_bn_eval(first, norm))
            setattr(module, name, nn.Identity())

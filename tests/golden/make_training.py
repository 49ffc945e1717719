#!/usr/bin/env python3
"""Makes training/ and training.txt: what training.kd must do, by PyTorch 2.13 in f64. Needs torch and safetensors.

    python3 tests/golden/make_training.py            both, from a fixed seed
    python3 tests/golden/make_training.py --numbers  training.txt alone, from the weights and images that are there

A line of training.txt is: method, rule, steps, what, number. `what` is `ce`, the cross entropy that the last of the
steps saw, or the first part or two of the names of some tensors, parameters and running statistics, of which the
number is the sum of v[i] * cos(0.37 * (i + 1) + length of the name) over all elements v[i] of all of them.
"""
import math
import os
import sys

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(HERE, "training")
CASES = [("alone", "sgd"), ("alone", "nesterov"), ("alone", "adam"), ("alone", "adamw"), ("alone", "no_decay"),
         ("smooth", "sgd"), ("kd", "sgd"), ("gkd", "sgd"), ("cd", "sgd"), ("at", "sgd")]
STEPS = (1, 5, 20)
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (self.downsample(x) if self.downsample else x))


class ResNet(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(Block(width, width, 1))
        self.layer2 = nn.Sequential(Block(width, 2 * width, 2))
        self.layer3 = nn.Sequential(Block(2 * width, 4 * width, 2))
        self.fc = nn.Linear(4 * width, 10)

    def forward(self, x):
        maps = []
        x = F.relu(self.bn1(self.conv1(x)))
        for layer in (self.layer1, self.layer2, self.layer3):
            x = layer(x)
            maps.append(x)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1)), maps


class Connector(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


def models():
    net = {"teacher": ResNet(6), "student": ResNet(4)}
    for k in range(3):
        net[f"connect{k}"] = Connector(4 * 2**k, 6 * 2**k)
    return net


def read_idx(name):
    data = open(os.path.join(FOLDER, name), "rb").read()
    shape = [int.from_bytes(data[4 + 4 * i:8 + 4 * i], "big") for i in range(data[3])]
    return torch.tensor(list(data[4 + 4 * data[3]:])).reshape(shape)


def write_idx(name, tensor):
    head = bytes([0, 0, 8, tensor.dim()]) + b"".join(n.to_bytes(4, "big") for n in tensor.shape)
    open(os.path.join(FOLDER, name), "wb").write(head + bytes(tensor.flatten().tolist()))


def contrast(images, step):
    return images * (1 + 0.5 * math.sin(step)) - 0.3


def kl(s, t, temperature):
    log_s, p = F.log_softmax(s / temperature, 1), F.softmax(t / temperature, 1)
    return F.kl_div(log_s, p, reduction="none").sum(1)


def attention(x):
    return F.normalize(x.pow(2).mean(1).flatten(1))


def optimizer(rule, parameters):
    if rule == "adam":
        return torch.optim.Adam(parameters, lr=1e-2, weight_decay=1e-3)
    if rule == "adamw":
        return torch.optim.AdamW(parameters, lr=1e-2, weight_decay=1e-2)
    if rule == "no_decay":
        groups = [{"params": [p for p in parameters if p.dim() > 1], "weight_decay": 5e-2},
                  {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0}]
        return torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=rule == "nesterov")


def make_inputs():
    """Images, and weights of a teacher that has learnt half of them; in bf16, which keeps the files small."""
    torch.manual_seed(20)
    os.makedirs(FOLDER, exist_ok=True)
    write_idx("train-images-idx3-ubyte", torch.randint(0, 256, (8, 8, 8)))
    write_idx("train-labels-idx1-ubyte", torch.arange(8) * 3 % 10)
    images, labels = read_idx("train-images-idx3-ubyte")[:, None] / 255, read_idx("train-labels-idx1-ubyte")
    net = models()
    sgd = torch.optim.SGD(net["teacher"].parameters(), lr=0.02)
    for step in range(12):
        loss = F.cross_entropy(net["teacher"](contrast(images, step))[0], labels)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
    for name, module in net.items():
        tensors = {k: v.bfloat16() if v.is_floating_point() else v for k, v in module.state_dict().items()}
        save_file(tensors, os.path.join(FOLDER, name + ".safetensors"))


def run(method, rule, steps):
    images, labels = read_idx("train-images-idx3-ubyte")[:, None] / 255, read_idx("train-labels-idx1-ubyte")
    net = models()
    for name, module in net.items():
        module.load_state_dict(load_file(os.path.join(FOLDER, name + ".safetensors")))
        module.train(name != "teacher")
    trained = ["student"] + (["connect0", "connect1", "connect2"] if method == "cd" else [])
    rule = optimizer(rule, [p for name in trained for p in net[name].parameters()])
    for step in range(steps):
        x = contrast(images, step)
        s, s_map = net["student"](x)
        with torch.no_grad():
            t, t_map = net["teacher"](x)
        ce = F.cross_entropy(s, labels)
        loss = F.cross_entropy(s, labels, label_smoothing=0.1) if method == "smooth" else ce
        if method == "kd":
            loss = loss + 16 * kl(s, t, 4).mean()
        if method == "gkd":
            right = t.argmax(1) == labels
            assert 0 < right.sum() < 8, "the teacher is to be right about some of them"
            loss = loss + 16 * (kl(s, t, 4) * right).sum() / right.sum()
        if method == "cd":
            loss = loss + 5 * sum(F.mse_loss(net[f"connect{k}"](s_map[k]).mean((2, 3)), t_map[k].mean((2, 3)))
                                  for k in range(3)) / 3
        if method == "at":
            loss = loss + 50 * sum(F.mse_loss(attention(a), attention(b)) for a, b in zip(s_map, t_map)) / 3
        rule.zero_grad()
        loss.backward()
        rule.step()
    return {f"{name}.{key}": value for name in trained for key, value in net[name].state_dict().items()
            if not key.endswith("num_batches_tracked")}, ce.item()


def digests(tensors):
    result = {}
    for name, value in tensors.items():
        what = ".".join(name.split(".")[:2])
        flat = value.detach().flatten()
        phase = 0.37 * torch.arange(1, flat.numel() + 1) + len(name)
        result[what] = result.get(what, 0.0) + (flat * torch.cos(phase)).sum().item()
    return result


def main():
    if "--numbers" not in sys.argv:
        make_inputs()
    with open(os.path.join(HERE, "training.txt"), "w") as out:
        for method, rule in CASES:
            for steps in STEPS:
                tensors, ce = run(method, rule, steps)
                for what, number in [("ce", ce), *digests(tensors).items()]:
                    out.write(f"{method} {rule} {steps} {what} {number:.15e}\n")


main()

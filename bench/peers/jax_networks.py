"""The networks of networks.py in JAX: functions of a Net, which holds the parameters by PyTorch's names, and of images in
the layout that it says. Kernels are OIHW with "nchw" and HWIO with "nhwc"."""

import jax
import jax.numpy as jnp
from jax import lax

EPSILON = 1e-5
MOMENTUM = 0.1  # of running statistics


class Net:
    """Parameters and states of one network, those whose names begin with `prefix`. While training, batch norms use the
    batch's statistics and leave new running ones in `states`. Pairs of layers and the norms behind them are noted in
    `folds`, for those who fold them; a norm whose parameters are gone has been folded."""

    def __init__(self, params, prefix, layout="nhwc", training=False, states=None, folds=None):
        self.params, self.prefix, self.layout, self.training = params, prefix, layout, training
        self.states, self.folds = states, folds

    def sub(self, name):
        return Net(self.params, f"{self.prefix}{name}.", self.layout, self.training, self.states, self.folds)

    def __contains__(self, name):
        return self.prefix + name in self.params

    def __getitem__(self, name):
        return self.params[self.prefix + name]

    def channels_of(self, values):
        return values.reshape(-1, 1, 1) if self.layout == "nchw" else values

    @property
    def maps(self):
        return (2, 3) if self.layout == "nchw" else (1, 2)

    def conv(self, name, x, stride=1, groups=1, padding=None):
        w = self[f"{name}.weight"]
        order, kernel = ("NCHW", "OIHW") if self.layout == "nchw" else ("NHWC", "HWIO")
        channels, filters = order.index("C"), kernel.index("O")
        p = w.shape[kernel.index("H")] // 2 if padding is None else padding

        def dense(x, w):
            return lax.conv_general_dilated(x, w, (stride, stride), ((p, p), (p, p)), dimension_numbers=(order, kernel, order))

        if groups == 1:
            y = dense(x, w)
        elif groups == x.shape[channels]:
            y = self.depthwise(x, w if self.layout == "nhwc" else w.transpose(2, 3, 1, 0), stride, p)
        else:  # XLA's CPU gradients by the weights of grouped convolutions are plain loops: 1.36 s where these take 0.04
            pairs = zip(jnp.split(x, groups, channels), jnp.split(w, groups, filters))
            y = jnp.concatenate([dense(*pair) for pair in pairs], channels)
        return y + self.channels_of(self[f"{name}.bias"]) if f"{name}.bias" in self else y

    def depthwise(self, x, w, stride, p):
        """A sum over the taps of w [height, width, 1, channels], which XLA makes one loop; its own depthwise convolutions
        take many times as long on a CPU."""
        pad = [(p, p) if axis in self.maps else (0, 0) for axis in range(4)]
        size = x.shape[self.maps[0]] + 2 * p - len(w)
        x, y = jnp.pad(x, pad), 0
        for i in range(len(w)):
            for j in range(w.shape[1]):
                at = [slice(None)] * 4
                at[self.maps[0]] = slice(i, i + size + 1, stride)
                at[self.maps[1]] = slice(j, j + size + 1, stride)
                y += x[tuple(at)] * self.channels_of(w[i, j, 0])
        return y

    def norm(self, name, x, behind=None):
        if self.folds is not None and behind:
            self.folds.append((f"{self.prefix}{behind}", f"{self.prefix}{name}"))
        if f"{name}.weight" not in self:
            return x
        axes = (0,) if x.ndim == 2 else (0, *self.maps)
        mean, var = self[f"{name}.running_mean"], self[f"{name}.running_var"]
        if self.training:
            kept, count = (mean, var), x.size // len(mean)
            mean = x.mean(axes)
            var = jnp.square(x).mean(axes) - mean * mean if x.dtype == jnp.float32 else x.var(axes)
            self.states[f"{self.prefix}{name}.running_mean"] = (1 - MOMENTUM) * kept[0] + MOMENTUM * mean
            self.states[f"{self.prefix}{name}.running_var"] = (
                (1 - MOMENTUM) * kept[1] + MOMENTUM * var * (count / (count - 1)))
        scale = self[f"{name}.weight"] * lax.rsqrt(var + EPSILON)
        shift = self[f"{name}.bias"] - mean * scale
        if x.ndim == 2:
            return x * scale + shift
        return x * self.channels_of(scale) + self.channels_of(shift)

    def conv_norm(self, conv, norm, x, **options):
        return self.norm(norm, self.conv(conv, x, **options), behind=conv)

    def linear(self, name, x):
        y = x @ self[f"{name}.weight"].T
        return y + self[f"{name}.bias"] if f"{name}.bias" in self else y


def relu(x):
    return jnp.maximum(x, 0)


# ---- residual networks -------------------------------------------------------------------------------


def basic_block(net, x, stride):
    y = relu(net.conv_norm("conv1", "bn1", x, stride=stride))
    y = net.conv_norm("conv2", "bn2", y)
    if "downsample.0.weight" in net:
        x = net.conv_norm("downsample.0", "downsample.1", x, stride=stride)
    return relu(y + x)


def bottleneck(net, x, stride, groups=1):
    y = relu(net.conv_norm("conv1", "bn1", x))
    y = relu(net.conv_norm("conv2", "bn2", y, stride=stride, groups=groups))
    y = net.conv_norm("conv3", "bn3", y)
    if "downsample.0.weight" in net:
        x = net.conv_norm("downsample.0", "downsample.1", x, stride=stride)
    return relu(y + x)


def stage(net, x, count, stride, block, **options):
    for j in range(count):
        x = block(net.sub(str(j)), x, stride if j == 0 else 1, **options)
    return x


def resnet_maps(net, x, blocks, block=basic_block, **options):
    """The maps behind each stage."""
    y = relu(net.conv_norm("conv1", "bn1", x))
    found = []
    for i, count in enumerate(blocks):
        y = stage(net.sub(f"layer{i + 1}"), y, count, 2 if i > 0 else 1, block, **options)
        found.append(y)
    return found


def head(net, y):
    """Logits and the features that they are of."""
    pool = y.mean(net.maps)
    return net.linear("fc", pool), pool


def resnet(net, x, blocks, **options):
    return head(net, resnet_maps(net, x, blocks, **options)[-1])[0]


# ---- others ------------------------------------------------------------------------------------------


def wide_resnet(net, x, count):
    y = net.conv("conv1", x)
    for i in range(3):
        for j in range(count):
            block = net.sub(f"block{i + 1}.layer.{j}")
            stride = 2 if i > 0 and j == 0 else 1
            active = relu(block.norm("bn1", y))
            z = relu(block.norm("bn2", block.conv("conv1", active, stride=stride)))
            z = block.conv("conv2", z)
            y = z + (block.conv("convShortcut", active, stride=stride) if "convShortcut.weight" in block else y)
    return net.linear("fc", relu(net.norm("bn1", y)).mean(net.maps))


def mobilenet_v2(net, x, stages):
    y = relu(net.norm("bn1", net.conv("conv1", x)))
    k = 0
    for _, _, count, stride in stages:
        for j in range(count):
            block, s = net.sub(f"layers.{k}"), stride if j == 0 else 1
            z = relu(block.norm("bn1", block.conv("conv1", y)))
            z = relu(block.norm("bn2", block.conv("conv2", z, stride=s, groups=len(block["bn2.weight"]))))
            z = block.norm("bn3", block.conv("conv3", z))
            if s == 1:
                z += block.norm("shortcut.1", block.conv("shortcut.0", y)) if "shortcut.0.weight" in block else y
            y, k = z, k + 1
    return net.linear("linear", relu(net.norm("bn2", net.conv("conv2", y))).mean(net.maps))


def vgg16(net, x):
    k = 0
    window = [1, 1, 1, 1]
    for axis in net.maps:
        window[axis] = 2
    for count in (2, 2, 3, 3, 3):
        for _ in range(count):
            x = relu(net.norm(f"features.{k + 1}", net.conv(f"features.{k}", x)))
            k += 3
        x = lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")
        k += 1
    return net.linear("classifier", x.mean(net.maps))


def connector(net, x):
    return relu(net.norm("bn", net.conv("conv", x)))


def scala(net, x, kernel):
    """An exit of BYOT: logits and features."""
    y = relu(net.norm("bn1", net.conv("conv1", x)))
    y = relu(net.norm("bn2", net.conv("conv2", y, stride=kernel, padding=0)))
    feature = relu(net.norm("bn3", net.conv("conv3", y))).mean(net.maps)
    return net.linear("fc", feature), feature


def attention_scores(net, front, back, heads=8):
    """[heads, N, N], back by front."""
    theta = net.norm("theta_bn", net.linear("theta", back), behind="theta").reshape(len(back), -1, heads)
    phi = net.norm("phi_bn", net.linear("phi", front), behind="phi").reshape(len(front), -1, heads)
    return jnp.einsum("ida,jda->aij", theta, phi)


# ---- losses ------------------------------------------------------------------------------------------


def cross_entropy(logits, label):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), label[:, None], 1).mean()


def kl(student, teacher, temperature):
    """KL of softened logits by the batch, times the square of the temperature; the teacher's are constants."""
    goal = jax.nn.log_softmax(lax.stop_gradient(teacher) / temperature)
    found = jax.nn.log_softmax(student / temperature)
    return temperature**2 * (jnp.exp(goal) * (goal - found)).sum() / len(student)

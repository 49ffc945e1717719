#!/usr/bin/env python3
"""A row of bench/README.md in JAX, as one who knows it writes it: one jitted function per step, whose old weights, momenta
and running statistics are given away. Answers requests on standard input, as bench/serve.c says.

    jax_steps.py ROW VARIANT

VARIANT is `nhwc` or `nchw`, with `+f64` in double precision. The number of threads is that of NPROC."""

import os
import sys

options = sys.argv[2].split("+")
if os.environ.get("NPROC") == "1":
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
os.environ["JAX_ENABLE_X64"] = "1" if "f64" in options else "0"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy
from jax import lax
from safetensors.numpy import load_file

import jax_networks as networks
import serving
from jax_networks import Net, cross_entropy, kl, resnet, resnet_maps

RATE, MOMENTUM, DECAY = 0.001, 0.9, 5e-4
MOBILENET = [(1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


class Row:
    """loss(net, image, label) is what a step minimises; net(name) is a network. Those whose names begin with one of
    `trained` are updated; the others are frozen and their norms folded."""

    trained = ("student.",)
    nesterov = False
    unused = ()  # beginnings of the names of what is never computed

    def is_trained(self, name):
        return name.startswith(self.trained)

    def gradients(self, loss_of, params):
        """The loss to report, the new states, the gradients."""
        (loss, states), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
        return loss, states, gradients


def plain(network, **options):
    class Plain(Row):
        def loss(self, net, image, label):
            return cross_entropy(network(net("student"), image, **options), label)

    return Plain


S1 = plain(resnet, blocks=[3, 3, 3])
S2 = plain(resnet, blocks=[2, 2, 2, 2])
S4 = plain(networks.wide_resnet, count=2)
S5 = plain(networks.mobilenet_v2, stages=MOBILENET)
S6 = plain(networks.vgg16)
S7 = plain(resnet, blocks=[3, 3, 3], block=networks.bottleneck, groups=8)


class S3(Row):
    trained = ("student.", "connect.")

    def loss(self, net, image, label):
        s, t = net("student"), net("teacher")
        t_maps = resnet_maps(t, image, [3, 4, 6, 3])
        s_maps = resnet_maps(s, image, [2, 2, 2, 2])
        logits = networks.head(s, s_maps[-1])[0]
        loss = cross_entropy(logits, label) + kl(logits, networks.head(t, t_maps[-1])[0], 4)
        for i, (a, b) in enumerate(zip(s_maps, t_maps)):
            a = networks.connector(net(f"connect.{i}"), a)
            loss += jnp.square(a.mean(s.maps) - b.mean(s.maps)).mean()
        return loss


class S8(Row):
    trained = ("student.", "exits.")

    def loss(self, net, image, label):
        student = net("student")
        maps = resnet_maps(student, image, [2, 2, 2, 2])
        deep, deep_feature = networks.head(student, maps[-1])
        loss = cross_entropy(deep, label)
        deep_feature = lax.stop_gradient(deep_feature)
        for i, (x, kernel) in enumerate(zip(maps, (8, 4, 2))):
            z, feature = networks.scala(net(f"exits.{i}"), x, kernel)
            hint = 6.4e-5 * jnp.square(feature - deep_feature).sum() / len(label)
            loss += 0.5 * cross_entropy(z, label) + 0.5 * kl(z, deep, 3) + hint
        return loss


class S9(Row):
    trained = ("student.layer2.",)
    unused = ("student.layer3", "student.layer4", "student.fc", "teacher.layer3", "teacher.layer4", "teacher.fc")

    def loss(self, net, image, label):
        t = resnet_maps(net("teacher"), image, [3, 8], block=networks.bottleneck)[-1]
        front = resnet_maps(net("student"), image, [3], block=networks.bottleneck)[-1]
        s = networks.stage(net("student.layer2"), front, 4, 2, networks.bottleneck)
        return jnp.square(s - t).mean()


def pixels(y, layout):
    """A map as matrices [N, pixels, channels]."""
    if layout == "nhwc":
        return y.reshape(len(y), -1, y.shape[3])
    return y.reshape(*y.shape[:2], -1).swapaxes(1, 2)


def eigen_sides(x):
    """Eigenvalues, rising, and eigenvectors of the smaller Gram matrix; whether these are of the channels."""
    tall = x.shape[1] >= x.shape[2]
    values, side = jnp.linalg.eigh(jnp.einsum("npc,npd->ncd" if tall else "npc,nqc->npq", x, x), symmetrize_input=False)
    return values, side, tall


def right_vectors(x, side, tall):
    """[N, C, count] of length 1 from columns of eigen_sides()."""
    if tall:
        return side
    v = jnp.einsum("npc,npk->nck", x, side)
    return v / jnp.linalg.norm(v, axis=1, keepdims=True)


def strongest_vector(x):
    """The first right singular vectors, [N, C], their largest entries positive."""
    _, side, tall = eigen_sides(x)
    v = right_vectors(x, side[:, :, -1:], tall)[:, :, 0]
    return v * jnp.sign(jnp.take_along_axis(v, jnp.abs(v).argmax(1, keepdims=True), 1))


@jax.custom_vjp
def aligned_vector(x, goal):
    """Among the four strongest right singular vectors of each matrix the one that fits `goal` [N, C] best, with its sign.
    Its gradient needs that one vector's alone (losses.md, 4.5)."""
    return aligned_forward(x, goal)[0]


def aligned_forward(x, goal):
    values, side, tall = eigen_sides(x)
    found = right_vectors(x, side[:, :, -4:], tall)
    fit = jnp.einsum("nc,nck->nk", goal, found)
    best = jnp.abs(fit).argmax(1, keepdims=True)
    v = jnp.take_along_axis(found, best[:, None], 2)[:, :, 0] * jnp.sign(jnp.take_along_axis(fit, best, 1))
    return v, (x, v, values, side, best + values.shape[1] - 4)


def aligned_backward(kept, g):
    x, v, values, side, best = kept
    own = jnp.take_along_axis(values, best, 1)
    gap = own - values
    near = jnp.abs(gap) < 1e-6 * values[:, -1:]  # `best` too
    inverse = jnp.where(near, 0, 1 / jnp.where(near, 1, gap))
    if x.shape[1] >= x.shape[2]:
        w = jnp.einsum("ncj,nj->nc", side, inverse * jnp.einsum("ncj,nc->nj", side, g))
    else:
        along = jnp.einsum("npj,np->nj", side, jnp.einsum("npc,nc->np", x, g))
        w = jnp.einsum("npc,np->nc", x, jnp.einsum("npj,nj->np", side, inverse / own * along))
        w += (g - v * (v * g).sum(1, keepdims=True)) / own
    ahead = jnp.einsum("npc,nc->np", x, v), jnp.einsum("npc,nc->np", x, w)
    return ahead[0][:, :, None] * w[:, None] + ahead[1][:, :, None] * v[:, None], None


aligned_vector.defvjp(aligned_forward, aligned_backward)


class S10(Row):
    nesterov = True
    ramp = 0.5  # sigmoid of the epochs since the phase began: none
    unused = ("edges.0.f", "edges.1.f")

    def loss(self, net, image, label):
        student, layout = net("student"), net("student").layout
        t = [strongest_vector(pixels(y, layout)) for y in resnet_maps(net("teacher"), image, [5, 5, 5])]
        maps = resnet_maps(student, image, [1, 1, 1])
        s = [aligned_vector(pixels(y, layout), v) for y, v in zip(maps, t)]
        graphs = 0
        for m in range(2):
            edge = net(f"edges.{m}")
            goal, found = (jax.nn.log_softmax(jnp.tanh(networks.attention_scores(edge, v[m], v[m + 1])), 2) for v in (t, s))
            graphs += (jnp.exp(found) * (found - goal)).sum()
        return cross_entropy(networks.head(student, maps[-1])[0], label), graphs

    def gradients(self, loss_of, params):
        """The graphs' gradient is no longer than the task's by the ramp, tensor by tensor."""
        (task, graphs), back, states = jax.vjp(loss_of, params, has_aux=True)
        one, zero = jnp.ones_like(task), jnp.zeros_like(task)
        (total,), (extra,) = back((one, zero)), back((zero, one))

        def join(a, b):
            limit = self.ramp * jnp.linalg.norm(a.ravel())
            return a + b * jnp.minimum(1, limit / jnp.maximum(jnp.linalg.norm(b.ravel()), 1e-30))

        return task + graphs, states, jax.tree.map(join, total, extra)


class S11(S2):
    trained = ()


# ---- steps -------------------------------------------------------------------------------------------


def fold(tensors, pairs):
    """Norms into the layers before them (numpy)."""
    for layer, norm in pairs:
        scale, shift, mean, var = (tensors.pop(f"{norm}.{name}") for name in ("weight", "bias", "running_mean", "running_var"))
        scale = scale / numpy.sqrt(var + networks.EPSILON).astype(scale.dtype)
        w = tensors[f"{layer}.weight"]
        tensors[f"{layer}.weight"] = w * scale.reshape(-1, *[1] * (w.ndim - 1))
        tensors[f"{layer}.bias"] = shift - mean * scale


def make_step(row, path):
    """A function that runs a step and returns its loss."""
    layout = "nchw" if "nchw" in options else "nhwc"
    tensors = {name: value for name, value in load_file(path).items() if not name.startswith(row.unused or ("-",))}
    image, label = tensors.pop("input.image"), tensors.pop("input.label")
    image = jnp.asarray(image if layout == "nchw" else image.transpose(0, 2, 3, 1))
    label = jnp.asarray(label)

    def loss_of(trained, states, frozen, image, label, folds=None):
        found = {}

        def net(name):
            training = row.is_trained(f"{name}.")
            params = {**trained, **states, **frozen}
            return Net(params, f"{name}.", layout, training, found, None if training else folds)

        loss = row.loss(net, image, label)
        return loss, found

    def in_layout():
        if layout == "nchw":
            return tensors
        return {name: value.transpose(2, 3, 1, 0) if value.ndim == 4 else value for name, value in tensors.items()}

    pairs = []
    jax.eval_shape(lambda *values: loss_of({}, {}, *values, folds=pairs)[0], in_layout(), image, label)
    fold(tensors, dict.fromkeys(pairs))
    tensors = {name: jnp.array(value) for name, value in in_layout().items()}
    trained = {k: v for k, v in tensors.items() if row.is_trained(k) and ".running_" not in k}
    states = {k: v for k, v in tensors.items() if row.is_trained(k) and ".running_" in k}
    frozen = {k: v for k, v in tensors.items() if not row.is_trained(k)}
    if not trained:
        evaluate = jax.jit(lambda frozen, image, label: loss_of({}, {}, frozen, image, label)[0])
        return lambda: evaluate(frozen, image, label)

    def train(trained, momenta, states, frozen, image, label):
        loss, states, gradients = row.gradients(lambda params: loss_of(params, states, frozen, image, label), trained)
        gradients = jax.tree.map(lambda g, p: g + DECAY * p, gradients, trained)
        momenta = jax.tree.map(lambda m, g: MOMENTUM * m + g, momenta, gradients)
        ahead = jax.tree.map(lambda m, g: MOMENTUM * m + g, momenta, gradients) if row.nesterov else momenta
        return loss, jax.tree.map(lambda p, m: p - RATE * m, trained, ahead), momenta, states

    train = jax.jit(train, donate_argnums=(0, 1, 2))
    kept = [trained, jax.tree.map(jnp.zeros_like, trained), states]

    def step():
        loss, *kept[:] = train(*kept, frozen, image, label)
        jax.block_until_ready(kept)
        return loss

    return step


if __name__ == "__main__":
    serving.serve(lambda path: make_step(globals()[sys.argv[1].partition(":")[0].upper()](), path))

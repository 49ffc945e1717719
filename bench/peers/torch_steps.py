#!/usr/bin/env python3
"""A row of bench/README.md in PyTorch, as one who knows it writes it; a step per request.

    torch_steps.py ROW prepare FILE     weights and data, drawn with a fixed seed, to a safetensors file; prepare64 writes
                                        the same values in double precision
    torch_steps.py ROW facts FILE       prints the nominal operations of a step, the first losses, and how far rounding
                                        may move these, as JSON
    torch_steps.py ROW VARIANT          answers requests on standard input, as bench/serve.c says

ROW is s1 to s11, with `:64` another batch size. VARIANT is `eager` or `compile`, with `+cl` channels_last, with `+f64` in
double precision. The number of threads is that of OMP_NUM_THREADS."""

import json
import math
import re
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

import networks
import serving

LOSSES = 3  # that are compared: before any update, after one, after two
DRAWS = 3  # of rounding errors



def cross_entropy_of(model):
    return lambda image, label: F.cross_entropy(model(image), label)


class Row:
    """Models by name, of which `trained` (modules) are updated; loss(image, label) is what a step minimises. finish()
    is called when the weights are there: what one does to frozen networks before training."""

    batch = 64
    evaluates = False
    nesterov = False
    walks_back_twice = False

    def __init__(self):
        self.models = nn.ModuleDict({"student": self.student()})
        self.trained = [self.models["student"]]

    def finish(self):
        self.models.train()

    def adjust(self, tensors):
        """Changes what prepare() drew, where a row needs other sizes."""

    def loss(self, image, label):
        return F.cross_entropy(self.models["student"](image), label)

    def longest_sum(self):
        """The number of terms of the longest sum that the loss takes itself."""
        return max(self.batch, 100)

    def backward(self, loss, parameters):
        """Gradients of what loss() gave; returns the number to report."""
        loss.backward()
        return loss.detach()

    def freeze(self, module):
        module.eval().requires_grad_(False)
        networks.fold_batch_norms(module)


class S1(Row):
    batch = 128
    student = staticmethod(networks.resnet_cifar20)


class S2(Row):
    student = staticmethod(networks.resnet18)


class S3(Row):
    def __init__(self):
        student = networks.resnet18()
        connect = nn.ModuleList(networks.Connector(c, c) for c in (64, 128, 256, 512))
        self.models = nn.ModuleDict({"student": student, "connect": connect, "teacher": networks.resnet34()})
        self.trained = [student, connect]

    def finish(self):
        self.models.train()
        self.freeze(self.models["teacher"])

    def loss(self, image, label):
        student, teacher, connect = (self.models[name] for name in ("student", "teacher", "connect"))
        with torch.no_grad():
            t_maps = teacher.maps(image)
            t_soft = F.log_softmax(teacher.head(t_maps[-1])[0] / 4, 1)
            t_means = [t.mean((2, 3)) for t in t_maps]
        s_maps = student.maps(image)
        logits, _ = student.head(s_maps[-1])
        kd = 16 * F.kl_div(F.log_softmax(logits / 4, 1), t_soft, reduction="batchmean", log_target=True)
        cd = sum(F.mse_loss(join(s).mean((2, 3)), t) for join, s, t in zip(connect, s_maps, t_means))
        return F.cross_entropy(logits, label) + kd + cd


class S4(Row):
    @staticmethod
    def student():
        return networks.WideResNet(depth=16, widen=4)


class S5(Row):
    student = networks.MobileNetV2


class S6(Row):
    student = networks.Vgg


class S7(Row):
    batch = 16
    student = staticmethod(networks.resnext29)


class S8(Row):
    def __init__(self):
        exits = nn.ModuleList(networks.Scala(c, 512, k) for c, k in ((64, 8), (128, 4), (256, 2)))
        self.models = nn.ModuleDict({"student": networks.resnet18(), "exits": exits})
        self.trained = [self.models]

    def loss(self, image, label):
        student, exits = self.models["student"], self.models["exits"]
        maps = student.maps(image)
        deep, deep_feature = student.head(maps[-1])
        deep_soft = F.log_softmax(deep.detach() / 3, 1)
        deep_feature = deep_feature.detach()
        loss = F.cross_entropy(deep, label)
        for branch, x in zip(exits, maps):
            z, feature = branch(x)
            kd = 9 * F.kl_div(F.log_softmax(z / 3, 1), deep_soft, reduction="batchmean", log_target=True)
            hint = 6.4e-5 * (feature - deep_feature).square().sum() / len(label)
            loss = loss + 0.5 * F.cross_entropy(z, label) + 0.5 * kd + hint
        return loss


class S9(Row):
    def __init__(self):
        self.models = nn.ModuleDict({"student": networks.resnet50(), "teacher": networks.resnet152()})
        self.trained = [self.models["student"].layer2]

    def finish(self):
        student, teacher = self.models["student"], self.models["teacher"]
        student.truncate(2)
        teacher.truncate(2)
        self.freeze(teacher)
        section = student.layer2
        student.layer2 = nn.Identity()  # so that what is before it is folded, and it is not
        self.freeze(student)
        student.layer2 = section.train()

    def longest_sum(self):
        return self.batch * 512 * 16 * 16

    def loss(self, image, label):
        student, teacher = self.models["student"], self.models["teacher"]
        with torch.no_grad():
            t = teacher(image)
        return F.mse_loss(student(image), t)


class AlignedVectors(torch.autograd.Function):
    """Of maps x [N, C, HW] and unit vectors goal [N, C]: among the strongest right singular vectors of each map (of its
    pixels by its channels) the one that fits the goal best, with its sign, [N, C]. One eigendecomposition of the
    smaller Gram matrix; the gradient needs that one vector's alone (losses.md, 4.5), where autograd's would divide by the
    differences of all pairs of values."""

    @staticmethod
    def forward(ctx, x, goal, spare):
        several = 1 + spare
        values, side, vectors = eigen_sides(x)
        found = vectors[:, :, -several:] if vectors is not None else F.normalize(x @ side[:, :, -several:], dim=1)
        fit = (goal.unsqueeze(1) @ found).squeeze(1)
        best = fit.abs().argmax(1, keepdim=True)
        v = torch.gather(found, 2, best.unsqueeze(1).expand(-1, x.shape[1], 1)).squeeze(2)
        v = v * fit.gather(1, best).sign()
        ctx.save_for_backward(x, v, values, side, best + values.shape[1] - several)
        ctx.tall = vectors is not None
        return v

    @staticmethod
    def backward(ctx, g):
        x, v, values, side, best = ctx.saved_tensors
        own = values.gather(1, best)
        gap = own - values
        inverse = torch.where(gap.abs() < 1e-6 * values[:, -1:], 0, 1 / gap)  # zero at `best` too
        if ctx.tall:  # side: the right vectors
            w = side @ (inverse * (side.mT @ g.unsqueeze(2)).squeeze(2)).unsqueeze(2)
        else:  # side: the left ones, whose images are the right ones by their singular values
            along = (side.mT @ (x.mT @ g.unsqueeze(2))).squeeze(2)
            w = x @ (side @ (inverse / own * along).unsqueeze(2))
            w += ((g - v * (v * g).sum(1, keepdim=True)) / own).unsqueeze(2)
        v = v.unsqueeze(2)
        return w @ (v.mT @ x) + v @ (w.mT @ x), None, None


def eigen_sides(x):
    """Eigenvalues, rising, of the smaller Gram matrix of maps [N, C, HW] and its eigenvectors; these again if they are of
    the channels, else None."""
    if x.shape[1] <= x.shape[2]:
        values, vectors = torch.linalg.eigh(x @ x.mT)
        return values, vectors, vectors
    return *torch.linalg.eigh(x.mT @ x), None


def strongest_vector(x):
    """The first right singular vectors of maps [N, C, HW], their largest entries positive."""
    _, side, vectors = eigen_sides(x)
    v = vectors[:, :, -1] if vectors is not None else F.normalize((x @ side[:, :, -1:]).squeeze(2), dim=1)
    return v * v.gather(1, v.abs().argmax(1, keepdim=True)).sign()


class S10(Row):
    nesterov = True
    walks_back_twice = True
    ramp = 0.5  # sigmoid of the epochs since the phase began: none

    def __init__(self):
        student, teacher = (networks.ResNet([n, n, n], [64, 128, 256], stem=32) for n in (1, 5))
        edges = nn.ModuleList(networks.Attention(front, back) for front, back in ((64, 128), (128, 256)))
        self.models = nn.ModuleDict({"student": student, "teacher": teacher, "edges": edges})
        self.trained = [student]

    def finish(self):
        self.models.train()
        self.freeze(self.models["teacher"])
        self.freeze(self.models["edges"])

    def adjust(self, tensors):
        for name, value in tensors.items():
            if name.startswith("edges.") and name.endswith("running_var"):
                value *= 0.03  # about that of a linear layer of unit vectors, so that graphs are not flat

    def loss(self, image, label):
        student, teacher, edges = (self.models[name] for name in ("student", "teacher", "edges"))
        with torch.no_grad():
            t = [strongest_vector(y.flatten(2)) for y in teacher.maps(image)]
            goals = [F.log_softmax(edge.scores(t[m], t[m + 1]).tanh(), 2) for m, edge in enumerate(edges)]
        maps = student.maps(image)
        s = [AlignedVectors.apply(y.flatten(2), v, 3) for y, v in zip(maps, t)]
        graphs = 0
        for m, (edge, goal) in enumerate(zip(edges, goals)):
            found = F.log_softmax(edge.scores(s[m], s[m + 1]).tanh(), 2)
            graphs = graphs + (found.exp() * (found - goal)).sum()
        return F.cross_entropy(student.head(maps[-1])[0], label), graphs

    def longest_sum(self):
        return 8 * self.batch**2

    def backward(self, losses, parameters):
        """The graphs' gradient is no longer than the task's by the ramp, tensor by tensor."""
        task, graphs = losses
        total = torch.autograd.grad(task, parameters, retain_graph=True)
        extra = torch.autograd.grad(graphs, parameters, allow_unused=True, materialize_grads=True)
        limit = torch._foreach_norm(total)
        length = torch._foreach_norm(extra)
        scale = (self.ramp * torch.stack(limit) / torch.stack(length).clamp_min(1e-30)).clamp_max(1)
        torch._foreach_add_(total, torch._foreach_mul(extra, scale.unbind()))
        for parameter, gradient in zip(parameters, total):
            parameter.grad = gradient
        return (task + graphs).detach()


class S11(Row):
    batch = 128
    evaluates = True
    student = staticmethod(networks.resnet18)

    def finish(self):
        self.freeze(self.models)


def make_row(text):
    name, _, batch = text.partition(":")
    row = globals()[name.upper()]()
    row.batch = int(batch or row.batch)
    return row


def prepare(row, path, dtype=torch.float32):
    """Default initialisation, with norms made so that nothing cancels or is one by chance."""
    generator = torch.Generator().manual_seed(1)
    tensors = {}
    for name, value in row.models.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        if name.endswith("running_mean"):
            value.normal_(0, 0.1, generator=generator)
        elif name.endswith("running_var") or re.search(r"(bn\d?|bn_\w+|downsample\.1|shortcut\.1)\.weight$", name):
            value.uniform_(0.5, 1.5, generator=generator)
        tensors[name] = value.contiguous()
    row.adjust(tensors)
    tensors["input.image"] = torch.randn(row.batch, 3, 32, 32, generator=generator)
    tensors["input.label"] = torch.randint(0, 100, (row.batch,), generator=generator, dtype=torch.int32)
    save_file({name: value.to(dtype) if value.is_floating_point() else value for name, value in tensors.items()}, path)


def load(row, path):
    tensors = load_file(path)
    image, label = tensors.pop("input.image"), tensors.pop("input.label").long()
    missing, unexpected = row.models.load_state_dict(tensors, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        sys.exit(f"{path} lacks {missing[:4]} and has {unexpected[:4]}")
    return image, label


def make_step(row, image, label, variant):
    """A function that runs a step and returns its loss."""
    options = variant.split("+")
    if "f64" in options:
        row.models.double()
        image = image.double()
    row.finish()
    if "cl" in options:
        row.models.to(memory_format=torch.channels_last)
        image = image.contiguous(memory_format=torch.channels_last)
    loss_of = row.loss
    if "compile" in options:
        from torch._functorch import config as functorch_config
        from torch._inductor import config as inductor_config

        if row.evaluates:
            inductor_config.freezing = True
        if row.walks_back_twice:
            functorch_config.donated_buffer = False
        loss_of = torch.compile(loss_of)
    if row.evaluates:

        def step():
            with torch.no_grad():  # torch.compile freezes weights under no_grad
                return loss_of(image, label)

        return step
    parameters = [p for module in row.trained for p in module.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.001, momentum=0.9, weight_decay=5e-4, nesterov=row.nesterov, fused=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = row.backward(loss_of(image, label), parameters)
        optimizer.step()
        return loss

    return step


def shake(models, seed):
    """Rounding errors of f32 as changes of the weights. A sum of K products in any order is the exact one of weights that
    are off by about sqrt(K) roundoffs (Higham 2002, 3.1, with errors that are independent)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in models.parameters():
            terms = p[0].numel() if p.dim() > 1 else 1
            p *= 1 + math.sqrt(terms) * 2**-24 * torch.randn(p.shape, generator=generator)


def find_facts(name, path):
    """The first losses, and how far these are moved, at most, by shaken weights and another order of the sums; no less than
    rounding moves a sum of as many equal terms as the loss is of."""

    def losses(variant="eager", seed=None):
        row = make_row(name)
        image, label = load(row, path)
        if seed is not None:
            shake(row.models, seed)
        step = make_step(row, image, label, variant)
        return [step().item() for _ in range(LOSSES)]

    wanted = losses()
    moved = [losses("eager" if seed % 2 else "eager+cl", seed) for seed in range(DRAWS)]
    least = math.sqrt(make_row(name).longest_sum()) * 2**-24
    response = [max(least * abs(wanted[k]), *(abs(m[k] - wanted[k]) for m in moved)) for k in range(LOSSES)]
    return {"losses": wanted, "response": response}


def main():
    torch.manual_seed(1)
    row, variant = make_row(sys.argv[1]), sys.argv[2]
    torch.set_flush_denormal(True)
    if variant == "prepare":
        prepare(row, sys.argv[3])
    elif variant == "prepare64":
        prepare(row, sys.argv[3], torch.float64)
    elif variant == "facts":
        print(json.dumps(find_facts(sys.argv[1], sys.argv[3])))
    else:

        def start(path):
            step = make_step(row, *load(row, path), variant)
            return lambda: step().item()

        serving.serve(start)


if __name__ == "__main__":
    main()

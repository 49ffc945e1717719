#!/usr/bin/env python3
"""A row of bench/README.md in PyTorch, as one who knows it writes it; a step per request.

    torch_steps.py ROW prepare FILE     weights and data, drawn with a fixed seed, to a safetensors file; prints FLOPs of a step
    torch_steps.py ROW VARIANT          answers requests on standard input, as bench/serve.c says

ROW is s1 to s11, with `:64` another batch size. VARIANT is `eager` or `compile`, with `+cl` channels_last. The number of
threads is that of OMP_NUM_THREADS."""

import re
import sys
import time

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

import networks


def cross_entropy_of(model):
    return lambda image, label: F.cross_entropy(model(image), label)


class Row:
    """Models by name, of which `trained` (modules) are updated; loss(image, label) is what a step minimises. finish()
    is called when the weights are there: what one does to frozen networks before training."""

    batch = 64
    evaluates = False

    def __init__(self):
        self.models = nn.ModuleDict({"student": self.student()})
        self.trained = [self.models["student"]]

    def finish(self):
        self.models.train()

    def loss(self, image, label):
        return F.cross_entropy(self.models["student"](image), label)

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

    def loss(self, image, label):
        student, teacher = self.models["student"], self.models["teacher"]
        with torch.no_grad():
            t = teacher(image)
        return F.mse_loss(student(image), t)


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


def prepare(row, path):
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
    tensors["input.image"] = torch.randn(row.batch, 3, 32, 32, generator=generator)
    tensors["input.label"] = torch.randint(0, 100, (row.batch,), generator=generator, dtype=torch.int32)
    save_file(tensors, path)


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
    row.finish()
    if "cl" in options:
        row.models.to(memory_format=torch.channels_last)
        image = image.contiguous(memory_format=torch.channels_last)
    loss_of = row.loss
    if "compile" in options:
        if row.evaluates:
            torch._inductor.config.freezing = True
        loss_of = torch.compile(loss_of)
    if row.evaluates:

        def step():
            with torch.no_grad():  # torch.compile freezes weights under no_grad
                return loss_of(image, label)

        return step
    parameters = [p for module in row.trained for p in module.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.001, momentum=0.9, weight_decay=5e-4, fused=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(image, label)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def count_flops(row, path):
    """Nominal operations of a step's convolutions and products, two for each multiply-add."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        make_step(row, *load(row, path), "eager")()
    return counter.get_total_flops()


def resident_peak_mb():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) * 1024e-6


def serve(row, variant):
    def say(text):
        print(text, flush=True)

    say("ready")
    step = None
    for line in sys.stdin:
        request, _, argument = line.strip().partition(" ")
        if request == "load":
            step = make_step(row, *load(row, argument), variant)
            say("ok")
        elif request == "step":
            start = time.perf_counter()
            loss = step().item()
            say(f"{(time.perf_counter() - start) * 1e3:.4f} {loss:.9g}")
        elif request == "mark":
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")
            say("ok")
        elif request == "memory":
            say(f"{resident_peak_mb():.1f}")
        else:
            say(f"unknown request: {request}")


def main():
    torch.manual_seed(1)
    row, variant = make_row(sys.argv[1]), sys.argv[2]
    torch.set_flush_denormal(True)
    if variant == "prepare":
        prepare(row, sys.argv[3])
        print(count_flops(row, sys.argv[3]))
    else:
        serve(row, variant)


if __name__ == "__main__":
    main()

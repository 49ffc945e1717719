#!/usr/bin/env python3
"""Times kdc and its peers step by step in turn, and writes the table of docs/performance.md.

    bench/peers/run.py [ROW ...]      s1 to s11 and convs, all unless given; `s2:128` is S2 with a batch of 128
    bench/peers/run.py --warm         no times: draws, counts and compiles what a timed run then finds in --work
    bench/peers/run.py --verify       no times: kdc and its peers take the rows' first steps in double precision

For each row: weights and data are drawn once and loaded by all; each peer's variants are ranked by a few steps, and their
first losses compared; then the best of each peer and kdc run step by step in turn, and the multiply-add peak is measured
before and after. Where the two peaks differ by more than 5 % the row is taken again. See bench/README.md."""

import argparse
import json
import os
import select
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROWS = ["s1", "s2", "s2:128", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "convs"]
VARIANTS = {
    "torch": ["eager+cl", "compile+cl", "eager", "compile"],
    "jax": ["nhwc", "nchw"],
}
MALLOCS = {"torch": 2}  # so many of the best variants are tried with tcmalloc too
WARM_UP = 2
HOPELESS = 1.5  # times the best variant: no further steps to rank it
SLOW = 3.0  # times the best peer: its ranking is its result
ROUNDING = 4.0  # times the response to draws of rounding errors, of which there are few, is what a loss may be off
ROUNDING_KDC = 10.0  # F(4x4, 3x3), which kdc alone uses, rounds ten times as much as direct sums (docs/language.md, --math)
LEAST_STEPS = 10
PEAK_TOLERANCE = 0.05
MOST_TRIES = 4
F64_TOLERANCE = 1e-7  # of --verify, where rounding errors are 1e-16 and training amplifies them 1e5-fold at most


class RowFailed(Exception):
    """A row, or a variant of it, that cannot be timed; the others can."""


class Server:
    """A process that runs a step per request."""

    running = []

    def __init__(self, name, command, environment):
        self.name = name
        self.log = open(args.work / f"{name.replace(' ', '_')}.log", "w")
        self.process = subprocess.Popen([str(word) for word in command], env={**os.environ, **environment}, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log)
        self.running.append(self)
        self.expect("ready", self.answer())

    def answer(self):
        if not select.select([self.process.stdout], [], [], args.patience)[0]:
            raise RowFailed(f"{self.name} took more than {args.patience:.0f} s for an answer")
        line = self.process.stdout.readline()
        if not line:
            raise RowFailed(f"{self.name} ended with status {self.process.wait()}; see {self.log.name}")
        return line.strip()

    def expect(self, wanted, found):
        if found != wanted:
            raise RowFailed(f"{self.name} answers {found!r}, not {wanted!r}; see {self.log.name}")

    def ask(self, request):
        try:
            print(request, file=self.process.stdin, flush=True)
        except BrokenPipeError:
            pass  # answer() tells why
        return self.answer()

    def order(self, request):
        self.expect("ok", self.ask(request))

    def step(self):
        """Milliseconds and the loss."""
        taken, loss = self.ask("step").split()
        return float(taken), float(loss)

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.log.close()
        self.running.remove(self)

    @classmethod
    def kill_all(cls):
        for server in cls.running:
            server.process.kill()
            server.process.wait()
        cls.running.clear()


@dataclass
class Result:
    """What one of those who run a row did: milliseconds of single steps, the first losses, the largest memory."""

    times: list = field(default_factory=list)
    losses: list = field(default_factory=list)
    memory: float = 0
    note: str = ""


# ---- processes ---------------------------------------------------------------------------------------


def threads_environment():
    """Threads are bound to their cores where they are as many, as kdc's runtime has it. XLA counts by NPROC."""
    bind = args.threads > 1 and args.threads == len(os.sched_getaffinity(0))
    count = str(args.threads)
    return {"OMP_NUM_THREADS": count, "NPROC": count} | ({"OMP_PROC_BIND": "true"} if bind else {})


def stem_of(row):
    return args.work / row.replace(":", "_")


def run(command, **options):
    return subprocess.run([str(word) for word in command], check=True, text=True, stdout=subprocess.PIPE,
                          timeout=args.patience, **options).stdout


def link(output, *words):
    """A program of `words`, files and flags of cc, with what serve.c and measure.c need."""
    libraries = [args.build / library for library in ("bench/libbench_serve.a", "libkdrt.a", "libkdc_support.a")]
    run(["cc", "-O2", "-o", output, *words, *libraries, "-ljansson", "-lz", "-lgomp", "-lm"])


def start_kdc(row, options=()):
    name, _, batch = row.partition(":")
    stem = stem_of(row)
    start = time.perf_counter()
    run([args.build / "kdc", HERE.parent / f"{name}.kd", "--emit=obj", "-o", f"{stem}.o", *options]
        + (["-D", f"size={batch}"] if batch else []))
    print(f"  kdc: compiled in {time.perf_counter() - start:.1f} s")
    link(stem, f"{stem}.o")
    return Server("kdc", [stem, "--threads", args.threads] + (["--eval"] if name == "s11" else []), {})


def nominal_flops(row):
    """Two for each multiply-add of the step's convolutions and products, as `kdc cost` has them: each counted from its
    definition, groups told apart."""
    name, _, batch = row.partition(":")
    command = [args.build / "kdc", "cost", HERE.parent / f"{name}.kd"] + (["-D", f"size={batch}"] if batch else [])
    report = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout
    graph = ".eval0" if name == "s11" else ".step0"
    forward, backward = next(line.split()[2:4] for line in report.splitlines() if line.split(" ")[0].endswith(graph))
    return 2 * (int(forward) + int(backward))


def start_peer(peer, row, variant):
    environment = threads_environment()
    options = variant.split("+")
    if "tcmalloc" in options:
        environment["LD_PRELOAD"] = str(args.venv / "libtcmalloc.so")
        options.remove("tcmalloc")
    environment |= {"TORCHINDUCTOR_CACHE_DIR": str(args.work / "inductor"),
                    "JAX_COMPILATION_CACHE_DIR": str(args.work / "jax"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1"}
    command = [args.venv / "bin" / "python", HERE / f"{peer}_steps.py", row, "+".join(options)]
    return Server(f"{peer} {variant}", command, environment)


def python_steps(row, *words):
    command = [args.venv / "bin" / "python", HERE / "torch_steps.py", row, *words]
    return run(command, env={**os.environ, **threads_environment()})


def prepare(row):
    """The file of weights and data, and its facts (torch_steps.py); both are kept until these programs change."""
    path, facts = stem_of(row).with_suffix(".safetensors"), stem_of(row).with_suffix(".json")
    newest = max((HERE / name).stat().st_mtime for name in ("torch_steps.py", "networks.py"))
    if not (path.exists() and facts.exists() and facts.stat().st_mtime > newest):
        python_steps(row, "prepare", path)
        facts.write_text(python_steps(row, "facts", path))
    return path, json.loads(facts.read_text())


# ---- a row -------------------------------------------------------------------------------------------


def rounding_of(who):
    return ROUNDING_KDC if who == "kdc" else ROUNDING


def check_losses(who, found, facts):
    """All compute the same on the same weights and data, updates included, as far as rounding lets them."""
    for k, (loss, wanted, response) in enumerate(zip(found, facts["losses"], facts["response"])):
        allowed = rounding_of(who) * response
        if not abs(loss - wanted) <= allowed:
            raise RowFailed(f"loss {k + 1} of {who} is {loss}, not {wanted} within {allowed:.2g}")


def first_steps(server, weights, facts):
    """Loads the weights, takes the steps whose losses are compared, and forgets the memory that this took."""
    server.order(f"load {weights}")
    losses = [server.step()[1] for _ in facts["losses"]]
    check_losses(server.name, losses, facts)
    return losses


def rank_variant(peer, row, variant, weights, facts, best):
    """Takes a few steps; fewer where there is no hope."""
    server = start_peer(peer, row, variant)
    server.order(f"load {weights}")
    result = Result(losses=[server.step()[1]])  # compiles
    server.order("mark")
    while len(result.times) < args.rank:
        taken, loss = server.step()
        result.times.append(taken)
        result.losses.append(loss)
        if len(result.times) > 1 and min(result.times) > HOPELESS * best:
            break
    result.memory = float(server.ask("memory"))
    server.close()
    check_losses(f"{peer} {variant}", result.losses, facts)
    return result


def rank(peer, row, weights, facts, deadline):
    """The variants' results, the best first; what fails or comes after the deadline is left out."""
    found = {}

    def consider(variants):
        for k, variant in enumerate(variants):
            if (found or k > 0) and time.monotonic() > deadline:
                print(f"  {peer} {variant}: not tried, time is short")
                continue
            least = min((statistics.median(r.times) for r in found.values()), default=float("inf"))
            try:
                found[variant] = rank_variant(peer, row, variant, weights, facts, least)
                print(f"  {peer} {variant}: {statistics.median(found[variant].times):.1f} ms")
            except RowFailed as trouble:
                print(f"  {peer} {variant} is left out: {trouble}")
                Server.kill_all()

    def in_order():
        return sorted(found, key=lambda variant: statistics.median(found[variant].times))

    if peer in args.variants:
        consider(args.variants[peer])
    else:
        consider(VARIANTS[peer])
        if (args.venv / "libtcmalloc.so").exists():
            consider([f"{variant}+tcmalloc" for variant in in_order()[: MALLOCS.get(peer, 0)]])
    return {variant: found[variant] for variant in in_order()}


def take_turns(servers, steps):
    """Milliseconds of each server's steps; who is first changes from round to round."""
    taken = {server.name: [] for server in servers}
    for k in range(steps):
        for server in servers[k % len(servers):] + servers[: k % len(servers)]:
            taken[server.name].append(server.step()[0])
    return taken


def measure(servers, round_seconds, deadline):
    """Times of a row, and the peaks before and after; again while these differ too much and there is time."""
    left = deadline - time.monotonic()
    steps = min(args.steps, max(LEAST_STEPS, int(left / round_seconds)))
    for tries in range(MOST_TRIES):
        before = float(servers[0].ask("peak"))
        taken = take_turns(servers, steps)
        after = float(servers[0].ask("peak"))
        print(f"  {steps} rounds; peak {before:.0f} before, {after:.0f} GFLOP/s after")
        if abs(before - after) <= PEAK_TOLERANCE * max(before, after):
            return taken, before, after, True
        if time.monotonic() + steps * round_seconds > deadline:
            break
    return taken, before, after, False


def time_row(row, deadline):
    weights, facts = prepare(row)
    share = deadline - time.monotonic()
    ranked = {}
    for k, peer in enumerate(args.peers):  # somewhat over half of the time is for ranking, most of it for the first peer
        found = rank(peer, row, weights, facts, deadline - share * (0.5 if k == 0 else 0.4))
        if found:
            variant, result = next(iter(found.items()))
            ranked[f"{peer} {variant}"] = result
        else:
            ranked[peer] = None
    times = {who: statistics.median(result.times) for who, result in ranked.items() if result}
    if not times:
        raise RowFailed("no peer can run it")
    servers = [start_kdc(row)]
    results = {"kdc": Result(losses=first_steps(servers[0], weights, facts))}
    for who, result in ranked.items():
        if result is None:
            results[who] = Result(note="does not run it")
        elif times[who] > SLOW * min(times.values()):
            result.note = "by itself"
            results[who] = result
        else:
            servers.append(start_peer(*who.split(" ")[:1], row, who.split(" ")[1]))
            results[who] = Result(losses=first_steps(servers[-1], weights, facts))
    round_ms = 0
    for server in servers:
        for _ in range(WARM_UP):
            taken = server.step()[0]
        round_ms += taken
        server.order("mark")
    taken, before, after, steady = measure(servers, round_ms * 1e-3, deadline)
    for server in servers:
        results[server.name].times = taken[server.name]
        results[server.name].memory = float(server.ask("memory"))
        server.close()
    return row_lines(row, facts, results, before, after, steady)


def spread(values):
    """The range of the middle half, by the median."""
    if len(values) < 2:
        return 0.0
    low, middle, high = statistics.quantiles(values, n=4)
    return (high - low) / middle


def ratio_text(theirs, ours):
    """The ratio of medians, and the middle half of the ratios of single rounds."""
    text = f"**{statistics.median(theirs) / statistics.median(ours):.2f}**"
    if len(theirs) == len(ours) > 1:
        low, _, high = statistics.quantiles([a / b for a, b in zip(theirs, ours)], n=4)
        text += f" ({low:.2f} to {high:.2f})"
    return text


HEADER = [
    "| row | who | ms | spread | times kdc's (middle half of rounds) | of the peak | MB | kdc's share of it "
    "| losses off by (of what rounding may do) | peak, GFLOP/s |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
]


def row_lines(row, facts, results, before, after, steady):
    name, _, batch = row.partition(":")
    title = name.upper() + (f" ({batch})" if batch else "")
    peak = f"{before:.0f}, {after:.0f}" + ("" if steady else " (noisy)")
    ours, flops = results["kdc"], nominal_flops(row)
    lines = []
    for who, result in results.items():
        if not result.times:
            lines.append(f"| {title} | {who} | {result.note} | | | | | | | |")
            continue
        middle = statistics.median(result.times)
        share = flops / (middle * 1e-3) / ((before + after) / 2 * 1e9)
        k = min(len(result.losses), len(facts["losses"])) - 1
        wanted = facts["losses"][k]
        losses = f"{abs(result.losses[k] / wanted - 1):.0e} ({rounding_of(who) * facts['response'][k] / abs(wanted):.0e})"
        ratio = "" if result is ours else ratio_text(result.times, ours.times)
        memory = "" if result is ours else f"{ours.memory / result.memory:.2f}"
        note = f" ({result.note})" if result.note else ""
        lines.append(f"| {title} | {who}{note} | {middle:.1f} | {100 * spread(result.times):.0f} % | {ratio} | "
                     f"{100 * share:.0f} % | {result.memory:.0f} | {memory} | {losses} | {peak} |")
    return lines


# ---- before the machine is quiet ---------------------------------------------------------------------


def warm_row(row):
    """Draws, counts and compiles all that a timed run with as many threads then finds in --work: a step of each variant."""
    weights, facts = prepare(row)
    for peer in args.peers:
        for variant in args.variants.get(peer, VARIANTS[peer]):
            start = time.perf_counter()
            try:
                server = start_peer(peer, row, variant)
                server.order(f"load {weights}")
                check_losses(server.name, [server.step()[1]], facts)
                server.close()
                print(f"  {peer} {variant}: {time.perf_counter() - start:.0f} s")
            except RowFailed as trouble:
                print(f"  {peer} {variant} is left out: {trouble}")
                Server.kill_all()


# ---- the same in double precision --------------------------------------------------------------------


def verify_row(row):
    """kdc and its peers compute the same: first losses in f64, where rounding is too small to matter."""
    name, _, batch = row.partition(":")
    row = f"{name}:{batch or 8}"
    path = stem_of(row).with_suffix(".f64.safetensors")
    python_steps(row, "prepare64", path)
    losses = {}
    for who in ["kdc"] + args.peers:
        try:
            if who == "kdc":
                server = start_kdc(row, ["--dtype=f64"])
            else:
                server = start_peer(who, row, f"{VARIANTS[who][0]}+f64")
            server.order(f"load {path}")
            losses[who] = [server.step()[1] for _ in range(3)]
            server.close()
        except RowFailed as trouble:
            print(f"  {who} is left out: {trouble}")
            Server.kill_all()
            continue
        print(f"  {who}: {' '.join(f'{loss:.10f}' for loss in losses[who])}")
    if "kdc" not in losses or len(losses) < 2:
        raise RowFailed("there is nothing to compare")
    for who, found in losses.items():
        off = max(abs(a / b - 1) for a, b in zip(found, losses["kdc"]))
        if not off <= F64_TOLERANCE:
            raise RowFailed(f"the losses of {who} are off by {off:.1e}")


# ---- single convolutions -----------------------------------------------------------------------------

CONVS = [(64, 64, 32), (64, 128, 16), (64, 256, 8), (64, 512, 4)]  # batch, channels and filters, size
DIRECTIONS = ["forward", "by_input", "by_weight"]
CONV_HEADER = [
    "| 3x3 convolution | direction | kdc strict, GFLOP/s | kdc fast | oneDNN direct | oneDNN Winograd "
    "| of the peak: strict, fast | direct by strict, by fast | peak, GFLOP/s |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
]


def start_onednn():
    """Compiled here, with what install.sh put into the venv's folder onednn."""
    program, folder = args.work / "onednn_conv", args.venv / "onednn"
    if not (folder / "include").exists():
        raise RowFailed(f"{folder} has no oneDNN; see bench/peers/install.sh")
    link(program, "-I", folder / "include", "-I", HERE.parent.parent, HERE / "onednn_conv.c", "-L", folder / "lib", "-ldnnl",
         f"-Wl,-rpath-link,{folder / 'lib'}")
    return Server("onednn", [program], {**threads_environment(), "LD_LIBRARY_PATH": str(folder / "lib")})


def time_convs():
    kernels = Server("kernels", [args.build / "bench" / "bench_kernels", "--serve", "--threads", args.threads],
                     threads_environment())
    onednn = start_onednn()
    forms = {"strict": kernels, "fast": kernels, "direct": onednn, "direct_nhwc": onednn, "winograd": onednn}
    lines = []
    for batch, channels, size in CONVS:
        flops = 2.0 * batch * channels * channels * 9 * size * size
        for direction in DIRECTIONS:
            there = [form for form, server in forms.items()
                     if server.ask(f"conv {form} {direction} {batch} {channels} {channels} {size}") == "ok"]
            taken = {form: [] for form in there}
            peaks = []
            for k in range(WARM_UP + max(args.steps, LEAST_STEPS)):
                for form in there[k % len(there):] + there[: k % len(there)]:
                    taken[form].append(float(forms[form].ask(f"step {form}").split()[0]))
                peaks.append(float(kernels.ask("peak")))
            speed = {form: flops / statistics.median(times[WARM_UP:]) * 1e-6 for form, times in taken.items()}
            peak = statistics.median(peaks)
            best = max(speed.get("direct", 0), speed.get("direct_nhwc", 0))
            cells = [f"{speed[form]:.0f}" if form in speed else "—" for form in ("strict", "fast")]
            cells += [f"{best:.0f}", f"{speed['winograd']:.0f}" if "winograd" in speed else "—"]
            lines.append(f"| {batch} x {channels}-{channels}@{size} | {direction.replace('_', ' the ')} | "
                         f"{' | '.join(cells)} | {100 * speed['strict'] / peak:.0f} %, {100 * speed['fast'] / peak:.0f} % | "
                         f"{speed['strict'] / best:.2f}, {speed['fast'] / best:.2f} | {peak:.0f} |")
    kernels.close()
    onednn.close()
    return lines


# ---- all ---------------------------------------------------------------------------------------------


def write_table(lines, header):
    """Adds lines to the table's file, under a header if the last one there is another."""
    text = args.table.read_text() if args.table.exists() else ""
    last = [line for line in text.split("\n") if line.startswith("| ") and line in (HEADER[0], CONV_HEADER[0])]
    begins = not last or last[-1] != header[0]
    with open(args.table, "a") as file:
        for line in ([""] if text and begins else []) + (header if begins else []) + lines:
            print(line, file=file)
    print("\n".join(lines))


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    root = HERE.parent.parent
    parser.add_argument("rows", nargs="*", metavar="ROW", help="s1, s2:128, convs, …; all of them")
    parser.add_argument("--warm", action="store_true", help="draw and compile what a timed run then finds, and time nothing")
    parser.add_argument("--verify", action="store_true", help="compare losses in double precision, and time nothing")
    parser.add_argument("--steps", type=int, default=15, help="of each in turn, at most (%(default)s)")
    parser.add_argument("--rank", type=int, default=5, help="steps that rank a variant, at most (%(default)s)")
    parser.add_argument("--minutes", type=float, default=40, help="for all rows, about; each gets its share (%(default)s)")
    parser.add_argument("--patience", type=float,
                        help="seconds that one step may take, or a compilation (150; 900 where nothing is timed)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peers", default=",".join(VARIANTS), help="separated by commas (%(default)s)")
    parser.add_argument("--variants", default="", help="torch:eager+cl,compile;jax:nhwc instead of all")
    parser.add_argument("--build", type=Path, default=root / "build" / "release")
    parser.add_argument("--venv", type=Path, default=root / "build" / "peers", help="where install.sh put the peers")
    parser.add_argument("--work", type=Path, default=root / "build" / "peers-work", help="weights, objects, logs")
    parser.add_argument("--table", type=Path, help="rows are added there (table.md in --work)")
    found = parser.parse_args()
    for row in found.rows:
        if row.partition(":")[0] not in ROWS:
            parser.error(f"no row {row}; there are {' '.join(ROWS)}")
    found.rows = found.rows or [row for row in ROWS if row != "convs" or not (found.verify or found.warm)]
    found.patience = found.patience or (900 if found.verify or found.warm else 150)
    found.peers = found.peers.split(",")
    found.variants = {peer: names.split(",") for peer, names in
                      (part.split(":") for part in found.variants.split(";") if part)}
    for name in ("build", "venv", "work"):
        setattr(found, name, getattr(found, name).absolute())
    found.work.mkdir(parents=True, exist_ok=True)
    found.table = found.table or found.work / "table.md"
    return found


def main():
    end = time.monotonic() + 60 * args.minutes
    status = 0
    for k, row in enumerate(args.rows):
        now = time.monotonic()
        deadline = now + max(0, end - now) / (len(args.rows) - k)
        print(f"{row}:")
        try:
            if args.verify:
                verify_row(row)
            elif args.warm:
                warm_row(row)
            elif row == "convs":
                write_table(time_convs(), CONV_HEADER)
            else:
                write_table(time_row(row, deadline), HEADER)
        except (RowFailed, OSError, ValueError, subprocess.SubprocessError) as trouble:
            print(f"{row} is left out: {trouble}", file=sys.stderr)
            if not (args.verify or args.warm):
                write_table([f"| {row.upper()} | left out: {str(trouble).replace('|', '/')} |" + " |" * 8], HEADER)
            status = 1
        Server.kill_all()
        print(f"  {time.monotonic() - now:.0f} s")
    return status


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    args = read_arguments()
    sys.exit(main())

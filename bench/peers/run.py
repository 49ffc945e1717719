#!/usr/bin/env python3
"""Times kdc and its peers step by step in turn, and writes the table of docs/performance.md.

    bench/peers/run.py [ROW ...]      all rows of S1 to S11 that there are; `s2:128` is S2 with a batch of 128

For each row: weights and data are drawn once and loaded by all; each peer's variants are ranked by a few steps; then the
best of each peer and kdc run step by step in turn, their first losses are compared, and the multiply-add peak is measured
before and after. Where the two peaks differ by more than 5 % the row is taken again. See bench/README.md."""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROWS = ["s1", "s2", "s2:128", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s11"]
VARIANTS = {
    "torch": [f"{mode}{layout}{malloc}" for mode in ("eager", "compile") for layout in ("", "+cl")
              for malloc in ("", "+tcmalloc")],
}
# Relative differences of the loss that rounding may cause, which training amplifies (hence a small learning rate in the
# rows): before any update, after one, after two.
LOSS_TOLERANCE = [1e-4, 1e-3, 3e-3]
WARM_UP = 2
PEAK_TOLERANCE = 0.05
MOST_TRIES = 4


class RowFailed(Exception):
    """A row that cannot be timed; the others can."""


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
        line = self.process.stdout.readline()
        if not line:
            raise RowFailed(f"{self.name} ended with status {self.process.wait()}; see {self.log.name}")
        return line.strip()

    def expect(self, wanted, found):
        if found != wanted:
            raise RowFailed(f"{self.name} answers {found!r}, not {wanted!r}; see {self.log.name}")

    def ask(self, request):
        print(request, file=self.process.stdin, flush=True)
        return self.answer()

    def load(self, path):
        self.expect("ok", self.ask(f"load {path}"))

    def step(self):
        """Milliseconds and the loss."""
        taken, loss = self.ask("step").split()
        return float(taken), float(loss)

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.log.close()
        self.running.remove(self)


def threads_environment():
    """Threads are bound to their cores where they are as many, as kdc's runtime has it."""
    bind = args.threads > 1 and args.threads == len(os.sched_getaffinity(0))
    return {"OMP_NUM_THREADS": str(args.threads)} | ({"OMP_PROC_BIND": "true"} if bind else {})


def start_kdc(row):
    name, _, batch = row.partition(":")
    stem = args.work / row.replace(":", "_")
    command = [args.build / "kdc", HERE.parent / f"{name}.kd", "--emit=obj", "-o", f"{stem}.o"]
    start = time.perf_counter()
    subprocess.run(command + (["-D", f"size={batch}"] if batch else []), check=True)
    print(f"  kdc: compiled in {time.perf_counter() - start:.1f} s")
    subprocess.run(["cc", "-shared", "-o", f"{stem}.so", f"{stem}.o", "-lgomp", "-lm"], check=True)
    command = [args.build / "bench" / "bench_serve", f"{stem}.so", "--threads", args.threads]
    return Server("kdc", command + (["--eval"] if name == "s11" else []), {})


def start_peer(peer, row, variant):
    environment = threads_environment()
    options = variant.split("+")
    if "tcmalloc" in options:
        environment["LD_PRELOAD"] = str(args.venv / "libtcmalloc.so")
        options.remove("tcmalloc")
    environment["TORCHINDUCTOR_CACHE_DIR"] = str(args.work / "inductor")
    command = [args.venv / "bin" / "python", HERE / f"{peer}_steps.py", row, "+".join(options)]
    return Server(f"{peer} {variant}", command, environment)


def prepare(row):
    """The file of weights and data, and the nominal operations of a step."""
    path = args.work / f"{row.replace(':', '_')}.safetensors"
    command = [args.venv / "bin" / "python", HERE / "torch_steps.py", row, "prepare", path]
    found = subprocess.run([str(word) for word in command], check=True, text=True, stdout=subprocess.PIPE,
                           env={**os.environ, **threads_environment()})
    return path, int(found.stdout)


def best_variant(peer, row, weights):
    """The variant whose median of a few steps is least."""
    median = {}
    for variant in args.variants.get(peer, VARIANTS[peer]):
        if "tcmalloc" in variant and not (args.venv / "libtcmalloc.so").exists():
            continue
        server = start_peer(peer, row, variant)
        server.load(weights)
        for _ in range(WARM_UP):
            server.step()
        median[variant] = statistics.median(server.step()[0] for _ in range(args.rank))
        server.close()
        print(f"  {peer} {variant}: {median[variant]:.1f} ms")
    return min(median, key=median.get)


def check_losses(row, servers):
    """All compute the same on the same weights and data, updates included."""
    losses = {server.name: [server.step()[1] for _ in LOSS_TOLERANCE] for server in servers}
    wanted = losses[servers[-1].name]
    for name, found in losses.items():
        print(f"  {name}: losses {' '.join(f'{x:.6f}' for x in found)}")
        for k, tolerance in enumerate(LOSS_TOLERANCE):
            if not abs(found[k] - wanted[k]) <= tolerance * abs(wanted[k]):
                raise RowFailed(f"loss {k + 1} of {name} is {found[k]}, of {servers[-1].name} {wanted[k]}")


def take_turns(servers):
    """Milliseconds of each server's steps; who is first changes from round to round."""
    taken = {server.name: [] for server in servers}
    for k in range(args.steps):
        for server in servers[k % len(servers):] + servers[: k % len(servers)]:
            taken[server.name].append(server.step()[0])
    return taken


def measure(servers):
    """Times of a row, and the peaks before and after; again while these differ too much."""
    for tries in range(1, MOST_TRIES + 1):
        before = float(servers[0].ask("peak"))
        taken = take_turns(servers)
        after = float(servers[0].ask("peak"))
        print(f"  peak {before:.0f} before, {after:.0f} GFLOP/s after")
        if abs(before - after) <= PEAK_TOLERANCE * max(before, after):
            return taken, before, after, True
    return taken, before, after, False


def spread(values):
    """The range of the middle half, by the median."""
    low, middle, high = statistics.quantiles(values, n=4)
    return (high - low) / middle


def time_row(row):
    print(f"{row}:")
    weights, flops = prepare(row)
    best = {peer: best_variant(peer, row, weights) for peer in args.peers}
    servers = [start_kdc(row)] + [start_peer(peer, row, variant) for peer, variant in best.items()]
    for server in servers:
        server.load(weights)
    check_losses(row, servers)
    for server in servers:
        for _ in range(WARM_UP):
            server.step()
        server.expect("ok", server.ask("mark"))
    taken, before, after, steady = measure(servers)
    memory = {server.name: float(server.ask("memory")) for server in servers}
    for server in servers:
        server.close()
    return table_lines(row, flops, taken, memory, before, after, steady)


def table_lines(row, flops, taken, memory, before, after, steady):
    name, _, batch = row.partition(":")
    title = name.upper() + (f" ({batch})" if batch else "")
    peak = f"{before:.0f}, {after:.0f}" + ("" if steady else " (unsteady)")
    lines = []
    for server, times in taken.items():
        middle = statistics.median(times)
        share = flops / (middle * 1e-3) / ((before + after) / 2 * 1e9)
        if server == "kdc":
            ratio = memory_ratio = ""
        else:
            pairs = [theirs / ours for theirs, ours in zip(times, taken["kdc"])]
            ratio = f"**{middle / statistics.median(taken['kdc']):.2f}** ({min(pairs):.2f} to {max(pairs):.2f})"
            memory_ratio = f"{memory['kdc'] / memory[server]:.2f}"
        lines.append(f"| {title} | {server} | {middle:.1f} | {100 * spread(times):.0f} % | {ratio} | {100 * share:.0f} % | "
                     f"{memory[server]:.0f} | {memory_ratio} | {peak} |")
    return lines


HEADER = [
    "| row | who | ms | spread | times kdc's (of single rounds) | of the peak | MB | kdc's share of it | peak, GFLOP/s |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
]


def write_table(lines):
    begins = not args.table.exists()
    with open(args.table, "a") as file:
        for line in (HEADER if begins else []) + lines:
            print(line, file=file)
    print("\n".join(lines))


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    root = HERE.parent.parent
    parser.add_argument("rows", nargs="*", default=ROWS, metavar="ROW", help="s1, s2:128, …; all of them")
    parser.add_argument("--steps", type=int, default=15, help="of each in turn (%(default)s)")
    parser.add_argument("--rank", type=int, default=5, help="steps that rank a variant (%(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peers", default=",".join(VARIANTS), help="separated by commas (%(default)s)")
    parser.add_argument("--variants", default="", help="torch:eager+cl,compile instead of all")
    parser.add_argument("--build", type=Path, default=root / "build" / "release")
    parser.add_argument("--venv", type=Path, default=root / "build" / "peers", help="where install.sh put the peers")
    parser.add_argument("--work", type=Path, default=root / "build" / "peers-work", help="weights, objects, logs")
    parser.add_argument("--table", type=Path, help="rows are added there (table.md in --work)")
    found = parser.parse_args()
    found.peers = found.peers.split(",")
    found.variants = {peer: names.split(",") for peer, names in
                      (part.split(":") for part in found.variants.split(";") if part)}
    found.work.mkdir(parents=True, exist_ok=True)
    found.table = found.table or found.work / "table.md"
    return found


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    args = read_arguments()
    status = 0
    for row in args.rows:
        try:
            write_table(time_row(row))
        except (RowFailed, subprocess.CalledProcessError) as trouble:
            print(f"{row} is left out: {trouble}", file=sys.stderr)
            status = 1
            for server in Server.running:
                server.process.kill()
            Server.running.clear()
    sys.exit(status)

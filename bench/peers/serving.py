"""What the Python peers share: steps on request, as bench/serve.c answers them, and the size of their memory."""

import sys
import time


def resident_peak_mb():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) * 1024e-6


def serve(load):
    """Answers requests until the input ends. load(path) gives a function that runs a step and returns its loss, a number."""

    def say(text):
        print(text, flush=True)

    say("ready")
    step = None
    for line in sys.stdin:
        request, _, argument = line.strip().partition(" ")
        if request == "load":
            step = load(argument)
            say("ok")
        elif request == "step":
            start = time.perf_counter()
            loss = float(step())
            say(f"{(time.perf_counter() - start) * 1e3:.4f} {loss:.17g}")
        elif request == "mark":
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")
            say("ok")
        elif request == "memory":
            say(f"{resident_peak_mb():.1f}")
        else:
            say(f"unknown request: {request}")

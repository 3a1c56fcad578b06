"""Where the time of a lone routed request goes: each part of it, measured inside the gateway that serves it.

One request is under way at a time. The gateway is `demur serve` with two clocks around its steps, which add some
microseconds to each: of the wall, and of the CPU time of its process, all threads, which waiting for a core or for the
upstream leaves alone. Medians; a step's time is its own, without the other steps that it calls.

    python benchmarks/lone_request.py [--rounds 400]
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from added_latency import UPSTREAM_CODE, Kind, milliseconds, wait
from demur.records import FloatArray
from environment import describe
from gateway import DEMUR, UPSTREAM
from gateway_load import cpu_seconds, process
from served_gateway import demur_command

WARM = 60
WHOLE, LATER = "headers, admission, bookkeeping", "ledger, metrics (after the answer)"
# The gateway, with a clock around these steps; an outer step comes before what it calls. Run by itself.
STEPS = {
    WHOLE: ("demur.gateway.app", "Gateway.respond"),
    "body read, checked and parsed": ("demur.gateway.app", "Gateway._read"),
    "choosing, without the decision": ("demur.gateway.decision.choose_model", "Chooser.choose"),
    "handing over to the router and back": ("demur.gateway.decision.decider", "Decider.decide"),
    "tokenizer": ("demur.models.encoders.encoder", "OnnxEncoder._token_ids"),
    "embedding": ("demur.models.encoders.encoder", "OnnxEncoder._embed"),
    "score and familiarity": ("demur.routing.prompt_router", "PromptRouter.look_at_vectors"),
    "asking the model": ("demur.gateway.upstreams.upstream", "Upstream.send"),
    "conversation kept, answer sent on": ("demur.gateway.app", "Gateway._answer"),
    LATER: ("demur.gateway.app", "Gateway._write_down"),
}
CLOCK_CODE = """
import atexit, functools, importlib, inspect, json, sys, time
steps, told = json.loads(sys.argv[1]), sys.argv[2]
taken, open_steps = {name: [] for name in steps}, []
def clocks():
    return time.perf_counter(), time.process_time()
def begin():
    open_steps.append([clocks(), (0.0, 0.0)])
def end(name):
    start, inner = open_steps.pop()
    whole = [now - then for now, then in zip(clocks(), start)]
    taken[name].append([1000 * (one - other) for one, other in zip(whole, inner)])
    if open_steps:
        open_steps[-1][1] = [one + more for one, more in zip(open_steps[-1][1], whole)]
def clocked(name, work):
    if inspect.iscoroutinefunction(work):
        async def wait(*given, **more):
            begin()
            try:
                return await work(*given, **more)
            finally:
                end(name)
        return functools.wraps(work)(wait)
    def call(*given, **more):
        begin()
        try:
            return work(*given, **more)
        finally:
            end(name)
    return functools.wraps(work)(call)
for name, (module, path) in steps.items():
    owner, method = path.split(".")
    of = getattr(importlib.import_module(module), owner)
    setattr(of, method, clocked(name, getattr(of, method)))
atexit.register(lambda: open(told, "w").write(json.dumps(taken)))
sys.argv = ["demur", *sys.argv[3:]]
from demur.cli.main import main
main()
"""


def asked(way: str) -> Kind:
    """A request of chat completions that goes this way."""
    port, model = {"direct": (UPSTREAM, "large"), "passed": (DEMUR, "large"), "routed": (DEMUR, "demur")}[way]
    return Kind("chat", way, port, model, stream=False)


def parts_of(told: Path, rounds: int) -> dict[str, FloatArray]:
    """Median milliseconds of each step, wall and CPU, of the routed requests: the last that were sent."""
    taken: dict[str, list[list[float]]] = json.loads(told.read_text())
    return {name: np.median(times[-rounds:], axis=0) for name, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=400)
    rounds = parser.parse_args().rounds
    print(describe(), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder, told = Path(name), Path(name) / "times.json"
        with ExitStack() as stack:
            stack.enter_context(process([sys.executable, "-c", UPSTREAM_CODE, str(UPSTREAM)], 0))
            _, _, _, *serve = demur_command(folder, upstream=UPSTREAM, port=DEMUR)
            command = [sys.executable, "-c", CLOCK_CODE, json.dumps(STEPS), str(told), *serve]
            served = stack.enter_context(process(command, 1))
            wait(DEMUR)
            connections = {
                port: http.client.HTTPConnection("127.0.0.1", port, timeout=60) for port in (UPSTREAM, DEMUR)
            }

            def times(*ways: str) -> dict[str, float]:
                found: dict[str, list[float]] = {way: [] for way in ways}
                for turn in range(WARM + rounds):
                    for way in ways:
                        kind = asked(way)
                        taken = milliseconds(connections[kind.port], kind)
                        if turn >= WARM:
                            found[way].append(taken)
                return {way: float(np.median(one)) for way, one in found.items()}

            passing = times("direct", "passed")
            before = cpu_seconds(served.pid)
            routing = times("direct", "routed")  # last: its steps are read
            cpu = 1000 * (cpu_seconds(served.pid) - before) / (WARM + rounds)
        parts = parts_of(told, rounds)
    report(passing, routing, parts, cpu)


def report(passing: dict[str, float], routing: dict[str, float], parts: dict[str, FloatArray], cpu: float) -> None:
    added = {"passed": passing["passed"] - passing["direct"], "routed": routing["routed"] - routing["direct"]}
    print(f"direct {routing['direct']:.2f} ms; passed {added['passed']:+.2f}; routed {added['routed']:+.2f}")
    print(f"{'part of a routed request (p50)':<44}{'wall ms':>9}{'CPU ms':>9}")
    for name, (wall, used) in sorted(parts.items(), key=lambda one: -one[1][1]):
        print(f"{name:<44}{wall:>9.3f}{used:>9.3f}")
    seen = routing["routed"] - sum(wall for name, (wall, _) in parts.items() if name != LATER)
    rest = cpu - sum(used for _, used in parts.values())
    print(f"{'HTTP in and out, and waiting for the core':<44}{seen:>9.3f}{rest:>9.3f}")
    print(f"{'in all':<44}{routing['routed']:>9.3f}{cpu:>9.3f}")


if __name__ == "__main__":
    main()

"""Where the time of a lone routed request goes: each part of it, measured inside the gateway that serves it.

One request is under way at a time; direct, passed and routed ones alternate. The gateway is `demur serve` with a clock
around its steps, which adds some microseconds to each. A part's time is its own: what it calls and is named as well is
taken off. `the model's answer` holds the upstream's own time, which a direct request takes too.

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
from environment import describe
from gateway import DEMUR, UPSTREAM
from gateway_load import process
from served_gateway import demur_command

WARM = 60
# The gateway, with a clock around these steps; an outer step comes before what it calls. Run by itself.
STEPS = {
    "HTTP server, and what is in no other row": ("demur.gateway.app", "Gateway.respond"),
    "body read, checked and parsed": ("demur.gateway.app", "Gateway._read"),
    "choosing, without the decision": ("demur.gateway.decision.choose_model", "Chooser.choose"),
    "handing over to the router and back": ("demur.gateway.decision.decider", "Decider.decide"),
    "tokenizer": ("demur.models.encoders.encoder", "OnnxEncoder._token_ids"),
    "embedding": ("demur.models.encoders.encoder", "OnnxEncoder._embed"),
    "score and familiarity": ("demur.routing.prompt_router", "PromptRouter.look_at_vectors"),
    "the model's answer": ("demur.gateway.upstreams.upstream", "Upstream.send"),
    "conversation kept, answer sent on": ("demur.gateway.app", "Gateway._answer"),
    "ledger, metrics (after the answer)": ("demur.gateway.app", "Gateway._write_down"),
}
CLOCK_CODE = """
import atexit, functools, importlib, inspect, json, sys, time
steps, told = json.loads(sys.argv[1]), sys.argv[2]
taken, open_steps = {name: [] for name in steps}, []
def begin():
    open_steps.append([time.perf_counter(), 0.0])
def end(name):
    start, inner = open_steps.pop()
    whole = time.perf_counter() - start
    taken[name].append(1000 * (whole - inner))
    if open_steps:
        open_steps[-1][1] += whole
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


def parts_of(told: Path, rounds: int) -> dict[str, float]:
    """Median milliseconds of each step, of the routed requests: the last that were sent."""
    taken: dict[str, list[float]] = json.loads(told.read_text())
    return {name: float(np.median(times[-rounds:])) for name, times in taken.items()}


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
            stack.enter_context(process(command, 1))
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
            routing = times("direct", "routed")  # last: its steps are read
        parts = parts_of(told, rounds)
    report(passing, routing, parts)


def report(passing: dict[str, float], routing: dict[str, float], parts: dict[str, float]) -> None:
    """Medians in ms; the HTTP row also holds what the client sees and no step does."""
    later = "ledger, metrics (after the answer)"
    inside = sum(value for name, value in parts.items() if name != later)
    http_name = next(iter(parts))
    parts[http_name] += routing["routed"] - inside
    added = routing["routed"] - routing["direct"]
    print(
        f"direct {routing['direct']:.2f} ms; passed {passing['passed'] - passing['direct']:+.2f}; routed {added:+.2f}"
    )
    print(f"{'part of a routed request (p50, ms)':<44}{'ms':>7}")
    for name, value in sorted(parts.items(), key=lambda one: -one[1]):
        print(f"{name:<44}{value:>7.3f}")
    print(f"{'all but the ledger: what the client waits for':<44}{routing['routed']:>7.3f}")


if __name__ == "__main__":
    main()

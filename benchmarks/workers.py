"""What a second worker gives on two cores: requests per second of `demur serve --workers 2` over those of one worker.

Load (wrk) and upstream (nginx, a fixed answer) run on the same two cores. They take about 4 % of a core per thousand
requests, which is printed: no second worker can have what they use. One and two workers alternate.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from environment import describe, on_one_thread, output_of
from served_gateway import demur_command

UPSTREAM, GATEWAY = 8311, 8312
TICKS = os.sysconf("SC_CLK_TCK")
ANSWER = (
    '{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant",'
    '"content":"Because it is."},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":3,'
    '"total_tokens":12}}'
)
NGINX = """daemon off; worker_processes 1; pid {folder}/pid; error_log /dev/null; events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {folder}; server {{
  listen 127.0.0.1:{port}; location / {{ default_type application/json; return 200 '{answer}'; }} }} }}"""
WRK = """local n = math.random(1000000) * 1000
request = function()
  n = n + 1
  local body = '{"model": "%s", "messages": [{"role": "user", "content": "What is the sum of number ' .. n .. '?"}]}'
  return wrk.format("POST", "/v1/chat/completions", {["Content-Type"] = "application/json"}, body)
end
"""
MODES = {"passing through": "small", "routed": "demur"}


@dataclass(frozen=True, slots=True)
class Measured:
    """One stretch of load."""

    per_second: float
    gateway_cores: float  # CPU seconds per second
    other_cores: float  # of load and upstream


def main() -> None:
    on_one_thread()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=6, help="of load, each; wrk takes whole ones")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=64)
    given = parser.parse_args()
    print(describe(), flush=True)
    report(measure_workers(given.seconds, given.rounds, given.connections))


def measure_workers(seconds: int, rounds: int, connections: int) -> dict[tuple[str, int], list[Measured]]:
    """By mode and number of workers, what each round gave. Raises SystemExit without nginx and wrk."""
    for tool in ("wrk", "nginx"):
        if shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            raise SystemExit(f"{tool} is missing: apt-get install wrk nginx-light")
    found: dict[tuple[str, int], list[Measured]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name, upstream(Path(name)) as model:
        command = demur_command(Path(name), upstream=UPSTREAM, port=GATEWAY)
        for asked in MODES.values():
            (Path(name) / f"{asked}.lua").write_text(WRK.replace("%s", asked))
        for _ in range(rounds):
            for workers in (1, 2):
                with serving([*command, "--workers", str(workers)]) as gateway:
                    for mode, asked in MODES.items():
                        script = Path(name) / f"{asked}.lua"
                        load(script, 1, connections)
                        found[mode, workers].append(measure(script, gateway, model, seconds, connections))
    return found


def report(found: dict[tuple[str, int], list[Measured]]) -> None:
    print("| | workers | requests/s | gateway, cores | load and upstream, cores | requests per CPU second |")
    print("|---|---|---|---|---|---|")
    for (mode, workers), rounds in found.items():
        middle = sorted(rounds, key=lambda one: one.per_second)[len(rounds) // 2]
        per_cpu = statistics.median(one.per_second / one.gateway_cores for one in rounds)
        print(
            f"| {mode} | {workers} | {middle.per_second:,.0f} | {middle.gateway_cores:.2f} | {middle.other_cores:.2f} "
            f"| {per_cpu:,.0f} |"
        )
    for mode in MODES:
        ratios = ratios_of(found, mode)
        print(f"{mode}: two workers over one: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


def ratios_of(found: dict[tuple[str, int], list[Measured]], mode: str) -> list[float]:
    """Requests per second of two workers over one, of each round, in order of size."""
    pairs = zip(found[mode, 1], found[mode, 2], strict=True)
    return sorted(two.per_second / one.per_second for one, two in pairs)


def measure(script: Path, gateway: int, model: int, seconds: int, connections: int) -> Measured:
    before, started = (cpu_seconds(gateway), cpu_seconds(model)), time.monotonic()
    per_second, own = load(script, seconds, connections)
    taken = time.monotonic() - started
    served, answered = (cpu_seconds(pid) - then for pid, then in zip((gateway, model), before, strict=True))
    return Measured(per_second, served / taken, (answered + own) / taken)


def load(script: Path, seconds: int, connections: int) -> tuple[float, float]:
    """(requests per second, CPU seconds of the load tool)."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), f"http://127.0.0.1:{GATEWAY}"]
    before = os.times()
    said = output_of(command)
    after = os.times()
    assert "Non-2xx" not in said, said
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert rate is not None, said
    own = after.children_user + after.children_system - before.children_user - before.children_system
    return float(rate[1]), own


def cpu_seconds(pid: int) -> float:
    """Of a process and those that it has started."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(words[11]) + int(words[12])) / TICKS
    return own + sum(cpu_seconds(int(child)) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


@contextmanager
def upstream(folder: Path) -> Iterator[int]:
    """A model that answers at once; its process."""
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=UPSTREAM, answer=ANSWER))
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or "nginx"
    with running([nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")]) as pid:
        yield pid


@contextmanager
def serving(command: list[str]) -> Iterator[int]:
    """A gateway that is ready; its process."""
    with running(command) as pid:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{GATEWAY}/health", timeout=1):
                    break
            except OSError:
                time.sleep(0.1)
        time.sleep(1.0)  # until the other worker is ready, too
        yield pid


@contextmanager
def running(command: list[str]) -> Iterator[int]:
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield child.pid
    finally:
        child.terminate()
        child.wait(timeout=90)


if __name__ == "__main__":
    main()

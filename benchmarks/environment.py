"""What every benchmark prints first: machine, versions, command and commit; and how it reads the shared data."""

from __future__ import annotations

import gzip
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from demur.models.catalogue import cache_folder

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("DEMUR_SHARED", ROOT.parent / "shared" / "data"))
SAID = 3000  # characters of what a failed program said, and of its command


def describe() -> str:
    """Machine, versions, command and commit, a line."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    dirty = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    command = " ".join(["python", Path(sys.argv[0]).name, *sys.argv[1:]])
    cpu = next((line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.machine())
    return (
        f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}; "
        f"{command}; commit {commit.stdout.strip() or 'none'}{' + changes' if dirty else ''}"
    )


def on_one_thread() -> None:
    """Begin anew with one thread a numeric library; they read these variables when they are first imported."""
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    if not single.items() <= os.environ.items():
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **single})


def peer_python(name: str, needs: Sequence[str], *, alone: Sequence[str] = ()) -> Path:
    """Python of a published package's own environment, made under demur's cache on first use.

    ``alone`` are packages whose dependencies are not wanted.
    """

    def make(folder: Path) -> None:
        venv.create(folder, with_pip=True, clear=True)
        install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        output_of([*install, *needs])
        if alone:
            output_of([*install, "--no-deps", *alone])

    return _made(name, "\n".join([*needs, *alone]), make) / "bin" / "python"


def peer_modules(name: str, needs: Mapping[str, str], *, held: Mapping[str, str]) -> Path:
    """``node_modules`` of published npm packages (name: version), made under demur's cache on first use.

    ``held`` are the versions of packages that those depend on; no package's install script is run.
    """
    wanted = json.dumps({"private": True, "dependencies": dict(needs), "overrides": dict(held)})

    def make(folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "package.json").write_text(wanted)
        install = ["npm", "install", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(install, cwd=folder, check=True)

    return _made(name, wanted, make) / "node_modules"


def _made(name: str, wanted: str, make: Callable[[Path], None]) -> Path:
    """The folder of a peer, made anew when what is wanted in it has changed."""
    folder = cache_folder().parent / "benchmarks" / name
    ready = folder / "ready"
    if not ready.is_file() or ready.read_text() != wanted:
        print(f"making the environment of {name} in {folder}", file=sys.stderr, flush=True)
        make(folder)
        ready.write_text(wanted)
    return folder


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def shared_rows(name: str) -> list[dict[str, Any]]:
    """Rows of a gzip JSON-lines file of the shared data, such as ``samples/local_pair``."""
    path = SHARED / f"{name}.jsonl.gz"
    if not path.exists():
        raise SystemExit(f"{path} is missing; set DEMUR_SHARED to the folder of the shared data")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def output_of(command: Sequence[str | Path], *, given: str | None = None, env: Mapping[str, str] | None = None) -> str:
    """What a program prints; where it fails, what it said on stderr ends this one."""
    words = [str(word) for word in command]
    done = subprocess.run(words, input=given, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{done.stderr.strip()[-SAID:]}\n{' '.join(words)[:SAID]} ended with {done.returncode}")
    return done.stdout


def median_seconds(work: Callable[[], object], *, runs: int = 200, warmup: int = 10) -> float:
    """Median wall time of one call."""
    for _ in range(warmup):
        work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)

"""What serving a router takes: import time, size of the base install, peak memory at N = 12,247 with its encoder."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from demur.methods import SimilarityWeighted
from demur.methods.estimator import unit_rows
from demur.models.encoders.encoder import load_encoder
from demur.routing.prompt_router import PromptRouter, TrainingPrompt
from environment import ROOT, describe, output_of

N, DIMENSION = 12_247, 384
IMPORT = "import time; s = time.process_time(); import demur; print(time.process_time() - s)"
HELP = "import sys; sys.argv = ['demur', '--help']; from demur.cli.main import main; main()"
SERVE = """
import resource, sys, time
from demur.routing.prompt_router import PromptRouter
router = PromptRouter.load(sys.argv[1])
times = []
for i in range(200):
    start = time.perf_counter()
    router.route(f"How many {i} are there in a kilometre of rope, and why?")
    times.append(time.perf_counter() - start)
router.route("long " * 5000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1000 * sorted(times)[100])
"""


def main() -> None:
    """Print the three figures."""
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        python = clean_install(Path(folder))
        print(f"base install: {installed(python):.0f} MB")
        run(python, IMPORT)  # the first one writes the bytecode
        seconds = sorted(float(run(python, IMPORT)) for _ in range(7))[3]
        print(f"import demur: {seconds:.3f} s CPU (median of 7)")
        print("demur --help:", run(python, HELP).strip().splitlines()[0])
        save_router(Path(folder) / "router")
        memory, milliseconds = run(python, SERVE, str(Path(folder) / "router")).split()
        print(
            f"served router, N = {N:,}: peak {float(memory):.0f} MB, a decision {float(milliseconds):.2f} ms, embedded"
        )
        print(f"base install after these, with the bytecode of the modules that they use: {installed(python):.0f} MB")


def clean_install(folder: Path) -> Path:
    """demur's wheel and nothing but its base dependencies, in an environment of its own."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    output_of(build)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "env")], check=True)
    python = folder / "env" / "bin" / "python"
    wheel = next(folder.glob("*.whl"))
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", str(wheel)]
    output_of(pip)
    return python


def installed(python: Path) -> float:
    """MB on disk of demur and all that it needs, without what every new environment has (pip, setuptools)."""
    given = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
    packages = [p for p in (python.parents[1] / "lib").glob("python*/site-packages/*") if not p.name.startswith(given)]
    return sum(f.stat().st_size for p in packages for f in (p, *p.rglob("*")) if f.is_file()) / 1e6


def run(python: Path, code: str, *arguments: str) -> str:
    """What a fresh interpreter prints."""
    writes_bytecode = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return output_of([python, "-c", code, *arguments], env=writes_bytecode)


def save_router(folder: Path) -> None:
    """A router of the paper's size on random vectors; what it learned does not change what it takes."""
    random = np.random.default_rng(0)
    X = unit_rows(random.normal(size=(N, DIMENSION)).astype(np.float32))
    y = random.random(N)
    texts = (f"A training prompt of usual length, about things and their reasons, number {i}?" for i in range(N))
    training = tuple(TrainingPrompt(text, float(t), 1.0, 0.5) for text, t in zip(texts, y, strict=True))
    method = SimilarityWeighted().fit(X, y)
    PromptRouter(load_encoder("bge-small"), method, "weak", "strong", training, method.rows_, y).save(folder)


if __name__ == "__main__":
    main()

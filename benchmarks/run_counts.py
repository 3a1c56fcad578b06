"""How often a run reads the same thing: hash passes, prompt reads, queries of samples and clusterings, by command.

60 prompts, an own .gguf file as the weak model, both models' samples in the store already, the encoder an endpoint; no
model and no network. It counts below the code's own functions (files opened, SQL statements, calls of
`meaning_clusters`), so it runs on any commit: `PYTHONPATH=src python benchmarks/run_counts.py`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import demur
from demur.testing import FakeEndpoint, fake_endpoint, in_a_thread

PROMPTS, SAMPLES = 60, 4
COUNTED = ("hash passes", "prompt reads", "sample queries", "clusterings")
counts: Counter[str] = Counter()


def weak(prompt: str, seed: int) -> str:
    """Guesses at sums, and knows the rest."""
    return str(seed % 7) if "plus" in prompt else "blue"


def honest(answer: str) -> float:
    """Log-prob of the weak model's tokens: a guess is one of seven."""
    return -2.0 if answer.isdigit() else -0.01


def strong(prompt: str, seed: int) -> str:
    """Knows everything."""
    return str(int(prompt.split()[2]) + 1) if "plus" in prompt else "blue"


def count_file(event: str, given: tuple[Any, ...]) -> None:
    """Files that are opened, from Python's own audit."""
    if event == "open" and isinstance(given[0], str | os.PathLike):
        name = Path(given[0]).name
        counts["hash passes"] += name == "own.gguf"
        counts["prompt reads"] += name == "prompts.jsonl"


def count_call(frame: Any, event: str, _: object) -> None:
    """Calls of the function that clusters."""
    counts["clusterings"] += event == "call" and frame.f_code.co_name == "meaning_clusters"


def count_query(statement: str) -> None:
    """SQL that reads samples."""
    counts["sample queries"] += "from samples where" in statement


@contextmanager
def counting() -> Iterator[None]:
    """Count in this process, which this benchmark has for itself."""
    plain = sqlite3.connect

    def connect(*given: Any, **named: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = plain(*given, **named)
        connection.set_trace_callback(count_query)
        return connection

    sys.addaudithook(count_file)
    sqlite3.connect = connect  # type: ignore[assignment]
    sys.setprofile(count_call)
    try:
        yield
    finally:
        sys.setprofile(None)
        sqlite3.connect = plain


@contextmanager
def serving() -> Iterator[tuple[FakeEndpoint, FakeEndpoint]]:
    """Both models, the strong one's endpoint an encoder as well, each in a thread of its own."""
    with in_a_thread(fake_endpoint(weak, logprob=honest)) as small, in_a_thread(fake_endpoint(strong)) as large:
        yield small, large


def write_prompts(folder: Path) -> None:
    """Half of them sums."""
    rows = []
    for i in range(PROMPTS):
        text, gold = (f"What is {i} plus 1?", i + 1) if i % 2 else (f"Which colour has thing {i}?", "blue")
        rows.append(f'{{"id": "{i}", "prompt": "{text}", "answers": ["{gold}"]}}\n')
    (folder / "prompts.jsonl").write_text("".join(rows), encoding="utf-8")


def sample_elsewhere(folder: Path, small: str, large: str) -> Path:
    """A store with both models' samples, the weak one's under the name of the .gguf file."""
    run = folder / "elsewhere"
    demur.sample(str(folder / "prompts.jsonl"), f"small@{small}", f"large@{large}", run=str(run), n=SAMPLES)
    name = f"own#{hashlib.sha256((folder / 'own.gguf').read_bytes()).hexdigest()[:16]}"
    with closing(sqlite3.connect(run / "store.sqlite")) as db, db:
        db.execute("update samples set model = ? where model like 'small@%'", (name,))
    return run / "store.sqlite"


def commands(folder: Path, url: str) -> dict[str, Callable[[], object]]:
    """Each command of the pipeline, one after another on one run, and all of them as one command on another."""
    run, encoder = str(folder / "run"), f"letters@{url}"
    small, large = str(folder / "own.gguf"), f"large@{url}"
    (folder / "run.toml").write_text(
        f'prompts = "{folder}/prompts.jsonl"\nrun = "{folder}/all"\nweak = "{small}"\n'
        f'[strong]\nmodel = "large"\nbase_url = "{url}"\n[sampling]\nn = {SAMPLES}\n[router]\nencoder = "{encoder}"\n'
    )
    return {
        "sample": lambda: demur.sample(str(folder / "prompts.jsonl"), small, large, run=run, n=SAMPLES),
        "label": lambda: demur.label(run=run),
        "train": lambda: demur.train(run=run, encoder=encoder),
        "evaluate": lambda: demur.evaluate(run=run),
        "run (all)": lambda: demur.run(folder / "run.toml"),
    }


def main() -> None:
    """Print a table."""
    print(f"{'command':<12}" + "".join(f"{name:>16}" for name in COUNTED))
    with tempfile.TemporaryDirectory() as name, serving() as (small, large):
        folder = Path(name)
        write_prompts(folder)
        (folder / "own.gguf").write_bytes(b"GGUF" + bytes(1000))
        store = sample_elsewhere(folder, small.base_url, large.base_url)
        for run in ("run", "all"):
            (folder / run).mkdir()
            shutil.copy(store, folder / run / "store.sqlite")
        with counting():
            for command, call in commands(folder, large.base_url).items():
                os.environ["XDG_CACHE_HOME"] = str(folder / "cache" / command)  # the file is new to each command
                counts.clear()
                call()
                print(f"{command:<12}" + "".join(f"{counts[name]:>16}" for name in COUNTED), flush=True)


if __name__ == "__main__":
    main()

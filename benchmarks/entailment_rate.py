"""Pairs per CPU second of the shipped entailment model beside those of the day when twice as many were aimed at.

Both score the hand-written hard pairs in both directions, one thread, each round in a process of its own, in turn: the
code as it is, and the code and model of commit DAY, taken out of the history. With the AUC of both on these pairs, and
of how many pairs the probabilities are equal to the last bit.

    python benchmarks/entailment_rate.py
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from demur.meaning.clusters import ENTAILMENT
from demur.records import FloatArray
from demur.statistics import auroc
from environment import ROOT, describe, on_one_thread, output_of

DAY = "ff0e375"  # 2026-11-29: the first that speaks of the aim
HARD = ROOT / "benchmarks" / "data" / "entailment_hard.jsonl"
ROUNDS = 7

# Loads the model, scores a few pairs that are not counted, then prints CPU seconds and probabilities of all.
SCORING_CODE = """
import json, sys, time
from demur.meaning.entailment import shipped_entailment
model = shipped_entailment()
model([(f"{i} and one", f"one and {i}") for i in range(50)])
pairs = [tuple(pair) for pair in json.load(open(sys.argv[1]))]
start = time.process_time()
found = model(pairs)
print(json.dumps([time.process_time() - start, found.tolist()]))
"""


@dataclass(frozen=True, slots=True)
class Rates:
    """Pairs per CPU second, medians over rounds; ``ratio`` is the median of the rounds' own."""

    now: float
    then: float
    ratio: float
    auc_now: float
    auc_then: float
    equal: float  # the share of pairs whose probabilities are equal to the last bit


def measure_rates() -> Rates:
    """Raises SystemExit where the history lacks DAY."""
    rows = [json.loads(line) for line in HARD.read_text(encoding="utf-8").splitlines()]
    sides = [(f"{row['question']} {row['a']}", f"{row['question']} {row['b']}") for row in rows]
    pairs = [way for first, second in sides for way in ((first, second), (second, first))]
    other = np.array([1.0 - row["same"] for row in rows])  # answers that mean another thing
    seconds = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        extract(DAY, folder)
        asked = folder / "pairs.json"
        asked.write_text(json.dumps(pairs))
        for _ in range(ROUNDS):
            (now, scores_now), (then, scores_then) = (score(of / "src", asked) for of in (ROOT, folder))
            seconds.append((now, then))
    taken = np.array(seconds)
    rate_now, rate_then = len(pairs) / np.median(taken, axis=0)
    aucs = [auroc(scores[:, ENTAILMENT].reshape(-1, 2).min(axis=1), other) for scores in (scores_now, scores_then)]
    ratio = float(np.median(taken[:, 1] / taken[:, 0]))
    equal = float(np.mean((scores_now == scores_then).all(axis=1)))
    return Rates(rate_now, rate_then, ratio, aucs[0], aucs[1], equal)


def extract(commit: str, folder: Path) -> None:
    """The package as it was at that commit."""
    done = subprocess.run(["git", "archive", commit, "src/demur"], cwd=ROOT, capture_output=True)
    if done.returncode:
        raise SystemExit(f"no commit {commit} here: {done.stderr.decode().strip()[:100]}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")


def score(source: Path, asked: Path) -> tuple[float, FloatArray]:
    """CPU seconds and probabilities of the pairs in a file, by the package in ``source``."""
    said = output_of([sys.executable, "-c", SCORING_CODE, asked], env={**os.environ, "PYTHONPATH": str(source)})
    seconds, probabilities = json.loads(said)
    return seconds, np.array(probabilities)


def main() -> None:
    on_one_thread()
    print(describe(), flush=True)
    found = measure_rates()
    print(f"now            {found.now:6.0f} pairs per CPU second, AUC {found.auc_now:.3f}")
    print(f"at {DAY:<12}{found.then:6.0f} pairs per CPU second, AUC {found.auc_then:.3f}")
    print(f"{found.ratio:.2f} times as many; {found.equal:.1%} of the pairs' probabilities are equal to the last bit")


if __name__ == "__main__":
    main()

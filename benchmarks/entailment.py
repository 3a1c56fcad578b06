"""The entailment model that demur ships: quality by kind, speed, clustering beside three libraries, end effect.

    python benchmarks/entailment.py [quality] [speed] [clustering] [effect] [--cache FOLDER] [--prompts N]

Without names, all four parts. `clustering` makes an environment for each library under FOLDER (torch, transformers
and the library, 3 GB in all); a library that cannot be had is said and left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "training" / "entailment"))

from evaluate import table

from clustering import naive, stub
from demur import exact_match, meaning_clusters, shipped_entailment
from demur.labels.scores.uncertainty import uncertainty, usable_definition
from demur.meaning.entailment import SAMPLED_SHARE, at_share, cache_scores
from demur.prompts.grading import grade
from demur.records import Entailment, Prompt
from demur.statistics import auroc, interval
from demur.store import Store
from environment import ROOT, describe, output_of, shared_rows

# Each with the definition of ours that its semantic entropy has when answers are equally likely.
PEERS = {
    "lm-polygraph": ("lm-polygraph==0.7.0", "discrete"),
    "uqlm": ("uqlm==0.6.7", "discrete"),
    "TruthTorchLM": ("TruthTorchLM==0.1.19", "paper"),
}
CLUSTERED = 500  # prompts
SHARES = (0.5, 0.2, 0.1, 0.05)
HALVES = ("one half of the prompts, to choose on", "the other half, measured")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=["quality", "speed", "clustering", "effect", []])
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "peers", help="where environments are made")
    parser.add_argument("--prompts", type=int, default=300, help="of each set in the end effect; 0 for all")
    args = parser.parse_args()
    parts: dict[str, Callable[[], None]] = {
        "quality": lambda: print("\n".join(table(shipped_entailment()))),
        "speed": speed,
        "clustering": lambda: clustering(args.cache),
        "effect": lambda: effect(args.prompts),
    }
    print(describe())
    for name, part in parts.items():
        if name in args.parts or not args.parts:
            print(f"\n## {name}", flush=True)
            part()


def speed() -> None:
    """Seconds to import and load, in a process of its own; direction-pairs per second on one thread."""
    code = (
        "import time; start = time.perf_counter(); import demur; model = demur.shipped_entailment(); "
        "model([('a', 'b')]); print(time.perf_counter() - start)"
    )
    loads = [float(output_of([sys.executable, "-c", code])) for _ in range(5)]
    print(f"import, load and first pair: {np.median(loads):.2f} s (median of 5, {min(loads):.2f} to {max(loads):.2f})")
    model = shipped_entailment()
    asked = _asked_pairs(shared_rows("samples/triviaqa_llama2_7b_chat")[:60])
    for name, pairs in (
        ("bare short answers", [(a.split("? ")[-1][:40], b.split("? ")[-1][:40]) for a, b in asked]),
        ("with their questions", [pair for pair in asked if max(map(len, pair)) < 160]),
    ):
        rates = []
        for _ in range(5):
            start, cpu = time.perf_counter(), time.process_time()
            model(pairs[:1000])
            wall, used = time.perf_counter() - start, time.process_time() - cpu
            rates.append((len(pairs[:1000]) / wall, len(pairs[:1000]) / used))
        (wall_rate, cpu_rate), (slowest, _), (fastest, _) = np.median(rates, axis=0), min(rates), max(rates)
        characters = np.mean([len(a) for a, _ in pairs[:1000]])
        print(
            f"{name} ({characters:.0f} characters a side): {wall_rate:.0f} pairs/s "
            f"({slowest:.0f} to {fastest:.0f}), {cpu_rate:.0f} per CPU-second"
        )


def _asked_pairs(rows: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """The pairs that clustering asks about."""
    asked: list[tuple[str, str]] = []

    def remember(pairs: Sequence[tuple[str, str]]) -> Any:
        asked.extend(pairs)
        return stub(pairs)

    meaning_clusters([r["question"] for r in rows], [r["samples"] for r in rows], entailment=remember)
    return asked


def clustering(cache: Path) -> None:
    """The same answers and the same entailment function for every path: pairs, calls, seconds, clusters."""
    rows = shared_rows("samples/triviaqa_llama2_7b_chat")[:CLUSTERED]
    questions, answers = [row["question"] for row in rows], [row["samples"] for row in rows]
    start = time.perf_counter()
    loops = [naive(question, texts) for question, texts in zip(questions, answers, strict=True)]
    loop_ids = [ids for ids, _ in loops]
    pairs = sum(count for _, count in loops)
    found = {"loop over unique answers": (pairs, pairs, time.perf_counter() - start, loop_ids)}
    for rules in (False, True):
        start = time.perf_counter()
        ours = meaning_clusters(questions, answers, entailment=stub, rules=rules)
        seconds = time.perf_counter() - start
        name = f"demur, rules {'on' if rules else 'off'}"
        found[name] = (ours.pairs_scored, ours.calls, seconds, [ids.tolist() for ids in ours.ids])
    values: dict[str, tuple[str, list[float]]] = {}
    for name, (requirement, definition) in PEERS.items():
        if (theirs := _peer(name, requirement, cache, questions, answers)) is not None:
            found[name] = (theirs["pairs"], theirs["calls"], theirs["seconds"], [of for of, _ in theirs["found"]])
            values[name] = (definition, [entropy for _, entropy in theirs["found"]])
    base_pairs, base_calls, base_seconds, _ = found["demur, rules off"]
    print(f"{'path':<26}{'pairs':>8}{'calls':>8}{'seconds':>9}   ratios to demur, rules off    clusters as the loop's")
    for name, (pairs, calls, seconds, ids) in found.items():
        same = sum(a == b for a, b in zip(ids, loop_ids, strict=True))
        ratios = f"{pairs / base_pairs:>6.2f} {calls / base_calls:>8.1f} {seconds / base_seconds:>8.2f}"
        print(f"{name:<26}{pairs:>8}{calls:>8}{seconds:>9.2f}   {ratios}      {same} of {len(ids)}")
    print("seconds are of the paths alone (the shared function costs next to nothing)")
    for name, (definition, entropies) in values.items():
        print(_entropies_beside(name, definition, entropies, found[name][3], found["demur, rules off"][3]))


def _entropies_beside(
    name: str, definition: str, theirs: list[float], ids: Sequence[list[int]], ours: Sequence[list[int]]
) -> str:
    """A library's semantic entropies, by its own formula, beside demur's of the same name: same clusters, and own."""
    of_theirs, of_ours = (
        np.array([uncertainty(of, [[-np.log(len(of))]] * len(of), definition) for of in all_ids])
        for all_ids in (ids, ours)
    )
    apart, own = (np.abs(np.array(theirs) - values) for values in (of_theirs, of_ours))
    return (
        f"{name}: its SE and demur's `{definition}` on its clusters: {(apart < 1e-5).sum()} of {len(apart)} equal, "
        f"at most {apart.max():.1e} nats apart; on each one's own clusters {own.mean():.3f} apart in the mean"
    )


def _peer(
    name: str, requirement: str, cache: Path, questions: list[str], answers: list[list[str]]
) -> dict[str, Any] | None:
    """One library's result, in its own environment; None, said, when it cannot be had.

    Of its dependencies only torch and transformers are installed: the rest, which its clustering never touches, takes
    gigabytes (and did not resolve), and is stood in for (`entailment_peers.Absent`).
    """
    python, ready = cache / name / "bin" / "python", cache / name / "ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", str(cache / name)], check=True)
        for what in (["torch==2.13.0", "transformers==5.23.0"], ["--no-deps", requirement]):
            if subprocess.run([python, "-m", "pip", "install", "-q", *what], capture_output=True).returncode:
                print(f"{name}: left out, pip install {' '.join(what)} failed")
                return None
        ready.touch()
    given = json.dumps({"questions": questions, "answers": answers})
    script = str(Path(__file__).parent / "entailment_peers.py")
    done = subprocess.run([python, script, name], input=given, capture_output=True, text=True)
    if done.returncode:
        print(f"{name}: left out, {(done.stderr.strip().splitlines() or ['it failed'])[-1][:150]}")
        return None
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def effect(prompts: int) -> None:
    """AUROC of semantic entropy for "the greedy answer is wrong": exact match, with rules, with the shipped model.

    The share of pairs that hold (`SAMPLED_SHARE`) is chosen on one half of the prompts; what is printed for it is of
    the other half, with what other shares would have given on both.
    """
    model = cache_scores(shipped_entailment(), Store(":memory:"), "shipped")  # a share weights the same scores anew
    ways: list[tuple[str, Entailment, bool]] = [("exact", exact_match, False), ("rules", exact_match, True)]
    ways += [(f"share {share:g}", at_share(model, share), True) for share in SHARES]
    print("rules + model at each share; * is what `--entailment shipped` labels with; intervals 95 %, by bootstrap")
    for half in (0, 1):
        print(f"{HALVES[half]:<46}{'n':>6}" + "".join(f"{name:>12}" for name, *_ in ways) + f"{'* interval':>17}")
        totals = []
        for name, questions, answers, logprobs, wrong in _measured(prompts, half):
            found = [_entropies(questions, answers, logprobs, ask, rules)[0] for _, ask, rules in ways]
            totals.append([auroc(entropies, ~wrong) for entropies in found])
            marked = 2 + SHARES.index(SAMPLED_SHARE)
            cells = "".join(f"{value:>11.3f}{'*' if i == marked else ' '}" for i, value in enumerate(totals[-1]))
            print(f"{name:<46}{len(wrong):>6}{cells}{_interval(found[marked], wrong):>17}", flush=True)
        mean = np.nanmean(totals, axis=0)
        print(f"{'mean':<52}" + "".join(f"{value:>11.3f} " for value in mean), flush=True)
        if not half:
            print(f"chosen here: share {SHARES[int(np.nanargmax(mean[2:]))]:g}, in use: {SAMPLED_SHARE:g}")


def _interval(scores: Any, positive: Any) -> str:
    low, high = interval(np.column_stack([scores, ~positive]), lambda rows: auroc(rows[:, 0], rows[:, 1]))
    return f"[{low:.3f}, {high:.3f}]" if low <= high else "too few prompts"


def _measured(prompts: int, half: int) -> Any:
    """Every other of the drawn prompts, from ``half`` on: questions, answers, log-probs, and where greedy is wrong."""
    draw = np.random.default_rng(0)

    def some(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [rows[i] for i in draw.permutation(len(rows))[half : prompts or None : 2]]

    rows = some(shared_rows("samples/triviaqa_llama2_7b_chat"))
    wrong = np.array([row["greedy_em"] < 0.5 for row in rows])
    yield "triviaqa_llama2_7b_chat", [r["question"] for r in rows], [r["samples"] for r in rows], None, wrong
    rows = some(shared_rows("samples/local_pair"))
    for model in rows[0]["models"]:
        of = [row["models"][model] for row in rows]
        golds = [Prompt(row["id"], row["question"], tuple(row["answers"])) for row in rows]
        wrong = np.array([grade(gold, one["greedy"]["text"]) < 0.5 for gold, one in zip(golds, of, strict=True)])
        texts = [[sample["text"] for sample in one["samples"]] for one in of]
        logprobs = [[sample["token_logprobs"] for sample in one["samples"]] for one in of]
        yield f"local_pair, {model}", [row["question"] for row in rows], texts, logprobs, wrong


def _entropies(
    questions: list[str], answers: list[list[str]], logprobs: Any, entailment: Entailment, rules: bool
) -> tuple[Any, int]:
    """Default semantic entropy of every prompt, and the pairs that were asked."""
    clusters = meaning_clusters(questions, answers, entailment=entailment, rules=rules)
    given = [None] * len(answers) if logprobs is None else logprobs
    found = [
        uncertainty(ids, logs, usable_definition("rao_blackwell", logs))
        for ids, logs in zip(clusters.ids, given, strict=True)
    ]
    return np.array(found), clusters.pairs_scored


if __name__ == "__main__":
    main()

"""Answers of two or three sentences without a result line: what labels and entropy are worth on them, beside the same
questions answered in a few words.

240 questions of `samples/local_pair` (NQ-Open, TriviaQA, PopQA), answered in sentences by SmolLM2-135M (weak) and
Qwen2.5-Coder-1.5B (strong), 5 samples, 80 tokens at most; they are in `data/long_answers.jsonl.gz`, with whether each
was cut. No rule was chosen on them: labels are the default kind's, on whole texts. The first 90 questions were kept for
choosing among ways of sentence support (``--support``), the other 150 are what is reported.

Support of a sentence is its largest entailment by a sentence of another sample, averaged over an answer's sentences
(SelfCheckGPT-NLI, Manakul et al. 2023, between samples); it takes some eight minutes of the entailment model.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
from collections.abc import Sequence

import numpy as np

from demur import cost_quality_curve
from demur.labels.belief import PairShares, belief_weight, believed_gains, confirmed_slope, pair_shares
from demur.labels.targets import gain_targets
from demur.meaning.clusters import meaning_clusters
from demur.meaning.entailment import SAMPLED_SHARE, at_share, shipped_entailment
from demur.methods.cross_validate import held_out_scores
from demur.methods.kernel import KernelRidge
from demur.prompts.grading import grade
from demur.records import BoolArray, FloatArray, Prompt
from demur.statistics import auroc
from environment import ROOT, describe, on_one_thread, shared_rows
from nq_open import embeddings

ANSWERS = ROOT / "benchmarks" / "data" / "long_answers.jsonl.gz"
WEAK, STRONG = "smollm2-135m-instruct", "qwen2.5-coder-1.5b-instruct"
FOR_CHOOSING, N, NEAREST = 90, 5, 2
_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'(*-])|\n+")
_WORD = re.compile(r"\w+")

Answers = list[list[str]]


def qualities(prompts: Sequence[Prompt], answers: Answers) -> FloatArray:
    """(n,) mean grade of each prompt's answers."""
    return np.array([np.mean([grade(p, a) for a in each]) for p, each in zip(prompts, answers, strict=True)])


def shares_of(prompts: Sequence[Prompt], strong: Answers, weak: Answers) -> tuple[PairShares, float]:
    """Shares of pairs of whole texts that mean the same, and the slope that sets the strong model's weight."""
    n = len(strong[0])
    joint = [[*s, *w] for s, w in zip(strong, weak, strict=True)]
    entailment = at_share(shipped_entailment(), SAMPLED_SHARE)
    ids = meaning_clusters([p.text for p in prompts], joint, entailment=entailment).ids
    return pair_shares(ids, n), confirmed_slope(ids, n)


def sentences(answer: str, *, cut: bool) -> list[str]:
    """The sentences of an answer; the last one of a cut answer says nothing."""
    parts = [part.strip() for part in _END.split(answer.strip()) if part.strip()]
    whole = parts[:-1] if cut and len(parts) > 1 else parts
    return [part for part in whole if len(part.split()) > 1] or whole[:1]


def support_of(prompts: Sequence[Prompt], strong: list[list[list[str]]], weak: list[list[list[str]]]) -> PairShares:
    """Mean support among the strong samples, among the weak ones, and of the weak ones by the strong ones."""
    entailment, apart = shipped_entailment(), ~np.eye(N, dtype=bool)
    found = []
    for prompt, s, w in zip(prompts, strong, weak, strict=True):
        parts, matrix = [*s, *w], np.zeros((2 * N, 2 * N))
        for i, own in enumerate(parts):
            for j, others in enumerate(parts):
                best = []
                for sentence in own if i != j else []:
                    near = sorted(others, key=lambda other: -shared_words(sentence, other))[:NEAREST]
                    pairs = [(f"{prompt.text} {other}", f"{prompt.text} {sentence}") for other in near]
                    best.append(float(entailment(pairs)[:, 2].max()) if pairs else 0.0)
                matrix[i, j] = np.mean(best) if best else 0.0
        found.append((matrix[:N, :N][apart].mean(), matrix[N:, N:][apart].mean(), matrix[N:, :N].mean()))
    return PairShares(*np.array(found).T)


def shared_words(a: str, b: str) -> int:
    """How many different words both hold."""
    return len(set(_WORD.findall(a.casefold())) & set(_WORD.findall(b.casefold())))


def report(
    name: str, X: FloatArray, rows: BoolArray, shares: PairShares, slope: float, low: FloatArray, high: FloatArray
) -> None:
    """A line: APGR of the 5-fold router on the labels with its interval, and AUROC of either model's consistency."""
    targets = gain_targets(believed_gains(shares, belief_weight(slope)))[rows]
    curve = cost_quality_curve(held_out_scores(KernelRidge(), X[rows], targets), low[rows], high[rows])
    start, end = curve.interval("apgr")
    strong, weak = auroc(-shares.strong[rows], high[rows]), auroc(-shares.weak[rows], low[rows])
    print(f"{name:<44}{curve.apgr:>7.3f} [{start:.3f}, {end:.3f}]{strong:>10.3f}{weak:>8.3f}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--support", action="store_true", help="sentence support as well (some eight minutes)")
    wanted = parser.parse_args()
    print(describe())
    rows = [json.loads(line) for line in gzip.decompress(ANSWERS.read_bytes()).decode().splitlines()]
    known = {row["id"]: row for row in shared_rows("samples/local_pair")}
    prompts = [Prompt(row["id"], known[row["id"]]["question"], tuple(known[row["id"]]["answers"])) for row in rows]
    long = {side: [[text for text, _ in row[side]] for row in rows] for side in ("weak", "strong")}
    short = {
        side: [[one["text"] for one in known[row["id"]]["models"][model]["samples"]] for row in rows]
        for side, model in (("weak", WEAK), ("strong", STRONG))
    }
    X = embeddings([prompt.text for prompt in prompts], "bge-small")
    held = np.arange(len(rows)) >= FOR_CHOOSING
    print(f"{'5-fold, label-free':<44}{'APGR':>7}{'95 %':>17}{'AUROC of consistency: strong':>12}{'weak':>8}")
    for name, answers in (("in sentences, whole texts", long), ("in a few words", short)):
        low, high = (qualities(prompts, answers[side]) for side in ("weak", "strong"))
        shares, slope = shares_of(prompts, answers["strong"], answers["weak"])
        for part, which in (("150 questions", held), ("all 240", np.ones(len(rows), dtype=bool))):
            report(f"{name}, {part}", X, which, shares, slope, low, high)
            curve = cost_quality_curve(
                held_out_scores(KernelRidge(), X[which], np.clip(0.5 + (high - low) / 2, 0, 1)[which]),
                low[which],
                high[which],
            )
            print(f"{'':<4}{'true labels, ' + part:<40}{curve.apgr:>7.3f}")
    if wanted.support:
        parts = {
            side: [[sentences(text, cut=cut) for text, cut in row[side]] for row in rows] for side in ("weak", "strong")
        }
        low, high = (qualities(prompts, long[side]) for side in ("weak", "strong"))
        support = support_of(prompts, parts["strong"], parts["weak"])
        slope = float(np.polyfit(support.weak, support.across, 1)[0])
        report("in sentences, sentence support, 150 questions", X, held, support, slope, low, high)


if __name__ == "__main__":
    on_one_thread()
    main()

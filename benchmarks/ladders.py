"""Which pair of nine models a budget should buy, chosen without grades, and what the grades say of the choice.

    python benchmarks/ladders.py [triviaqa] [mmlu]

On the test prompts of outcomes/pool9_*: one answer per model, so the strongest model's belief is whether an answer
means the same as its own. The budget is a fifth of what the strongest model alone costs. Two ways to route: by the
prompt alone (held-out kernel ridge on bge-small, as `demur pairs` does), and by the cheaper model's own confidence in
its answer (P(true); its second call is in the costs of the file).
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from demur.evaluation.pairs import beliefs, predict
from demur.meaning.entailment import open_entailment
from demur.meaning.meanings import Meanings
from demur.measure.ladder import Ladder, ladder, ladders
from demur.models.encoders.encoder import load_encoder
from demur.records import FloatArray, Sample
from demur.statistics import interval
from environment import describe, on_one_thread, shared_rows

STRONGEST = "llama3.1-405b"
ENDS = "best that ends in 405B"
PART = 0.2  # of the strongest model's spend
USD_PER_MILLION = {  # prompt, completion; of the data's README
    "llama3.2-1b": (0.1, 0.1),
    "llama3.2-3b": (0.1, 0.1),
    "llama3.1-8b": (0.2, 0.2),
    "llama3.1-70b": (0.9, 0.9),
    "llama3.1-405b": (3.0, 3.0),
    "gpt-4o-mini": (0.15, 0.6),
    "gpt-4o": (2.5, 10.0),
}
QWEN = (0.9, 0.9)


def column(rows: list[dict[str, Any]], names: list[str], field: str) -> FloatArray:
    """(n, M) of a field of every model's answer."""
    return np.array([[row["models"][name][field] for name in names] for row in rows], dtype=float)


def plain_usd(rows: list[dict[str, Any]], names: list[str]) -> FloatArray:
    """(n, M) tokens times price: an answer without the second call."""
    prices = np.array([USD_PER_MILLION.get(name, QWEN) for name in names]) / 1e6
    tokens = [column(rows, names, field) for field in ("prompt_tokens", "completion_tokens")]
    return np.asarray(tokens[0] * prices[:, 0] + tokens[1] * prices[:, 1])


def believed(rows: list[dict[str, Any]], names: list[str]) -> FloatArray:
    """(n, M) whether each answer means the same as the strongest model's."""
    answers = [[[Sample(0, row["models"][name]["answer"] or "", None, "stop", 1, 1)] for row in rows] for name in names]
    with open_entailment("shipped") as entailment:
        meanings = Meanings(entailment)
        return beliefs([row["text"] for row in rows], answers, names.index(STRONGEST), meanings)


def cascades(quality: FloatArray, sure: FloatArray, usd: FloatArray, budget: float) -> list[Ladder]:
    """Every single model and pair whose cheaper one answers first and escalates its least sure answers."""
    typical = usd.mean(axis=0)
    found = []
    for i in np.flatnonzero(typical <= budget):
        found.append(_of(quality[:, i], (int(i),), typical[i], (1.0,)))
        for j in np.flatnonzero(typical > typical[i]):
            share = min(1.0, (budget - typical[i]) / typical[j])
            goes = np.argsort(np.argsort(sure[:, i], kind="stable")) < share * len(sure)
            each = np.where(goes, quality[:, j], quality[:, i])
            found.append(_of(each, (int(i), int(j)), typical[i] + share * typical[j], (1.0, share)))
    return sorted(found, key=lambda one: -one.quality)


def _of(each: FloatArray, models: tuple[int, ...], usd: float, shares: tuple[float, ...]) -> Ladder:
    return Ladder(models, float(each.mean()), *interval(each), float(usd), shares)


def show(title: str, names: list[str], chosen: Ladder, graded: Ladder) -> None:
    """One choice: what was believed of it, and what the grades say."""
    models = " -> ".join(names[i] for i in chosen.models)
    shares = " / ".join(f"{share:.0%}" for share in chosen.shares)
    print(
        f"    {title:<32} {models:<44} believed {chosen.quality:.3f}, graded {graded.quality:.3f} "
        f"[{graded.low:.3f}, {graded.high:.3f}], ${1000 * chosen.usd:.3f} per 1,000, {shares}"
    )


def report(name: str) -> None:
    """Both ways of routing on one set, with all nine models and with the five of one maker."""
    rows = [row for row in shared_rows(f"outcomes/pool9_{name}") if row["split"] == "test"]
    names = list(rows[0]["models"])
    belief, correct = believed(rows, names), column(rows, names, "correct")
    print(f"{name}: {len(rows)} prompts; believed by {STRONGEST}, and graded: ", end="")
    print(", ".join(f"{one} {b:.3f} {c:.3f}" for one, b, c in zip(names, belief.mean(0), correct.mean(0), strict=True)))
    predicted = predict(np.asarray(load_encoder("bge-small").encode([row["text"] for row in rows])), belief)
    plain, asked, sure = plain_usd(rows, names), column(rows, names, "usd"), column(rows, names, "p_true")
    for title, some in (("nine models", names), ("Llama alone", [one for one in names if one.startswith("llama")])):
        at = [names.index(one) for one in some]
        print(f" {title}")
        by_prompt(some, predicted[:, at], belief[:, at], correct[:, at], plain[:, at])
        by_confidence(some, sure[:, at], belief[:, at], correct[:, at], asked[:, at])


def by_prompt(
    names: list[str], predicted: FloatArray, belief: FloatArray, correct: FloatArray, usd: FloatArray
) -> None:
    """As `demur pairs` chooses."""
    last = names.index(STRONGEST)
    budget = PART * float(usd[:, last].mean())
    ranked = ladders(predicted, belief, usd, budget)
    two = [one for one in ranked if len(one.models) <= 2]
    ends = next(one for one in two if len(one.models) == 2 and one.models[-1] == last)
    print(f"  by the prompt, at most ${1000 * budget:.3f} per 1,000")
    for title, chosen in (("best of up to three", ranked[0]), ("best of up to two", two[0]), (ENDS, ends)):
        show(title, names, chosen, ladder(predicted, correct, usd, budget, chosen.models))
    graded = [(ladder(predicted, correct, usd, budget, one.models), one) for one in two]
    show("best of up to two by the grades", names, *max(graded, key=lambda both: both[0].quality)[::-1])


def by_confidence(names: list[str], sure: FloatArray, belief: FloatArray, correct: FloatArray, usd: FloatArray) -> None:
    """The cheaper model answers first, and its least sure answers go on."""
    last = names.index(STRONGEST)
    budget = PART * float(usd[:, last].mean())
    ranked, true = cascades(belief, sure, usd, budget), cascades(correct, sure, usd, budget)
    graded, thought = ({one.models: one for one in side} for side in (true, ranked))
    print(f"  by the cheaper model's own confidence, at most ${1000 * budget:.3f} per 1,000")
    ends = next(one for one in ranked if len(one.models) == 2 and one.models[-1] == last)
    for title, chosen in (("best", ranked[0]), (ENDS, ends), ("best by the grades", thought[true[0].models])):
        show(title, names, chosen, graded[chosen.models])
    best_end = next(one for one in true if len(one.models) == 2 and one.models[-1] == last)
    show(f"{ENDS} by the grades", names, thought[best_end.models], best_end)
    place = [one.models for one in true].index(ranked[0].models) + 1
    print(f"    the choice without grades is number {place} of {len(true)} by the grades")


if __name__ == "__main__":
    on_one_thread()
    print(describe())
    for wanted in sys.argv[1:] or ["triviaqa", "mmlu"]:
        report(wanted)

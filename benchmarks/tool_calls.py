"""Agents without labels: what unequal calls of two models, and a check of the weak call alone, tell of who is right.

`outcomes/bfcl_calls_8models`: 1,000 single-turn questions of BFCL v1 with the calls of eight models and BFCL's own
grades, which alone count as truth here. Eight pairs: seven models under claude-3-5-sonnet, and Llama-3-8B under
Llama-3-70B. Three columns of figures, each with a 95 % bootstrap interval over question texts (some occur two or three
times, beside other functions):

- AUROC of "weak call != strong call" (`demur.prompts.tool_calls`: names equal, arguments equal as JSON, in whatever
  order) for "strong right, weak wrong";
- APGR of a router that sees the question alone (bge-small, kernel ridge, 5-fold by text), learned from those unequal
  calls, beside one learned from true labels;
- the check of the weak call against the request's own schemas (`gate.form.requested_form`): share of strong calls, and
  how much of the quality gap it recovers.

The parser decides such figures. "Lenient" takes the data's `calls`, dug out of prose where there is any; "strict"
counts an answer with prose around its calls as invalid, and as unequal to any other. No rule was chosen on these
figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from demur import cost_quality_curve
from demur.evaluation.signals import auroc_draws
from demur.gate.form.requested_form import call_problem
from demur.labels.targets import gain_targets
from demur.methods.fit.cross_validate import held_out_scores
from demur.methods.kernel import KernelRidge
from demur.prompts.tool_calls import ToolCall, ToolCalls
from demur.records import BoolArray, FloatArray, IntArray
from demur.statistics import auroc, bootstrap, percentile_interval
from environment import describe, on_one_thread, shared_rows
from nq_open import embeddings

SONNET = "claude-3-5-sonnet-20240620"
PAIRS = (
    ("gemma-7b-it", SONNET),
    ("Meta-Llama-3-8B-Instruct", SONNET),
    ("claude-3-haiku-20240307", SONNET),
    ("gemini-1.5-flash-preview-0514", SONNET),
    ("gpt-4o-mini-2024-07-18-FC", SONNET),
    ("Meta-Llama-3-70B-Instruct", SONNET),
    ("gpt-4-turbo-2024-04-09", SONNET),
    ("Meta-Llama-3-8B-Instruct", "Meta-Llama-3-70B-Instruct"),
)
Row = Mapping[str, Any]


def calls_of_row(row: Row, model: str, *, strict: bool) -> ToolCalls | None:
    """A model's calls; None where they cannot be read, or, if strict, where prose stands around them."""
    found = row["models"][model]
    if found["calls"] is None or (strict and not found["strict"]):
        return None
    return ToolCalls(tuple(ToolCall(one["name"], one["arguments"]) for one in found["calls"]), native=True)


def is_invalid(row: Row, model: str, *, strict: bool) -> bool:
    """No call, or one that certainly does not fit the functions of its request."""
    calls = calls_of_row(row, model, strict=strict)
    tools = {function["name"]: function["parameters"] for function in row["functions"]}
    return calls is None or not calls.calls or any(call_problem(call, tools) for call in calls.calls)


def unequal(row: Row, weak: str, strong: str, *, strict: bool) -> bool:
    """The two models' calls differ, or one of them cannot be read."""
    first, second = (calls_of_row(row, model, strict=strict) for model in (weak, strong))
    return first is None or second is None or first.content != second.content


def auroc_line(flags: BoolArray, escalate: FloatArray) -> str:
    """AUROC of a flag for "strong right, weak wrong", with its interval."""
    low, high = np.nanquantile(auroc_draws(-flags.astype(float), escalate), [0.025, 0.975])
    return f"{auroc(-flags.astype(float), escalate):.3f} [{low:.3f}, {high:.3f}]"


def recovered(invalid: BoolArray, weak: FloatArray, strong: FloatArray) -> float:
    """Share of the quality gap that the strong model's answers in place of invalid ones recover; NaN without a gap."""
    gap = float((strong - weak).mean())
    return float(((strong - weak) * invalid).mean()) / gap if gap > 0 else float("nan")


def recovered_line(invalid: BoolArray, weak: FloatArray, strong: FloatArray, texts: IntArray) -> str:
    """`recovered` and its interval, in percent, with the share of strong calls."""
    rows = np.column_stack([invalid, weak, strong])
    draws = bootstrap(rows, lambda one: recovered(one[:, 0] > 0, one[:, 1], one[:, 2]), groups=texts)
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return f"{recovered(invalid, weak, strong):>4.0%} [{low:.0%}, {high:.0%}] at {invalid.mean():.1%}"


def apgr_line(scores: Sequence[FloatArray], weak: FloatArray, strong: FloatArray, texts: IntArray) -> str:
    """APGR of two routers and their difference (the first less the second), paired."""
    curves = [cost_quality_curve(each, weak, strong, groups=texts) for each in scores]
    rows = np.arange(len(weak))

    def difference(drawn: IntArray) -> float:
        first, second = (cost_quality_curve(each[drawn], weak[drawn], strong[drawn]).apgr for each in scores)
        return first - second

    low, high = percentile_interval(bootstrap(rows, difference, groups=texts, resamples=300))
    ends = [curve.interval("apgr") for curve in curves]
    shown = [f"{curve.apgr:.3f} [{a:.3f}, {b:.3f}]" for curve, (a, b) in zip(curves, ends, strict=True)]
    return f"{shown[0]}  {shown[1]}  {curves[0].apgr - curves[1].apgr:+.3f} [{low:+.3f}, {high:+.3f}]"


def main() -> None:
    """Print both tables."""
    print(describe())
    rows = shared_rows("outcomes/bfcl_calls_8models")
    questions = ["\n".join(str(turn["content"]) for turn in row["question"]) for row in rows]
    texts = np.unique(questions, return_inverse=True)[1].astype(int)
    X = embeddings(questions, "bge-small")
    right = {model: np.array([row["models"][model]["correct"] for row in rows], float) for model in rows[0]["models"]}
    for strict in (False, True):
        print(f"\n{'strict: prose around calls is invalid' if strict else 'lenient: calls dug out of prose'}")
        print(f"{'weak -> strong':<46}{'accuracy':>13}  {'AUROC weak != strong':<22}{'gap recovered by the check'}")
        for weak, strong in PAIRS:
            differs = np.array([unequal(row, weak, strong, strict=strict) for row in rows])
            invalid = np.array([is_invalid(row, weak, strict=strict) for row in rows])
            escalate = (right[strong] > right[weak]).astype(float)
            print(
                f"{_short(weak)} -> {_short(strong)}".ljust(46)
                + f"{right[weak].mean():>6.3f} {right[strong].mean():.3f}  {auroc_line(differs, escalate):<22}"
                + recovered_line(invalid, right[weak], right[strong], texts),
                flush=True,
            )
    print("\nrouter before the call, 5-fold by text, APGR (random .500); labels of lenient calls")
    for reverse in (False, True):
        learned_from = "reversed where strong is invalid" if reverse else "unequal calls"
        print(f"{'weak -> strong':<46}{learned_from:<34}{'true labels':<24}{'difference'}")
        for weak, strong in PAIRS:
            differs = np.array([unequal(row, weak, strong, strict=False) for row in rows], float)
            useless = np.array([is_invalid(row, strong, strict=False) for row in rows])
            labels = np.where(useless, -differs, differs) if reverse else differs
            learned = [
                held_out_scores(KernelRidge(), X, gain_targets(gains), groups=texts)
                for gains in (labels, right[strong] - right[weak])
            ]
            print(
                f"{_short(weak)} -> {_short(strong)}".ljust(46) + apgr_line(learned, right[weak], right[strong], texts),
                flush=True,
            )


def _short(model: str) -> str:
    return model.removeprefix("Meta-").removesuffix("-Instruct")[:20]


if __name__ == "__main__":
    on_one_thread()
    main()

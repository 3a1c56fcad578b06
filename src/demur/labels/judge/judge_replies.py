"""The judge's prompt, and scores from its replies (section 4.1.4 and appendix A.2 of Zhang et al. 2025).

Names are hidden and positions balanced. An answer that several routers gave is shown once; where all answers are equal
the judge is not asked. Replies are parsed strictly: a reply that is not a bare list of responses is left out and
counted. Pure functions; sending and storing are in `demur.labels.judge.judge`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, permutations
from math import factorial

import numpy as np

from demur.errors import InputError
from demur.records import BoolArray, FloatArray, count_of
from demur.statistics import interval

TEMPLATE = """You are an evaluator for {task}. You will receive:
1. A question.
2. A ground truth answer.
3. {count} LLM-generated responses.
Your task is to select which response(s) is/are best, based on whether
   the answer is correct and the reasoning is precise.
Follow these rules:
* DO NOT provide any explanation or reasoning in your answer - only
   state which LLM(s) you judge as having the best response.
* If more than one response is equally best, name each of them.
Question: {question}
Ground Truth Answer: {reference}
{responses}
Your output must ONLY indicate the selected LLM(s). For example, 'LLM 1' or 'LLM 1 and LLM {last}'."""
_TRUTH = ("2. A ground truth answer.\n3.", "Ground Truth Answer: {reference}\n")
WITHOUT_TRUTH = TEMPLATE.replace(_TRUTH[0], "2.").replace(_TRUTH[1], "")
BIASED = 0.5  # a difference between positions from which on scores say more about positions than about answers
FORM = "is a bare list of responses such as 'LLM 1'"  # of a reply that is understood
_SEPARATOR = re.compile(r",|&|\band\b", re.IGNORECASE)
_NAMED = re.compile(r"(?:LLM\s*)?([0-9]{1,2})", re.IGNORECASE)
_WRAPPING = " \t'\"`*.-•"  # of a list, of quotes, of bold type

Interval = tuple[float, float, float]  # a mean and its 95 % bootstrap interval over items


@dataclass(frozen=True, slots=True)
class JudgeItem:
    """One question with the answers that are compared."""

    question: str
    reference: str  # ground truth; "" when it is unknown, then the judge's prompt has none
    responses: Mapping[str, str]  # router -> answer
    correct: Mapping[str, float] | None = None  # router -> graded correctness in [0, 1], where it is known


@dataclass(frozen=True, slots=True)
class JudgeReport:
    """What a judge found over all items; shares are fractions of the items that it was understood on."""

    judge: str
    items: int
    identical: int  # items where all answers are the same: the judge is not asked, all count as best
    unparseable: int  # replies that name no response; counted and left out
    scores: Mapping[str, Interval]  # router -> Score(i) = S_i / T x 100
    positions: Mapping[int, tuple[Interval, ...]]  # answers shown -> share chosen at each position; equal without bias
    shown: Mapping[int, int]  # answers shown -> items so shown and understood
    agreement: Interval | None  # share where exactly the correct answers were chosen; None: no item can tell
    told: int  # items for the agreement: asked, understood, some of the answers correct and some not
    ties: float  # share of items where all were chosen

    @property
    def lines(self) -> tuple[str, ...]:
        """The result as lines of text."""
        return (
            f"{self.judge} on {self.items} items, {self.identical} of them with one and the same answer (not asked); "
            f"{count_of(self.unparseable, 'reply', 'replies')} not understood, all chosen on {self.ties:.0%}",
            "  Score (95 % interval):",
            *(
                f"  {name:<28} {score:6.2f}  [{low:.2f}, {high:.2f}]"
                for name, (score, low, high) in self.scores.items()
            ),
            f"  chosen by position: {self._by_position}; agreement with graded correctness: {self._agreement}"
            f"{self._warning}",
        )

    @property
    def _by_position(self) -> str:
        parts = [
            f"{', '.join(f'{share:.0%}' for share, _, _ in shares)} (of {width} answers, {self.shown[width]} items)"
            for width, shares in self.positions.items()
        ]
        return "; ".join(parts) or "the judge was not asked"

    @property
    def _agreement(self) -> str:
        if self.agreement is None:
            return "unknown (no item with right and wrong answers whose correctness is given)"
        share, low, high = self.agreement
        return f"{share:.0%} [{low:.0%}, {high:.0%}] of {self.told} items"

    @property
    def _warning(self) -> str:
        if any(_position_bias(shares) for shares in self.positions.values()):
            return "; this judge chooses by position, not by content: its scores mean little; use a larger one"
        return ""


def _position_bias(shares: Sequence[Interval]) -> bool:
    """Positions far apart, and further than chance: the intervals of the most and the least chosen one are apart."""
    most, least = max(shares), min(shares)
    return most[0] - least[0] >= BIASED and most[1] > least[2]


def orders_of(items: Sequence[JudgeItem]) -> list[tuple[str, ...]]:
    """In which order each item's distinct answers are shown, each by the first name that gave it.

    Balanced over the items that are asked: among those where the same routers differ, every K in a row put each name
    once at each position (a Latin square), and all orders follow in turn.
    """
    seen: Counter[tuple[str, ...]] = Counter()
    orders = []
    for item in items:
        names = tuple(sorted({item.responses[name]: name for name in sorted(item.responses, reverse=True)}.values()))
        orders.append(_order(names, seen[names]))
        seen[names] += 1
    return orders


def _order(names: tuple[str, ...], number: int) -> tuple[str, ...]:
    """The ``number``-th of all orders, in runs that turn one order round."""
    width = len(names)
    run = number // width % factorial(width - 1)
    rest = next(islice(permutations(names[1:]), run, None))
    turned = number % width
    return (names[0], *rest)[turned:] + (names[0], *rest)[:turned]


def fill(item: JudgeItem, order: Sequence[str], task: str) -> str:
    """The judge's prompt; names are hidden behind positions."""
    shown = "\n".join(f"LLM {i} Response: {item.responses[name]}" for i, name in enumerate(order, start=1))
    counts = {2: "Two", 3: "Three", 4: "Four"}
    parts = {
        "task": task,
        "count": counts.get(len(order), str(len(order))),
        "question": item.question,
        "reference": item.reference,
        "responses": shown,
        "last": str(len(order)),
    }
    template = TEMPLATE if item.reference else WITHOUT_TRUTH
    return re.sub(r"\{(\w+)\}", lambda found: parts[found.group(1)], template)


def parse_reply(reply: str, count: int) -> frozenset[int] | None:
    """Positions (from 1) that a reply names; None for anything but a bare list of them, to its very end."""
    lines = [line.strip() for line in reply.splitlines() if line.strip()]
    pieces = [piece.strip(_WRAPPING) for piece in _SEPARATOR.split(",".join(lines))]
    if not pieces[-1]:  # nothing was said, or it was cut off after an "and"
        return None
    named = [_NAMED.fullmatch(piece) for piece in pieces if piece]
    found = frozenset(int(match.group(1)) if match else 0 for match in named)
    return found if min(found) >= 1 and max(found) <= count else None


def best_of(item: JudgeItem, order: Sequence[str], reply: str | None) -> frozenset[str] | None:
    """Names whose answer the judge called best; all where the judge was not asked; None for a reply not understood."""
    positions = frozenset({1}) if reply is None else parse_reply(reply, len(order))
    if positions is None:
        return None
    answers = {item.responses[order[position - 1]] for position in positions}
    return frozenset(name for name, answer in item.responses.items() if answer in answers)


def judge_report(judge_name: str, items: Sequence[JudgeItem], replies: Sequence[str | None]) -> JudgeReport:
    """Scores, intervals, position bias and agreement from the judge's replies (None: not asked).

    Raises InputError if the judge was asked and no reply is understood.
    """
    names, orders = sorted(items[0].responses), orders_of(items)
    best = [best_of(*one) for one in zip(items, orders, replies, strict=True)]
    asked = np.array([reply is not None for reply in replies])
    understood = np.array([one is not None for one in best])
    check_understood(judge_name, replies, understood[asked])
    chosen = np.array([[name in (one or ()) for name in names] for one in best])
    agreed = _agreement(items, names, chosen, asked & understood)
    positions = _by_position(orders, replies)
    return JudgeReport(
        judge=judge_name,
        items=len(items),
        identical=int((~asked).sum()),
        unparseable=int((~understood).sum()),
        scores={name: _percent(with_interval(chosen[understood, j])) for j, name in enumerate(names)},
        positions={width: tuple(map(with_interval, rows.T)) for width, rows in positions.items()},
        shown={width: len(rows) for width, rows in positions.items()},
        agreement=with_interval(agreed) if len(agreed) else None,
        told=len(agreed),
        ties=float(chosen[understood].all(axis=1).mean()),
    )


def check_understood(
    judge_name: str, replies: Sequence[str | None], understood: BoolArray, *, least: float = 0.0
) -> None:
    """Raise InputError when a judge was asked and none of its replies is ``understood``, (asked,), or a smaller share
    than ``least``."""
    if len(understood) and (not understood.any() or understood.mean() < least):
        asked = [reply for reply in replies if reply is not None]
        said = next(reply for reply, known in zip(asked, understood, strict=True) if not known)
        count = f"only {int(understood.sum()):,}" if understood.any() else "none"
        raise InputError(
            f"{count} of {judge_name}'s {len(understood)} replies {FORM}, the first that is not is {said[:60]!r}"
            f"{OF_LABELS if least else what_helps()}"
        )


def what_helps(option: str = "") -> str:
    """What to do about a judge that is not understood, as the end of a sentence; ``option``: gives it more tokens."""
    more = f" ({option})" if option else ""
    return f"; a larger model judges better, and one that thinks first needs more tokens than it got{more}"


OF_LABELS = f"; no label was changed{what_helps('--judge-tokens 2000')}"  # the same of a judge that makes labels


def _by_position(orders: Sequence[Sequence[str]], replies: Sequence[str | None]) -> dict[int, BoolArray]:
    """Answers shown -> (items, positions) which were chosen, over the items that were asked and understood."""
    found: dict[int, list[list[bool]]] = {}
    for order, reply in zip(orders, replies, strict=True):
        positions = None if reply is None else parse_reply(reply, len(order))
        if positions is not None:
            found.setdefault(len(order), []).append([i + 1 in positions for i in range(len(order))])
    return {width: np.array(found[width]) for width in sorted(found)}


def _agreement(items: Sequence[JudgeItem], names: Sequence[str], chosen: BoolArray, told: BoolArray) -> BoolArray:
    """Over the ``told`` items, where some answers are correct and some not: are exactly the correct ones chosen?"""
    agreed = []
    for item, said, counts in zip(items, chosen, told, strict=True):
        if counts and item.correct is not None:
            correct = np.array([item.correct[name] >= 0.5 for name in names])
            if correct.any() and not correct.all():
                agreed.append(bool((said == correct).all()))
    return np.array(agreed, dtype=bool)


def with_interval(values: FloatArray | BoolArray) -> Interval:
    """The mean of (n,) values with its 95 % bootstrap interval, n >= 1."""
    return float(values.mean()), *interval(values)


def _percent(found: Interval) -> Interval:
    return 100 * found[0], 100 * found[1], 100 * found[2]

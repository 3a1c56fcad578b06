"""Do two answers mean the same? The decision about one pair, with the probabilities and what decided.

The same order as in clustering: empty answers, rules on the bare answers, then the entailment model in both directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from demur.clustering import checked, strictly_entails
from demur.config import LabelConfig
from demur.entailment import open_entailment
from demur.records import Entailment
from demur.rules import ruling
from demur.store import Store, Verdict


@dataclass(frozen=True, slots=True)
class MeaningDecision:
    """Whether two answers to a question mean the same."""

    question: str
    answer_a: str
    answer_b: str
    same: bool
    decided_by: str  # "rule: dates", "model: shipped"
    forward: Verdict | None  # contradiction, neutral, entailment of a -> b; None when a rule decided
    backward: Verdict | None  # of b -> a

    @property
    def lines(self) -> tuple[str, ...]:
        """In plain words, a line each."""
        said = f"{'same' if self.same else 'different'} meaning, decided by {self.decided_by}"
        ways = (("a entails b", self.forward), ("b entails a", self.backward))
        return (said, *(_probabilities(way, verdict) for way, verdict in ways if verdict is not None))


def _probabilities(way: str, verdict: Verdict) -> str:
    contradiction, neutral, entailment = verdict
    return f"  {way}: entailment {entailment:.3f}, neutral {neutral:.3f}, contradiction {contradiction:.3f}"


def entail(
    question: str,
    answer_a: str,
    answer_b: str,
    *,
    entailment: str | None = None,
    rules: bool = True,
    store: str | None = None,
) -> MeaningDecision:
    """Decide whether two answers to ``question`` ("" for none) mean the same.

    ``entailment`` as `demur label` takes it (the shipped model by default); ``rules=False`` asks it in any case.
    ``store`` is a file that keeps verdicts. Raises InputError, ModelError.
    """
    spec = entailment or LabelConfig().entailment
    if not answer_a.strip() or not answer_b.strip():
        same = not answer_a.strip() and not answer_b.strip()
        return MeaningDecision(
            question, answer_a, answer_b, same, "rule: an empty answer is its own meaning", None, None
        )
    if rules and (decided := ruling(answer_a, answer_b)) is not None:
        return MeaningDecision(question, answer_a, answer_b, decided[1], f"rule: {decided[0]}", None, None)
    if store is None:
        with open_entailment(spec) as ask:
            return _asked(question, answer_a, answer_b, ask, spec)
    with Store(Path(store)) as kept, open_entailment(spec, kept) as ask:
        return _asked(question, answer_a, answer_b, ask, spec)


def _asked(question: str, a: str, b: str, ask: Entailment, spec: str) -> MeaningDecision:
    first, second = (f"{question} {answer}" if question else answer for answer in (a, b))
    scores = checked(ask([(first, second), (second, first)]), 2)
    forward, backward = ((float(c), float(n), float(e)) for c, n, e in scores)
    return MeaningDecision(question, a, b, bool(strictly_entails(scores).all()), f"model: {spec}", forward, backward)

"""Decides whether two answers mean the same, with the probabilities and the rule or model that decided.

The same order as in clustering: empty answers, rules on the bare answers, then the entailment model in both directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from demur.config import LabelConfig
from demur.meaning.clusters import checked_probabilities, strictly_entails
from demur.meaning.entailment import for_samples, open_plain, reader_of
from demur.meaning.rules.decide import ruling
from demur.meaning.rules.final_answer import read_final_answer, read_final_answers
from demur.meaning.rules.normalise import is_empty
from demur.prompts.tool_calls import calls_of
from demur.records import Entailment
from demur.store import EntailmentScores, Store


@dataclass(frozen=True, slots=True)
class MeaningDecision:
    """Whether two answers to a question mean the same."""

    question: str
    answer_a: str
    answer_b: str
    same: bool
    decided_by: str  # "rule: dates", "model: shipped"
    forward: EntailmentScores | None  # contradiction, neutral, entailment of a -> b; None when a rule decided
    backward: EntailmentScores | None  # of b -> a
    same_when_sampled: bool  # what a labelling run decides about these two among a prompt's sampled answers
    unknown: bool = False  # no rule decided, and the model was not made for their language: they count as different

    @property
    def lines(self) -> tuple[str, ...]:
        """The result as lines of text."""
        if self.unknown:
            return (f"unknown, decided by {self.decided_by}; they count as different",)
        said = f"{'same' if self.same else 'different'} meaning, decided by {self.decided_by}"
        ways = (("the first entails the second", self.forward), ("the second entails the first", self.backward))
        lines = (said, *(_probabilities(way, scores) for way, scores in ways if scores is not None))
        if self.same_when_sampled == self.same:
            return lines
        other = "same" if self.same_when_sampled else "different"
        return (
            *lines,
            f"  a labelling run decides: {other}; fewer pairs of sampled answers hold, so it requires more",
        )


def _probabilities(way: str, scores: EntailmentScores) -> str:
    contradiction, neutral, entailment = scores
    return f"  {way}: {entailment:.3f} (neutral {neutral:.3f}, contradiction {contradiction:.3f})"


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

    ``entailment`` as `demur label` takes it (the shipped model by default); ``rules=False`` always uses it.
    The decision is about these two alone; `MeaningDecision.same_when_sampled` says what `demur label` would decide.
    ``store`` is a file in which entailment scores are kept. Raises InputError, ModelError.
    """
    spec = entailment or LabelConfig().entailment
    alike = False
    if rules:
        first, second = read_final_answers([answer_a, answer_b], question)
        alike = first == second
        answer_a, answer_b = read_final_answer(answer_a, question), read_final_answer(answer_b, question)
    ruled = _by_rule(answer_a, answer_b, rules) or (("the same words beside the question's", True) if alike else None)
    if ruled:
        rule, same = ruled
        return MeaningDecision(question, answer_a, answer_b, same, f"rule: {rule}", None, None, same)
    if store is None:
        with open_plain(spec) as ask:
            return _ask_model(question, answer_a, answer_b, ask, spec)
    with Store(Path(store)) as kept, open_plain(spec, kept) as ask:
        return _ask_model(question, answer_a, answer_b, ask, spec)


def _by_rule(a: str, b: str, rules: bool) -> tuple[str, bool] | None:
    """The decision of a rule; None where no rule applies."""
    if is_empty(a) or is_empty(b):
        return "an empty answer is its own meaning", is_empty(a) and is_empty(b)
    return ruling(a, b) if rules or calls_of(a) or calls_of(b) else None


def _ask_model(question: str, a: str, b: str, ask: Entailment, spec: str) -> MeaningDecision:
    first, second = (f"{question} {answer}" if question else answer for answer in (a, b))
    scores = checked_probabilities(ask([(first, second), (second, first)]), 2)
    sampled = for_samples(spec, lambda pairs: scores)([(first, second), (second, first)])
    forward, backward = ((float(c), float(n), float(e)) for c, n, e in scores)
    plain, weighed = (bool(strictly_entails(found).all()) for found in (scores, sampled))
    read = all(map(reader_of(spec), (first, second)))
    decided_by = f"model: {spec}" if read else "nothing: the model was not made for this language"
    return MeaningDecision(question, a, b, plain, decided_by, forward, backward, weighed, unknown=not read)

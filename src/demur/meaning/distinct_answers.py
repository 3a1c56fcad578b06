"""One prompt's distinct answers: which of them the rules tell apart, and the pairs that are left to the model."""

from __future__ import annotations

from collections.abc import Sequence

from demur.meaning.rules.decide import calls_meaning, decide, read_answer
from demur.meaning.rules.final_answer import read_final_answers
from demur.meaning.rules.normalise import is_empty
from demur.prompts.tool_calls import calls_of

Pair = tuple[str, str]


class DistinctAnswers:
    """A prompt's answers as they are compared; a key stands for all answers that are equal by rule.

    With ``rules``, an answer of more than a few words is compared by the final answer that it states; without, only
    identical answers are equal. Empty answers are equal.
    """

    def __init__(self, question: str, answers: Sequence[str], *, rules: bool) -> None:
        if rules:
            answers = read_final_answers(answers, question)
        self._prefix, self._rules = f"{question} " if question else "", rules
        readings = {answer: read_answer(answer) for answer in answers if not is_empty(answer)} if rules else {}
        self.keys: list[object] = [  # of every answer, in sampling order
            "" if is_empty(answer) else readings[answer].meaning if rules else _plain_key(answer) for answer in answers
        ]
        self._answer_of = dict(zip(reversed(self.keys), reversed(answers), strict=True))  # the first of each key
        self._reading_of = {key: readings[answer] for key, answer in self._answer_of.items() if answer in readings}
        self.distinct: list[object] = list(dict.fromkeys(self.keys))

    def is_open(self, one: object, other: object) -> bool:
        """True when only the model can decide about two keys; an empty answer differs in meaning from any other."""
        if one == "" or other == "":
            return False
        if not self._rules:
            return isinstance(one, str) and isinstance(other, str)
        return decide(self._reading_of[one], self._reading_of[other]) is None

    def pair(self, premise: object, hypothesis: object) -> Pair:
        """What the entailment model is asked: the question before both sides."""
        return self._prefix + self._answer_of[premise], self._prefix + self._answer_of[hypothesis]

    def answer(self, key: object) -> str:
        """The first answer of a key."""
        return self._answer_of[key]


def _plain_key(answer: str) -> object:
    """Of an answer that no rule reads: itself, or its calls of tools."""
    calls = calls_of(answer)
    return answer if calls is None else calls_meaning(calls)

"""Refusals: one meaning of their own, and no answer is taken for one."""

from __future__ import annotations

import pytest

from demur.meaning.clusters import meaning_clusters
from demur.meaning.declined_answers import declines, says_nothing
from demur.meaning.entailment import exact_match
from demur.meaning.rules import ruling


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, I can’t assist with this request.",
        "Sorry, I cannot provide that information",
        "As an AI language model, I cannot answer personal questions.",
        "Unfortunately, as an AI, I am unable to browse the internet.",
        "I do not have access to real-time data.",
        "I don't know.",
        " I am not sure",
        "I won't.",
    ],
)
def test_refusals(answer: str) -> None:
    assert declines(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "Paris",
        "Sorry Seems To Be the Hardest Word",
        "I Can't Explain",
        "I Don't Know How to Love Him",
        "I can't believe it's not butter",
        "I don't know, but I think it is Paris",
        "I'm sorry, I cannot give you legal advice; however, the notice period is four weeks.",
        "I cannot say it better: " + "word " * 80,
        "",
    ],
)
def test_answers_are_no_refusals(answer: str) -> None:
    assert not declines(answer)


def test_all_refusals_of_a_prompt_are_one_meaning_and_no_model_is_asked() -> None:
    answers = ["I'm sorry, but I can't help with that.", "Paris", "I don't know.", ""]
    found = meaning_clusters(["Where?"], [answers], entailment=exact_match)
    assert found.ids[0].tolist() == [0, 1, 0, 2]
    assert found.pairs == (0,)  # Paris and the refusals: decided by rule
    assert ruling("I don't know.", "Paris") == ("an answer that declines is its own meaning", False)
    assert ruling("I don't know.", "I cannot answer that.") == ("answers that decline", True)


def test_a_refusal_has_60_spaces_at_most() -> None:
    assert declines("I don't know." + " x" * 58) is True
    assert declines("I don't know." + " x" * 59) is False
    assert declines("Paris") is False


def test_an_empty_answer_and_a_refusal_say_nothing() -> None:
    assert [says_nothing(text) for text in ("", " \u200b", "I don't know.", "Paris")] == [True, True, True, False]

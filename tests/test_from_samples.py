"""From samples to preferences: what of the samples makes labels worthless is said."""

from __future__ import annotations

import pytest

from demur.config import LabelConfig
from demur.errors import InputError
from demur.labels.from_samples import Labels, label_prompts
from demur.meaning.entailment import exact_match
from demur.meaning.meanings import Meanings
from demur.records import Prompt, Sample
from demur.sampling.pair import PairSamples

PROMPTS = [Prompt(str(i), f"question {i}") for i in range(4)]


def side(answers: list[tuple[str, str]]) -> dict[str, list[Sample]]:
    """Two samples per prompt."""
    return {
        prompt.id: [Sample(k, text, (-0.1,) if text else (), "stop", 1, 1) for k, text in enumerate(said)]
        for prompt, said in zip(PROMPTS, answers, strict=True)
    }


def labelled(weak: list[tuple[str, str]], strong: list[tuple[str, str]]) -> Labels:
    samples = PairSamples(side(weak), side(strong))
    return label_prompts(PROMPTS, samples, Meanings(exact_match), LabelConfig(), weak="small", strong="large")


def test_a_model_that_never_answers_is_refused() -> None:
    silent, speaking = [("", " ")] * 4, [("x", "y")] * 4
    with pytest.raises(InputError, match=r"all answers of small are empty.*template"):
        labelled(silent, speaking)
    with pytest.raises(InputError, match="all answers of large are empty"):
        labelled(speaking, silent)


def test_a_model_that_often_says_nothing_is_warned_of() -> None:
    half = [("", ""), ("", ""), ("x", "y"), ("x", "x")]
    third = [("", ""), ("x", ""), ("x", "y"), ("x", "x")]  # 3 of 8 empty
    fourth = [("", ""), ("x", "x"), ("x", "y"), ("x", "x")]
    found = labelled(half, third).warnings
    assert [line.partition(" are empty")[0] for line in found[:2]] == [
        "50% of small's answers",
        "38% of large's answers",
    ]
    assert not any("empty" in line for line in labelled(fourth, fourth).warnings)

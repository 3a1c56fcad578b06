"""From samples to preferences: what of the samples makes labels worthless is said."""

from __future__ import annotations

import math
from dataclasses import replace

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


def labelled(weak: list[tuple[str, str]], strong: list[tuple[str, str]], config: LabelConfig | None = None) -> Labels:
    samples = PairSamples(side(weak), side(strong))
    given = config or LabelConfig()
    return label_prompts(PROMPTS, samples, Meanings(exact_match), given, weak="small", strong="large")


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


def test_a_row_shows_both_first_answers() -> None:
    found = labelled([("x", "z")] * 4, [("y", "y")] * 4)
    assert {(row.response_a, row.response_b) for row in found.preferences} == {("x", "y")}
    other = labelled([("x", "x")] * 4, [("y", "z")] * 4)
    assert {(row.response_a, row.response_b) for row in other.preferences} == {("x", "y")}


def test_agreement_by_hand() -> None:
    """The strong model says oak twice, the weak one once of two: 1 (1 - 1/2) is gained, and y = 1/2 + 1/4."""
    half = labelled([("oak", "elm")] * 4, [("oak", "oak")] * 4, LabelConfig(source="agreement")).preferences[0]
    assert (half.target, half.kind, half.winner, half.n) == (0.75, "agreement", "model_b", 2)
    assert (half.meanings_a, half.meanings_b) == (2, 1)
    assert [half.entropy_a, half.entropy_b] == pytest.approx([math.log(2), 0.0])
    lost = labelled([("oak", "oak")] * 4, [("oak", "elm")] * 4, LabelConfig(source="agreement")).preferences[0]
    assert lost.target == 0.5  # 1/2 (1/2 - 1) + 1/2 (1/2 - 0): what oak loses, elm gains


def test_without_log_probs_the_definition_is_discrete_and_nothing_is_combined() -> None:
    bare = {key: [replace(one, logprobs=None) for one in said] for key, said in side([("oak", "elm")] * 4).items()}
    samples = PairSamples(bare, side([("oak", "oak")] * 4))
    config = LabelConfig(kind="combined")
    found = label_prompts(PROMPTS, samples, Meanings(exact_match), config, weak="small", strong="large")
    assert (found.definition, {row.definition for row in found.preferences}) == ("discrete", {"discrete"})
    assert found.warnings[0].startswith("a model gives no log-probs: entropy by discrete instead of rao_blackwell")
    assert found.notes[0].startswith("targets agreement: without log-probs")
    assert {(row.kind, row.target) for row in found.preferences} == {("agreement", 0.75)}


def test_both_models_need_as_many_samples() -> None:
    short = {key: said[:1] for key, said in side([("oak", "oak")] * 4).items()}
    with pytest.raises(InputError, match="2"):
        label_prompts(
            PROMPTS,
            PairSamples(short, side([("oak", "oak")] * 4)),
            Meanings(exact_match),
            LabelConfig(),
            weak="small",
            strong="large",
        )
    with pytest.raises(InputError, match="no prompts to label"):
        label_prompts([], PairSamples({}, {}), Meanings(exact_match), LabelConfig(), weak="small", strong="large")

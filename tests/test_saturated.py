"""Prompts whose answers all differ cost few pairs; all other prompts are clustered as without the search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from demur.config import LabelConfig
from demur.errors import InputError
from demur.labels.beliefs.unknown import GUESSED
from demur.labels.from_samples import Labels, label_prompts
from demur.meaning.clusters import meaning_clusters
from demur.meaning.meanings import Meanings
from demur.meaning.saturated_prompts import MOST_LIKELY, Saturated, find_saturated, overlap, trigrams
from demur.records import FloatArray, Prompt, Sample
from demur.sampling.pair import PairSamples
from demur.store import Store

WORDS = [
    f"{first} {second}" for first in ("red", "old", "tall", "loud", "cold") for second in ("oak", "elm", "ash", "fig")
]


class Counting:
    """An entailment by the answers' last words that counts its pairs."""

    def __init__(self, same: Sequence[set[str]] = ()) -> None:
        self.same = same
        self.pairs = 0

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> FloatArray:
        self.pairs += len(pairs)
        equal = [
            any(one.removeprefix("Q? ") in s and two.removeprefix("Q? ") in s for s in self.same) for one, two in pairs
        ]
        return np.array([[0.0, 0.0, 1.0] if holds else [0.1, 0.8, 0.1] for holds in equal])


def sampled(answers: Sequence[str]) -> list[Sample]:
    return [Sample(i, text, None, "stop", 1, 1) for i, text in enumerate(answers)]


def label(entailment: Counting, prompts: int, *, kind: str = "believed", strong: Sequence[str] = WORDS[:10]) -> Labels:
    """A prompt that both models agree about, and others on which every answer differs unless ``strong`` repeats."""
    asked = [Prompt(str(i), "Q?") for i in range(prompts)] + [Prompt("told", "Q?")]
    weak = {one.id: sampled(WORDS[10:]) for one in asked} | {"told": sampled(["oak"] * 10)}
    large = {one.id: sampled(strong) for one in asked} | {"told": sampled(["oak"] * 10)}
    config = LabelConfig(kind=kind)
    return label_prompts(asked, PairSamples(weak, large), Meanings(entailment), config, weak="w", strong="s")


def test_a_prompt_is_given_up_where_none_of_the_first_pairs_comes_near() -> None:
    asked: list[int] = []

    def of(probability: float) -> Saturated:
        def entailment(pairs: Sequence[tuple[str, str]]) -> FloatArray:
            asked.append(len(pairs))
            return np.array([[0.0, 1 - probability, probability]] * len(pairs))

        return find_saturated(["Q?"], [WORDS[:10]], entailment=entailment)

    hopeless, doubtful = of(0.049), of(0.05)
    assert (hopeless.found.tolist(), doubtful.found.tolist()) == ([True], [True])
    assert (hopeless.pairs, doubtful.pairs) == ((8,), (9,))  # a fifth of 45 pairs are nine
    assert asked == [8, 8, 1]


@pytest.mark.parametrize("kind", ["believed", "margin"])
def test_labelling_saturated_answers_asks_a_quarter_of_their_pairs_at_most(kind: str) -> None:
    entailment = Counting()
    found = label(entailment, 1, kind=kind)
    assert [one.reason for one in found.unknown] == [GUESSED]
    assert entailment.pairs == found.pairs_scored == MOST_LIKELY  # of 45 + 45 within the models, and 190 over both
    assert 4 * MOST_LIKELY <= 190


def test_a_prompt_is_saturated_only_if_no_pair_of_its_likeliest_holds() -> None:
    equal = Counting([{"red oak", "old oak"}])  # they share a word, as few of the others do
    found = find_saturated(["Q?", "Q?"], [WORDS, ["pine", *WORDS[1:]]], entailment=equal)
    assert found.found.tolist() == [False, True]
    assert found.pairs[1] == MOST_LIKELY


def test_one_way_is_not_the_same_meaning() -> None:
    def one_way(pairs: Sequence[tuple[str, str]]) -> FloatArray:
        return np.array([[0.0, 0.0, 1.0] if one < two else [0.0, 1.0, 0.0] for one, two in pairs])

    assert find_saturated(["Q?"], [WORDS], entailment=one_way).found.tolist() == [True]


def test_nothing_is_searched_where_answers_are_equal_by_rule_or_pairs_are_few() -> None:
    never = Counting()
    found = find_saturated(["Q?", "Q?"], [["Red oak.", *WORDS], WORDS[:6]], entailment=never)  # 15 pairs of six
    assert not found.found.any()
    assert never.pairs == 0


def test_clusters_are_those_of_first_fit_wherever_an_answer_repeats() -> None:
    repeats = [*WORDS[:9], "red oak"]  # the strong model says one thing twice: the weak one alone is saturated
    same = [{"tall fig", "loud oak"}]  # two of the weak model's answers
    entailment = Counting(same)
    found = label(entailment, 3, kind="margin", strong=repeats)
    exact = meaning_clusters(["Q?"], [WORDS[10:]], entailment=Counting(same)).ids[0]
    assert not found.unknown
    assert [row.meanings_a for row in found.preferences] == [len(set(exact.tolist()))] * 3 + [1]


def test_nothing_to_label_is_said_after_as_few_pairs() -> None:
    entailment = Counting()
    prompts = [Prompt("p", "Q?")]
    samples = PairSamples({"p": sampled(WORDS[10:])}, {"p": sampled(WORDS[:10])})
    with pytest.raises(InputError, match="none of 1 prompt can"):
        label_prompts(prompts, samples, Meanings(entailment), LabelConfig(), weak="w", strong="s")
    assert entailment.pairs == MOST_LIKELY


def test_a_search_is_kept_in_the_store() -> None:
    with Store(":memory:") as store:
        first, again = Counting(), Counting()
        before = Meanings(first, "model", store=store).saturated_prompts(["Q?"], [WORDS])
        after = Meanings(again, "model", store=store).saturated_prompts(["Q?"], [WORDS])
    assert before.found.tolist() == after.found.tolist() == [True]
    assert before.pairs == after.pairs == (MOST_LIKELY,)
    assert again.pairs == 0


def test_likeness_is_judged_by_runs_of_three_letters_of_the_beginning() -> None:
    assert trigrams("Oak oak") == {"oak", "ak ", "k o", " oa"}
    assert trigrams("ab") == {"ab"}
    assert trigrams("a" * 2000 + "bcd") == {"aaa"}
    assert overlap({"oak", "elm"}, {"oak", "ash"}) == 1 / 3

"""How right each of several models is believed to be, and what votes serve, by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from demur.errors import InputError
from demur.labels.beliefs.belief import believed_gains, pair_shares
from demur.labels.beliefs.tier_beliefs import graded_tiers, tier_qualities, tier_shares
from demur.labels.beliefs.votes import ballots, own_agreement, vote_shares, winner
from demur.meaning.entailment import exact_match
from demur.meaning.meanings import Meanings
from demur.records import Grader, Preference, Prompt, Sample


def test_three_votes_serve_what_most_samples_say() -> None:
    ids = np.array([0, 1, 0, 2])
    # Draws of three: 010 -> 0 (first of the two), 012 -> a tie, so the first; 002 -> 0; 102 -> a tie, so the 1.
    assert vote_shares(ids, 3).tolist() == [0.75, 0.25, 0.0, 0.0]
    assert vote_shares(ids, 1).tolist() == [0.25] * 4
    # The sample that is left out: 2, 0, 1, 0 against served 0, 0, 0, 1.
    assert own_agreement(ids, 3) == pytest.approx(0.25)
    assert vote_shares(np.array([0, 0]), 3).tolist() == [1.0, 0.0]  # of a settled prompt


def said(*texts: str) -> list[list[Sample]]:
    return [[Sample(i, text, None, "stop", 1, 1) for i, text in enumerate(texts)]]


def test_belief_weighs_both_ends() -> None:
    small, middle, large = said("a", "b"), said("a", "a"), said("a", "a", "a", "b")
    both = [small, small, middle, large], ["s", "s", "m", "l"], [1, 2, 1, 1]
    shares = tier_shares(["q"], *both, Meanings(exact_match))
    found = shares.believed_quality()
    # As in test_pairs: .5, .75, .5; two votes of (a, b) tie, and the first is served.
    assert found.tolist() == [pytest.approx([0.5, 0.75, 0.75, 0.5])]
    half = shares.believed_quality(0.5)
    # WW = 0, WV: no sample is left beside two votes of two, so 1; WM = .5, WS = .5.
    assert half.tolist() == [pytest.approx([0.25, 0.875, 0.625, 0.5])]


def test_the_gain_of_two_models_is_the_gain_of_a_pairs_labels() -> None:
    random = np.random.default_rng(2)
    texts = [f"q{i}" for i in range(30)]
    sides = [[said(*random.choice(list("abc"), 5).tolist())[0] for _ in texts] for _ in range(2)]
    joint = Meanings(exact_match)(texts, [[one.text for one in (*s, *w)] for w, s in zip(*sides, strict=True)]).ids
    for weight in (0.5, 0.8, 1.0):
        gains = believed_gains(pair_shares(joint), weight)
        found = tier_shares(texts, sides, ["w", "s"], [1, 1], Meanings(exact_match)).believed_quality(weight)
        assert found[:, 1] - found[:, 0] == pytest.approx(gains)


def test_a_graded_vote_is_worth_what_it_serves() -> None:
    prompt = Prompt("p", "q", answers=("a",))
    sides = [said("a", "b", "a", "c")] * 2
    found = graded_tiers([prompt], sides, [1, 3], Meanings(exact_match))
    assert found.tolist() == [[0.5, 0.75]]


PROMPT = Prompt("p", "q", answers=("a",))


def labels_of(kind: str, weight: float | None) -> list[Preference]:
    return [Preference("p", "small", "large", "q", "a", "a", 0.5, "tie", kind, strong_weight=weight)]


def a_run(grader: Grader | None = None) -> Any:
    """What the qualities need of an opened run of three models: small says a b, middle a a, large a a a b."""
    models = {"small": said("a", "b"), "middle": said("a", "a"), "large": said("a", "a", "a", "b")}
    return SimpleNamespace(
        pair=SimpleNamespace(all=[SimpleNamespace(name=name) for name in models]),
        config=SimpleNamespace(models=[SimpleNamespace(votes=1)] * 3),
        samples=SimpleNamespace(all=[{"p": answers[0]} for answers in models.values()]),
        meanings=Meanings(exact_match),
        own=SimpleNamespace(grader=grader),
    )


@pytest.mark.parametrize("kind", ["entropy believed", "agreement"])
@pytest.mark.parametrize(
    ("weight", "learned"),
    [
        (None, [0.5, 0.75, 0.5]),  # pairs with the large model's answers: 3/4 say a, 1/4 b; of its own 3 of 6
        (1.0, [0.5, 0.75, 0.5]),
        (0.5, [0.25, 0.625, 0.5]),  # with the small one's: 0 of its own, and half of the others'
        (0.75, [0.375, 0.6875, 0.5]),
    ],
)
def test_qualities_are_believed_by_the_labels_weight_and_reported_by_the_strong_model(
    kind: str, weight: float | None, learned: list[float]
) -> None:
    found = tier_qualities(a_run(), labels_of(kind, weight), [PROMPT])
    assert found[0].tolist() == [pytest.approx(learned)]
    assert found[1].tolist() == [pytest.approx([0.5, 0.75, 0.5])]


@pytest.mark.parametrize("kind", ["accuracy soft", "accuracy hard"])
def test_qualities_are_the_grades_where_the_labels_are(kind: str) -> None:
    for grader, grades in ((None, [0.5, 1.0, 0.75]), (lambda prompt, answer: float(answer == "b"), [0.5, 0.0, 0.25])):
        for found in tier_qualities(a_run(grader), labels_of(kind, None), [PROMPT]):
            assert found.tolist() == [grades]


@pytest.mark.parametrize("kind", ["judge", "preference", "entropy hard", "quality-gap det"])
def test_labels_that_compare_two_models_alone_tell_nothing_of_others(kind: str) -> None:
    with pytest.raises(InputError, match=f"^the labels are {kind}, which compare the weak and the strong model alone"):
        tier_qualities(a_run(), labels_of(kind, None), [PROMPT])


def test_what_says_nothing_agrees_with_nothing() -> None:
    """Two prompts: the weak model is silent; then both are."""
    weak, strong = said("", "")[0], said("a", "a")[0]
    found = tier_shares(["q", "r"], [[weak, weak], [strong, weak]], ["w", "s"], [1, 1], Meanings(exact_match))
    assert found.strong.tolist() == [[0.0, 1.0], [0.0, 0.0]]
    assert found.weak.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_grades_are_of_every_prompt_and_model() -> None:
    prompts = [PROMPT, Prompt("r", "r", answers=("b",))]
    sides = [[said("a", "b")[0], said("a", "a")[0]], [said("a")[0], said("b", "b", "b", "a")[0]]]
    assert graded_tiers(prompts, sides, [1, 1], Meanings(exact_match)).tolist() == [[0.5, 1.0], [0.0, 0.75]]
    votes = graded_tiers(prompts, sides, [2, 3], Meanings(exact_match))
    assert votes.tolist() == [[1.0, 1.0], [0.0, 1.0]]  # of two the first is served; three of four are at least 2 b


@pytest.mark.parametrize(
    ("ids", "served"), [([], 0), ([3], 0), ([1, 0, 0, 1], 0), ([2, 1, 1], 1), ([0, 1, 2, 2, 1], 1), ([2, 0, 1], 0)]
)
def test_the_first_of_the_largest_cluster_is_served(ids: list[int], served: int) -> None:
    assert winner(np.array(ids, dtype=int)) == served


def test_ballots_are_all_draws_and_500_at_most() -> None:
    assert ballots(np.array([0, 1, 1]), 2) == [((0, 1), 0), ((0, 2), 0), ((1, 2), 1)]
    assert ballots(np.array([0, 1, 1]), 3) == ballots(np.array([0, 1, 1]), 4) == [((0, 1, 2), 1)]
    assert len(ballots(np.arange(12), 6)) == 500  # of 924
    assert len(ballots(np.arange(12), 4)) == 495


def test_what_is_served_agrees_with_the_samples_that_did_not_vote() -> None:
    """Two of 0 0 1: 0 is served each time, and the third is a 1, a 0, a 0."""
    assert own_agreement(np.array([0, 0, 1]), 2) == pytest.approx(2 / 3)
    assert own_agreement(np.array([0, 0, 1]), 1) == pytest.approx(1 / 3)
    assert own_agreement(np.array([0, 1]), 2) == 1.0

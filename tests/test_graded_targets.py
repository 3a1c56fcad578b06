"""Targets of every source, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from demur.errors import InputError
from demur.labels.graded_targets import (
    RELAXATIONS,
    accuracy_targets,
    best_relaxation,
    preference_targets,
    quality_gap_targets,
    sources_of,
)
from demur.records import FloatArray


def test_accuracy_counts_who_is_right() -> None:
    weak, strong = np.array([[1, 1], [0, 0], [0, 1]]), np.array([[0, 0], [1, 1], [1, 0]])
    assert accuracy_targets(weak, strong).tolist() == [0.0, 1.0, 0.5]
    assert accuracy_targets(np.array([[1, 0]]), np.array([[1, 1]]), soft=True).tolist() == [0.75]


def test_preferences_tie_within_the_margin() -> None:
    assert preference_targets(np.array([0.1, 0.1]), np.array([0.15, 0.9]), tie_below=0.06).tolist() == [0.5, 1.0]


def test_swapping_the_models_turns_accuracy_and_preference_round() -> None:
    random = np.random.default_rng(0)
    a, b = random.integers(0, 2, (2, 30, 5)).astype(float)
    for soft in (False, True):
        assert np.allclose(accuracy_targets(a, b, soft=soft), 1 - accuracy_targets(b, a, soft=soft))


def test_hybrid_labels_by_hand() -> None:
    weak, strong = np.array([[0.2, 0.8]]), np.array([[0.5, 0.5]])
    assert quality_gap_targets(weak, strong, "det").tolist() == [1.0]
    assert quality_gap_targets(weak, strong, "prob").tolist() == [0.5]
    assert quality_gap_targets(weak, strong, "trans", relaxation=0.4).tolist() == [0.0]


def test_a_strong_model_that_always_wins_needs_the_relaxation() -> None:
    """The case Hybrid LLM's transformation is for: unrelaxed labels are all alike, relaxed ones are spread."""
    weak = np.linspace(0, 0.8, 20)[:, None]
    strong = np.ones((20, 1))
    assert len(np.unique(quality_gap_targets(weak, strong, "prob"))) == 1
    assert quality_gap_targets(weak, strong, "trans").mean() == pytest.approx(0.5, abs=0.06)
    assert best_relaxation(weak, strong) > 0.2


def test_the_relaxation_is_the_one_that_spreads_the_labels_of_all_pairs_most() -> None:
    """By trying what `quality_gap_targets` gives at each candidate, pair by pair."""
    random = np.random.default_rng(1)
    weak, strong = random.random((4, 2)) * 0.6, random.random((4, 2)) * 0.6 + 0.4
    widest = strong.max() - weak.min()
    spreads = {}
    for t in np.linspace(0, widest, RELAXATIONS):
        y = quality_gap_targets(weak, strong, "trans", relaxation=float(t))
        spreads[float(t)] = np.abs(y[:, None] - y).mean()
    found = best_relaxation(weak, strong)
    assert spreads[found] == pytest.approx(max(spreads.values()))
    assert 0 < found <= widest


def test_every_source_has_its_own_material() -> None:
    """Graded answers for accuracy, their quality in any grain for the gap, Eq. 2 as printed for Eq. 3 as printed."""
    correct = np.array([[0.0, 0.0]]), np.array([[0.0, 1.0]])
    quality = np.array([[0.1, 0.4]]), np.array([[0.3, 0.9]])
    found = sources_of(printed={"printed": (np.array([-2.0]), np.array([-3.0]))}, correct=correct, quality=quality)
    assert {name: y.tolist() for name, y in found.items() if name != "quality-gap trans"} == {
        "printed": [1.0],  # |-3 + 2| / 3 > .1, and the strong model's is the smaller
        "accuracy hard": [1.0],
        "accuracy soft": [0.75],
        "quality-gap det": [1.0],
        "quality-gap prob": [0.75],  # .1 < .3, .1 < .9, .4 < .9
    }
    assert sources_of(correct=correct)["quality-gap prob"].tolist() == [0.5]


def test_what_is_missing_is_said() -> None:
    with pytest.raises(InputError, match="missing"):
        accuracy_targets(np.array([1.0, np.nan]), np.ones(2))
    with pytest.raises(InputError, match="both of each"):
        preference_targets(np.ones(2), np.ones(3))
    assert sources_of() == {}


def test_one_grade_a_prompt_will_do() -> None:
    weak, strong = np.array([1.0, 0.0, 0.5]), np.array([0.0, 1.0, 0.5])
    assert accuracy_targets(weak, strong).tolist() == [0.0, 1.0, 0.5]
    assert quality_gap_targets(weak, strong, "prob").tolist() == [0.0, 1.0, 0.0]


def test_a_score_that_differs_by_just_the_margin_is_a_tie() -> None:
    weak, strong = np.array([0.5, 0.5, 0.75]), np.array([0.75, 1.0, 0.5])
    assert preference_targets(weak, strong, tie_below=0.25).tolist() == [0.5, 1.0, 0.5]
    assert preference_targets(weak, strong).tolist() == [1.0, 1.0, 0.0]
    assert preference_targets(np.array([0.5]), np.array([0.5])).tolist() == [0.5]


def test_the_gap_counts_pairs_that_are_worse_by_more_than_the_relaxation() -> None:
    """.25 against .5 and 1: .25 and .75 apart; .75 against them: -.25 and .25 apart."""
    weak, strong = np.array([[0.25, 0.75]]), np.array([[0.5, 1.0]])
    for relaxation, share in ((0.0, 0.75), (0.25, 0.25), (0.75, 0.0)):
        assert quality_gap_targets(weak, strong, "trans", relaxation=relaxation).tolist() == [share]
    assert quality_gap_targets(np.array([[0.5, 0.1]]), np.array([[0.5, 0.9]]), "det").tolist() == [
        0.0
    ]  # the first ones


def test_a_strong_model_that_never_wins_needs_no_relaxation() -> None:
    assert best_relaxation(np.array([[0.9], [0.8]]), np.array([[0.1], [0.2]])) == 0.0


def test_many_prompts_are_compared_in_parts() -> None:
    weak = np.linspace(0, 1, 1100)[:, None]
    assert quality_gap_targets(weak, np.full((1100, 1), 0.5)).tolist() == (weak[:, 0] < 0.5).astype(float).tolist()


def test_every_source_has_its_own_rule() -> None:
    """Entropies .9 and 1 lie .1 apart, which is a tie; .88 and 1 do not. Gains are halved around one half."""
    entropy = np.array([1.0, 1.0, 0.5]), np.array([0.9, 0.88, 0.5])
    found = sources_of(entropy=entropy, gains=np.array([0.5, -0.5, 0.0]))
    assert {name: y.tolist() for name, y in found.items()} == {
        "entropy hard": [0.5, 1.0, 0.5],
        "entropy margin": [0.5, 1.0, 0.0],
        "agreement": [0.75, 0.25, 0.5],
    }


@pytest.mark.parametrize(
    ("weak", "strong", "named"),
    [
        (np.ones((2, 0)), np.ones((2, 1)), r"weak quality has shape \(2, 0\)"),
        (np.ones((2, 1)), np.ones((2, 1, 1)), r"strong quality has shape \(2, 1, 1\)"),
        (np.ones((0, 1)), np.ones((2, 1)), r"weak quality has shape \(0, 1\)"),
        (np.ones((1, 1)), np.ones((2, 1)), "1 prompts of the weak model and 2"),
        (np.array([[1.0], [np.nan]]), np.ones((2, 1)), "missing"),
        (np.ones((2, 1)), np.array([[1.0], [np.nan]]), "missing"),
    ],
)
def test_bad_qualities_are_named(weak: FloatArray, strong: FloatArray, named: str) -> None:
    with pytest.raises(InputError, match=named):
        quality_gap_targets(weak, strong)


def test_no_prompts_and_no_such_variant_are_named() -> None:
    with pytest.raises(InputError, match="no prompts to label"):
        accuracy_targets(np.array([]), np.array([]))
    with pytest.raises(InputError, match="no quality gap is called 'half'"):
        quality_gap_targets(np.ones((1, 1)), np.ones((1, 1)), "half")  # type: ignore[arg-type]

"""From entropies to targets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from demur.errors import InputError
from demur.labels.beliefs.unknown import CUT_OFF, NONE_EQUAL, UNMEASURED, Saturation, UnknownPrompt, saturation_of
from demur.labels.targets import (
    gain_targets,
    hard_targets,
    label_warnings,
    margin_targets,
    relative_difference,
    winner_of,
)
from demur.records import FloatArray, Preference

entropies = arrays.arrays(float, 8, elements=st.sampled_from([0.0, 0.1, 0.5, 1.0, 1.5, 2.3]))


@given(entropies, entropies)
def test_symmetric_delta_maps_exactly_onto_the_papers(weak: FloatArray, strong: FloatArray) -> None:
    paper = relative_difference(weak, strong, "paper")
    ours = relative_difference(weak, strong)
    assert not np.isnan(paper).any()
    assert ((ours >= 0) & (ours <= 1)).all()
    for w, s, p, o in zip(weak, strong, paper, ours, strict=True):
        if w == s:
            assert p == o == 0
        elif s == 0:
            assert p == np.inf
            assert o == 1
        else:
            assert o == pytest.approx(p / (1 + p) if s < w else p)


@given(entropies, entropies, st.floats(0, 1))
def test_swapping_the_models_swaps_the_winners(weak: FloatArray, strong: FloatArray, tau: float) -> None:
    forth, back = hard_targets(weak, strong, tau=tau), hard_targets(strong, weak, tau=tau)
    np.testing.assert_allclose(forth, 1 - back)
    assert (forth[weak == strong] == 0.5).all()


@given(entropies, entropies)
def test_margin_keeps_order_and_shares_ranks(weak: FloatArray, strong: FloatArray) -> None:
    targets = margin_targets(weak, strong)
    margin = weak - strong
    assert ((targets >= 0) & (targets <= 1)).all()
    assert targets.mean() == pytest.approx(0.5)
    for i in range(len(margin)):
        for j in range(len(margin)):
            assert (margin[i] < margin[j]) == (targets[i] < targets[j] - 1e-12)


def test_negative_and_missing_entropies_are_refused() -> None:
    with pytest.raises(InputError, match="needs values >= 0"):
        hard_targets(np.array([-0.1]), np.array([1.0]))
    with pytest.raises(InputError, match="1 entropies are NaN"):
        hard_targets(np.array([np.nan]), np.array([1.0]), delta="paper")
    assert hard_targets(np.array([-0.1]), np.array([1.0]), delta="paper")[0] == 0


def test_gain_targets_and_winners() -> None:
    targets = gain_targets(np.array([-0.25, 0.0, 1.0]))
    np.testing.assert_allclose(targets, [0.375, 0.5, 1.0])
    assert [winner_of(float(y)) for y in targets] == ["model_a", "tie", "model_b"]


def test_warnings_come_only_when_due() -> None:
    assert label_warnings(np.array([0.0, 1.0, 0.2]), Saturation(weak=1.0, strong=0.1)) == ()
    said = " ".join(label_warnings(np.array([0.5, 0.5, 0.5]), Saturation(strong=0.5), as_printed=True))
    assert "--kind margin" not in said
    assert "(--kind margin)" in label_warnings(np.array([0.5, 0.5]), softer="--kind margin")[0]
    for part in ("100% of the preferences are ties", "all differ on 50% of the prompts", "Eq. 2", "never differ"):
        assert part in said


@pytest.mark.parametrize(("target", "said"), [(1.0, "the strong model always wins"), (0.0, "the weak model always")])
def test_labels_of_one_side_say_which(target: float, said: str) -> None:
    (warning,) = label_warnings(np.full(3, target))
    assert said in warning


def test_saturation_is_of_either_model_and_of_both_with_the_prompts_that_got_no_label() -> None:
    def row(meanings_a: int | None, meanings_b: int | None, n: int = 4) -> Preference:
        said = {"n": n, "meanings_a": meanings_a, "meanings_b": meanings_b}
        return Preference("1", "s", "l", "q", "a", "b", 0.5, "tie", "entropy margin", **said)  # type: ignore[arg-type]

    rows = [row(4, 1), row(4, 4), row(3, 1), row(4, 1)]
    assert saturation_of(rows) == Saturation(0.75, 0.25, 0.25)
    assert saturation_of(rows, [UnknownPrompt("5", "q", NONE_EQUAL)]) == Saturation(0.8, 0.4, 0.4)
    assert saturation_of(rows, [UnknownPrompt("5", "q", CUT_OFF)]) == Saturation(0.6, 0.2, 0.2)
    assert saturation_of([row(None, None), row(1, 1, n=1)]) == UNMEASURED  # one sample is always a meaning of its own


def test_entropies_are_apart_beyond_tau_alone() -> None:
    """.5 and 1 lie half apart; by default a tenth is enough. Of paper's delta the strong one's entropy is the unit."""
    weak, strong = np.array([1.0, 0.5]), np.array([0.5, 1.0])
    assert hard_targets(weak, strong, tau=0.5).tolist() == [0.5, 0.5]
    assert hard_targets(weak, strong, tau=0.49).tolist() == [1.0, 0.0]
    assert hard_targets(np.array([1.0, 1.0]), np.array([0.91, 0.87])).tolist() == [0.5, 1.0]
    assert relative_difference(weak, strong, "paper").tolist() == [1.0, 0.5]


def test_one_entropy_that_is_missing_negative_or_measured_otherwise_is_refused() -> None:
    two, one = np.array([1.0, 1.0]), np.array([1.0, np.nan])
    for pair in ((two, one), (one, two)):
        with pytest.raises(InputError, match="1 entropies are NaN"):
            relative_difference(*pair)
    for pair in ((two, np.array([1.0, -0.5])), (np.array([1.0, -0.5]), two)):
        with pytest.raises(InputError, match=r"an entropy is -0\.5"):
            relative_difference(*pair)
    with pytest.raises(InputError, match="delta 'half' is neither"):
        relative_difference(two, two, "half")  # type: ignore[arg-type]
    assert relative_difference(np.zeros(2), np.zeros(2)).tolist() == [0.0, 0.0]
    assert relative_difference(np.array([]), np.array([])).tolist() == []


def test_gains_beyond_their_range_are_cut() -> None:
    assert gain_targets(np.array([-1.5, -1.0, 1.0, 1.5])).tolist() == [0.0, 0.0, 1.0, 1.0]
    assert [winner_of(y) for y in (0.4, 0.6)] == ["model_a", "model_b"]


def test_a_third_of_ties_or_saturated_prompts_is_still_no_warning() -> None:
    third = np.array([0.5, 0.0, 1.0])
    assert label_warnings(third, Saturation(strong=1 / 3)) == ()
    assert len(label_warnings(np.array([0.5, 0.5, 0.0, 1.0]))) == 1
    (saturated,) = label_warnings(third, Saturation(strong=0.34))
    assert "all differ on 34% of the prompts" in saturated
    assert label_warnings(np.array([])) == ()


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.5, "every target is 0.5: the models never differ"), (0.25, "every target is 0.25: all alike")],
)
def test_targets_that_are_all_alike_are_said(value: float, said: str) -> None:
    assert said in label_warnings(np.full(2, value))[-1]

"""The believed gain in closed form: what shares of answer pairs that mean the same say of escalating."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest

from demur.labels.beliefs.belief import (
    Belief,
    PairShares,
    _moments,
    _settling,
    belief_weight,
    believed_gains,
    believed_need,
    confirmed_slope,
    pair_shares,
    without_silence,
)
from demur.labels.targets import gain_targets
from demur.records import FloatArray
from worlds import labelled

WEIGHTS = (0.5, 0.75, 1.0)


def gain(strong: list[int], weak: list[int], weight: float) -> float:
    joint = [np.array([*strong, *weak])]
    return float(believed_gains(pair_shares(joint), weight)[0])


@pytest.mark.parametrize("weight", WEIGHTS)
def test_gain_of_known_cases(weight: float) -> None:
    assert gain([0, 0, 0], [0, 0, 0], weight) == 0  # both always say the same
    assert gain([0, 0, 0], [1, 1, 1], weight) == pytest.approx(2 * weight - 1)  # each consistent, and different
    assert gain([0, 0, 0], [1, 2, 3], weight) == pytest.approx(weight)  # only the strong one is sure
    assert gain([1, 2, 3], [0, 0, 0], weight) == pytest.approx(weight - 1)  # only the weak one is
    assert gain([0, 1, 2], [3, 4, 5], weight) == 0  # nothing agrees with anything


@pytest.mark.parametrize("weight", WEIGHTS)
def test_models_that_guess_alike_gain_nothing_on_average(weight: float) -> None:
    """No answer is compared with itself, so few samples do not make a model look surer of itself than of the other."""
    random = np.random.default_rng(0)
    joint = [random.integers(0, 3, 8) for _ in range(4000)]
    assert believed_gains(pair_shares(joint), weight).mean() == pytest.approx(0, abs=0.01)


def test_swapping_the_models_turns_y_into_its_opposite_where_both_are_believed_alike() -> None:
    strong, weak = [0, 0, 0, 1], [0, 2, 3, 3]
    targets = gain_targets(np.array([gain(strong, weak, 0.5), gain(weak, strong, 0.5)]))
    assert targets[0] != 0.5
    assert targets.sum() == pytest.approx(1)


def test_weight_has_its_ends_where_all_or_half_is_confirmed() -> None:
    weights = [belief_weight(slope) for slope in (-0.3, 0.5, 0.8, 1.0, 1.4)]
    assert weights == pytest.approx([1.0, 1.0, 0.7, 0.5, 0.5])


def guesses(known: FloatArray, n: int, confirmed: float, seed: int) -> list[np.ndarray]:
    """Two models of four meanings: the weak one says meaning 0 with probability ``known`` (n,), else a word of its own;
    the strong one says 0 with probability ``confirmed * known``."""
    random = np.random.default_rng(seed)
    rows = []
    for share in known:
        own = np.arange(1, 2 * n + 1)  # words that nobody repeats
        likely = np.repeat([confirmed * share, share], n)
        rows.append(np.where(random.random(2 * n) < likely, 0, own))
    return rows


@pytest.mark.parametrize("n", [4, 6, 20])
def test_slope_does_not_depend_on_the_number_of_samples(n: int) -> None:
    """WW is known^2 and SW .5 known^2 with infinitely many samples, so the slope is .5; a plain one sinks with n."""
    known = np.random.default_rng(1).choice([0.1, 0.9], 6000)
    joint = guesses(known, n, 0.5, seed=2)
    assert confirmed_slope(joint) == pytest.approx(0.5, abs=0.02)
    shares = pair_shares(joint)
    if n < 20:
        plain = np.polyfit(shares.weak, shares.across, 1)[0]
        assert plain < confirmed_slope(joint)


def test_slope_of_a_weak_model_that_tells_nothing_is_zero() -> None:
    """It wavers everywhere: only the strong model is believed."""
    assert confirmed_slope([np.arange(8), np.arange(8)]) == 0.0
    assert confirmed_slope([np.array([0, 0, 1, 2])]) == 0.0  # n < 4: the plain slope, of one prompt


def test_plain_slope_by_hand_where_there_are_too_few_samples_for_another() -> None:
    joint = [np.array([0, 0, 0, 0]), np.array([0, 1, 2, 3])]  # WW 1 and 0, SW 1 and 0
    assert confirmed_slope(joint) == pytest.approx(1.0)


def test_answers_that_say_nothing_agree_with_none() -> None:
    ids = without_silence(np.array([0, 0, 1, 1]), np.array([True, True, False, False]))
    assert ids.tolist() == [2, 3, 1, 1]
    assert pair_shares([ids]) == pytest.approx(PairShares(np.zeros(1), np.ones(1), np.zeros(1)))


WAVERING = ["oak", "elm", "ash", "fir"]
SURE = ["Rome"] * 4
REFUSED = ["I'm sorry, but I can't help with that."] * 4


def test_the_default_is_believed_gain_and_says_what_it_believed() -> None:
    found = labelled([(WAVERING, SURE), (SURE, SURE), (["Oslo"] * 4, SURE)])
    assert [row.target for row in found.preferences] == pytest.approx([0.5 + 0.5 * 1.0, 0.5, 1.0])
    assert {row.kind for row in found.preferences} == {"entropy believed"}
    assert found.preferences[0].slope == pytest.approx(0.5)  # WW 0, 1, 1 and SW 0, 1, 0
    assert found.preferences[0].strong_weight == 1.0
    said = dict(found.details)["where they differ"]
    assert "the large model counts 100% and the small one 0%" in said
    assert "the large one gives 50% of what the small one repeats" in said


@pytest.mark.parametrize("silence", [REFUSED, [""] * 4])
def test_a_model_that_always_refuses_is_not_taken_for_a_sure_one(silence: list[str]) -> None:
    found = labelled([(WAVERING, silence), (SURE, SURE), (WAVERING, SURE), (silence, SURE)])
    refused, same, needed, refusing = (row.target for row in found.preferences)
    assert refused == 0.5  # nothing is gained by a refusal
    assert same < needed
    assert refusing >= needed


def by_tuples(joint: Sequence[np.ndarray], n: int) -> float:
    """The slope from all tuples of distinct weak samples, one at a time."""
    both, squares, own, across = [], [], [], []
    for ids in joint:
        strong, weak = ids[:n], ids[n:]
        confirmed = [float(np.mean(strong == one)) for one in weak]
        pairs = list(permutations(range(n), 2))
        own.append(np.mean([weak[i] == weak[j] for i, j in pairs]))
        across.append(np.mean(confirmed))
        both.append(np.mean([(weak[i] == weak[j]) * confirmed[k] for i, j, k in permutations(range(n), 3)]))
        four = permutations(range(n), 4)
        squares.append(np.mean([weak[i] == weak[j] and weak[k] == weak[m] for i, j, k, m in four]))
    return float((np.mean(both) - np.mean(own) * np.mean(across)) / (np.mean(squares) - np.mean(own) ** 2))


@pytest.mark.parametrize("n", [4, 5, 6])
def test_slope_is_over_tuples_of_distinct_samples(n: int) -> None:
    joint = guesses(np.array([0.2, 0.9, 0.6, 1.0, 0.0]), n, 0.7, seed=n)
    joint[2][n:] = joint[2][n] + np.arange(n) % 2  # two meanings that are both given more than once
    assert confirmed_slope(joint) == pytest.approx(by_tuples(joint, n))


def test_plain_slope_of_three_samples_by_hand() -> None:
    """WW 1/3 and 0, SW 2/3 and 0: covariance 1/9 - 1/18 over variance 1/18 - 1/36."""
    joint = [np.array([0, 0, 0, 0, 0, 1]), np.array([0, 1, 2, 3, 4, 5])]
    assert confirmed_slope(joint) == pytest.approx(2.0)


def test_silence_gets_the_numbers_after_the_last_meaning() -> None:
    assert without_silence(np.array([0, 0]), np.array([True, True])).tolist() == [1, 2]
    assert without_silence(np.array([], dtype=int), np.array([], dtype=bool)).tolist() == []


@pytest.mark.parametrize(
    ("strong", "weak", "need"),
    [
        ([0, 0, 1], [0, 2], 1 / 6),  # 1 of 3 pairs says 0, which half of the weak answers do not
        ([0, 0, 1, 1], [0], 1 / 6),  # 0 and 1 one pair of 6 each, and the weak model says 0
        ([0, 0], [1, 1], 1.0),
        ([0], [1, 0], 0.5),  # a single answer confirms itself
        ([0, 1], [2, 3], 0.0),  # no two strong answers agree
    ],
)
def test_the_need_is_believed_where_strong_answers_agree_and_the_weak_one_does_not(
    strong: list[int], weak: list[int], need: float
) -> None:
    assert believed_need(np.array(strong), np.array(weak)) == pytest.approx(need)


def test_settled_prompts_are_weighed_by_the_others_by_hand() -> None:
    """Four samples of one prompt, two of a settled one whose models say the same.

    Of the whole prompt, strong 0 0 0 1 and weak 0 0 1 2, two samples are both 0 in 3 of 6 pairs and in 1 of 6: a chance
    of 1/12 that it had been settled, so it weighs 12/11. Of the settled prompt 1 - 1/11 agrees throughout.
    Its own WW is 1/6 and SW 3/4 2/4 + 1/4 1/4 = 7/16.
    """
    whole, settled = np.array([0, 0, 0, 1, 0, 0, 1, 2]), np.array([0, 0, 0, 0])
    weight, rest = 12 / 11, 1 - 1 / 11
    own = (weight / 6 + rest) / 2
    across = (weight * 7 / 16 + rest) / 2
    both = (weight * (1 / 6) * (1 / 4 + 0) / 2 + rest) / 2  # with 0 0 the third sample is 1 or 2: confirmed 1/4 or 0
    squared = (0 + rest) / 2  # two distinct pairs of four samples never both agree
    expected = (both - own * across) / (squared - own**2)
    assert confirmed_slope([whole, settled]) == pytest.approx(expected)


def test_settled_prompts_whose_models_differ_deny_the_weak_one() -> None:
    """Without a chance of being settled the whole prompt weighs 1: WW and SW 0 there; 1 and 0 where it was settled."""
    whole, denied = np.arange(8), np.array([0, 0, 1, 1])
    assert confirmed_slope([whole, denied]) == pytest.approx(0.0)
    assert confirmed_slope([whole, np.array([0, 0, 0, 0])]) == pytest.approx(1.0)
    assert confirmed_slope([whole, denied, np.array([0, 0, 0, 0])]) == pytest.approx(0.5)


APART = np.arange(8)  # nothing agrees with anything: nothing is added to any sum


def test_settled_prompts_count_for_what_the_weak_model_agrees_with_itself_about() -> None:
    """Two settled alike and one otherwise, of four: WW 3/4, SW 1/2, so the slope is (1/2 - 3/8) / (3/4 - 9/16)."""
    alike, otherwise = np.array([0, 0, 0, 0]), np.array([0, 0, 1, 1])
    assert confirmed_slope([alike, alike, otherwise, APART]) == pytest.approx(2 / 3)


def test_a_prompt_that_its_first_samples_would_have_settled_counts_once() -> None:
    """WW 2/3 and SW 1/3 of three prompts: the slope is (1/3 - 2/9) / (2/3 - 4/9)."""
    assert confirmed_slope([np.array([0, 0, 1, 1]), np.zeros(8, dtype=int), APART]) == pytest.approx(1 / 2)


def test_a_prompt_that_half_of_its_first_samples_would_have_settled_counts_twice() -> None:
    """Two of three strong answers, 3 of 6 pairs, agree with the weak ones: it stands for one of the two settled ones.

    Sums of WW, SW, WW SW and WW squared: 1 + 2, 1 + 3/2, 1 + 3/2, 1 + 2; of four prompts.
    """
    alike, half = np.array([0, 0, 0, 0]), np.array([0, 0, 0, 1, 0, 0, 0, 0])
    assert confirmed_slope([alike, alike, half, APART]) == pytest.approx((5 / 8 - 15 / 32) / (3 / 4 - 9 / 16))


@pytest.mark.parametrize(
    ("strong", "weak", "fewest", "same", "different"),
    [
        ([0, 0, 0, 1], [0, 0, 1, 2], 2, 1 / 12, 0.0),  # 3 of 6 pairs say 0, and 1 of 6
        ([0, 0, 1, 1], [0, 0, 1, 1], 2, 2 / 36, 2 / 36),  # each 1 pair of 6
        ([0, 0, 1], [1, 1, 1, 0], 2, 0.0, 1 / 6),  # 1 of 3 pairs says 0, 3 of 6 say 1
        ([0, 0, 0, 1], [0, 0, 0, 0], 3, 1 / 4, 0.0),
        ([0, 1, 2], [0, 1, 2], 2, 0.0, 0.0),
        ([0, 0], [0, 0], 2, 1.0, 0.0),
        ([0, 0], [1, 1], 2, 0.0, 1.0),
    ],
)
def test_the_chance_that_first_samples_settle_a_prompt(
    strong: list[int], weak: list[int], fewest: int, same: float, different: float
) -> None:
    assert _settling(np.array(strong), np.array(weak), fewest) == pytest.approx([same, different])


@pytest.mark.parametrize(
    ("strong", "weak", "moments"),
    [
        ([0, 0, 0, 1], [0, 0, 1, 2], (1 / 6, 7 / 16, 1 / 48, 0.0)),  # beside 0 0 a 1 (1/4 confirm it) or a 2 (none)
        ([0, 0, 0, 1], [0, 0, 1, 1], (1 / 3, 1 / 2, 1 / 6, 1 / 3)),  # 2 (1/4 + 1/4) + 2 (3/4 + 3/4) of 24; 8 of 24
        ([0, 0, 1], [0, 0, 1], (1 / 3, 5 / 9, 5 / 27, 1 / 9)),  # of three samples the plain products
        ([0], [0, 0, 0, 0], (1.0, 1.0, 1.0, 1.0)),
        ([1], [0, 0, 0, 0], (1.0, 0.0, 0.0, 1.0)),
    ],
)
def test_moments_of_one_prompt_by_hand(strong: list[int], weak: list[int], moments: tuple[float, ...]) -> None:
    assert _moments(np.array(strong), np.array(weak)) == pytest.approx(moments)


def test_shares_of_one_prompt_by_hand_and_of_one_sample_each() -> None:
    """Strong 0 0 1: 1 of 3 pairs; weak 0 2 2: 1 of 3; across 2 of 9."""
    found = pair_shares([np.array([0, 0, 1, 0, 2, 2]), np.array([0, 0]), np.array([0, 1])])
    assert found.strong[0] == found.weak[0] == pytest.approx(1 / 3)
    assert found.across == pytest.approx([2 / 9, 1.0, 0.0])


def test_a_belief_in_words() -> None:
    said = dict(Belief(np.zeros(1), 0.625, 0.875).facts)["where they differ"]
    assert said.startswith("the large model counts 88% and the small one 12%: the large one gives 62% ")
    for slope, said in ((1.2, "gives 100%"), (-0.1, "gives 0%")):  # estimates of small samples
        assert said in dict(Belief(np.zeros(1), slope, 0.5).facts)["where they differ"]


def test_prompts_that_one_sample_each_settled_agree_throughout() -> None:
    """WW 1 and SW 1, or 0, beside a prompt where both are 0."""
    assert confirmed_slope([APART, np.array([0, 0])]) == pytest.approx(1.0)
    assert confirmed_slope([APART, np.array([0, 1])]) == pytest.approx(0.0)

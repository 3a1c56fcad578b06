"""First-fit clustering by meaning: the naive loop's clusters with fewer pairs, and every kind of odd answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import demur
from demur.errors import InputError
from demur.meaning.clusters import checked_probabilities, strictly_entails
from demur.records import Entailment, FloatArray

YES, NO = (0.1, 0.1, 0.8), (0.8, 0.1, 0.1)
Pairs = Sequence[tuple[str, str]]


def subset(pairs: Pairs) -> FloatArray:
    """A premise entails what its letters hold: not symmetric, not transitive both ways."""
    return np.array([YES if set(hypothesis) <= set(premise) else NO for premise, hypothesis in pairs])


def close(pairs: Pairs) -> FloatArray:
    """Numbers one apart mean the same: symmetric, not transitive."""
    return np.array([YES if abs(float(a) - float(b)) <= 1 else NO for a, b in pairs])


def naive(answers: Sequence[str], entails: object) -> tuple[list[int], int]:
    """First-fit as it is written in the paper: one pair per call, both directions; ids and pairs."""
    leaders: list[str] = []
    ids, pairs = [], 0
    for answer in answers:
        for number, leader in enumerate(leaders):
            pairs += 2
            if all(entails([pair])[0].argmax() == 2 for pair in ((leader, answer), (answer, leader))):  # type: ignore[operator]
                ids.append(number)
                break
        else:
            ids.append(len(leaders))
            leaders.append(answer)
    return ids, pairs


words = st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=12)


@given(st.lists(words, min_size=1, max_size=4), st.integers(1, 5))
def test_clusters_are_the_naive_loops_with_no_more_pairs(prompts: list[list[str]], batch_size: int) -> None:
    found = demur.meaning_clusters(None, prompts, entailment=subset, rules=False, batch_size=batch_size)
    loops = [naive(answers, subset) for answers in prompts]
    assert [ids.tolist() for ids in found.ids] == [ids for ids, _ in loops]
    assert found.pairs_scored <= sum(pairs for _, pairs in loops)


def test_order_decides_where_entailment_is_not_transitive() -> None:
    """1 ~ 2 ~ 3, but not 1 ~ 3: the middle one unites them only when it comes first. As the paper's algorithm does."""

    def clusters(answers: list[str]) -> list[int]:
        return list(map(int, demur.meaning_clusters(None, [answers], entailment=close, rules=False).ids[0]))

    assert clusters(["1", "2", "3"]) == [0, 0, 1]
    assert clusters(["2", "1", "3"]) == [0, 0, 0]
    assert clusters(["3", "1", "2"]) == [0, 1, 0]


def test_the_reverse_is_asked_only_where_forward_held() -> None:
    asked: list[tuple[str, str]] = []

    def remember(pairs: Pairs) -> FloatArray:
        asked.extend(pairs)
        return subset(pairs)

    demur.meaning_clusters(["Q?"], [["ab", "a", "cd"]], entailment=remember)
    assert asked == [("Q? ab", "Q? a"), ("Q? ab", "Q? cd"), ("Q? a", "Q? ab"), ("Q? a", "Q? cd")]


def test_rules_spare_pairs() -> None:
    answers = ["12", "twelve", "dozens", "13", "4 May 1999", "May 4, 1999"]
    with_rules = demur.meaning_clusters(None, [answers], entailment=subset)
    assert with_rules.ids[0].tolist() == [0, 0, 1, 2, 3, 3]
    assert (
        with_rules.pairs_scored < demur.meaning_clusters(None, [answers], entailment=subset, rules=False).pairs_scored
    )


def test_empty_answers_are_one_meaning_that_nobody_is_asked_about() -> None:
    def never(pairs: Pairs) -> FloatArray:
        raise AssertionError(pairs)

    assert demur.meaning_clusters(None, [["", "  ", "\n", "\u200b"]], entailment=never).ids[0].tolist() == [0, 0, 0, 0]
    everything = demur.meaning_clusters(None, [["", "a", " ", "b"]], entailment=lambda p: np.array([YES] * len(p)))
    assert everything.ids[0].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("rules", [True, False])
@pytest.mark.parametrize("entailment", [demur.exact_match, demur.shipped_entailment()], ids=["exact", "shipped"])
def test_odd_answers_are_answers(entailment: Entailment, rules: bool) -> None:
    """Punctuation and emoji only, mixed scripts, 100 kB: none is taken for empty or another, or breaks anything."""
    odd = ["👍", "👎", "", "🎵", "🎶", "Путин Putin 普京", "x" * 100_000, "y" * 100_000, "Paris " + "z" * 100_000,
           "9" * 100_000, "🎵" * 25_000]  # fmt: skip
    odd += ["?!", "..."] if rules or entailment is demur.exact_match else []  # to the model alone these are alike
    ids = demur.meaning_clusters(["?"], [odd], entailment=entailment, rules=rules).ids[0].tolist()
    assert ids == [*range(len(odd))]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda pairs: np.full((len(pairs), 3), np.nan), "NaN for 1 of 1 pairs"),
        (lambda pairs: np.ones((len(pairs), 2)), r"shape \(1, 2\) for 1 pairs, expected \(1, 3\)"),
        (lambda pairs: np.ones((0, 3)), r"shape \(0, 3\)"),
        (lambda pairs: np.full((len(pairs), 3), np.inf), r"\[inf, inf, inf\] for a pair"),
        (lambda pairs: np.array([[-3.0, 1.0, 9.0]]), "turn logits into probabilities"),
        (lambda pairs: np.array([[-0.5, 0.5, 1.0]]), r"\[-0.5, 0.5, 1.0\]"),
        (lambda pairs: [["a", "b", "c"]], "no numbers for 1 pairs"),
        (lambda pairs: [[0.1, 0.1, 0.8], [0.1]], "no numbers for 1 pairs"),
    ],
)
def test_nonsense_is_an_error_and_no_cluster(answer: Entailment, said: str) -> None:
    with pytest.raises(InputError, match=said):
        demur.meaning_clusters(None, [["a", "b"]], entailment=answer)


def test_lists_must_fit() -> None:
    with pytest.raises(InputError, match="2 questions for 1 lists"):
        demur.meaning_clusters(["a", "b"], [["x"]], entailment=demur.exact_match)


def test_many_prompts_come_in_any_iterable_but_not_as_texts() -> None:
    asked, said = np.array(["q", "r"]), (iter(pair) for pair in (["a", "a"], ["a", "b"]))
    found = demur.meaning_clusters(asked, said, entailment=demur.exact_match)
    assert [ids.tolist() for ids in found.ids] == [[0, 0], [0, 1]]
    for questions, answers in (("q", [["a"]]), (["q"], "a"), (["q"], ["a"])):
        with pytest.raises(InputError, match="list of"):
            demur.meaning_clusters(questions, answers, entailment=demur.exact_match)


def test_calls_and_pairs_are_counted() -> None:
    """ab > a, ab > cd, a > b; then a > ab, since that held forward; then a > cd: in batches of two pairs."""
    sizes = []

    def count(pairs: Pairs) -> FloatArray:
        sizes.append(len(pairs))
        return subset(pairs)

    found = demur.meaning_clusters(None, [["ab", "a", "cd"], ["a", "b"]], entailment=count, rules=False, batch_size=2)
    assert sizes == [2, 1, 1, 1]
    assert (found.calls, found.pairs, found.pairs_scored) == (4, (4, 1), 5)


def test_progress_counts_the_prompts_that_are_done() -> None:
    told: list[tuple[int, int]] = []
    demur.meaning_clusters(
        None,
        [["ab", "a", "cd"], ["a", "b"], ["", "x"], []],
        entailment=subset,
        rules=False,
        progress=lambda _, done, total: told.append((done, total)),
    )
    assert told == [(0, 4), (1, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("off", [0.009, -0.009])
def test_probabilities_may_be_rounded_by_a_hundredth_together(off: float) -> None:
    assert checked_probabilities([[0.2, 0.3, 0.5 + off]], 1).shape == (1, 3)
    with pytest.raises(InputError, match="three probabilities that sum to 1"):
        checked_probabilities([[0.2, 0.3, 0.5 + 1.3 * off]], 1)


def test_entailment_must_be_likelier_than_both_others() -> None:
    rows = np.array([[0.2, 0.4, 0.4], [0.4, 0.2, 0.4], [0.1, 0.4, 0.5], [0.0, 1.0, 0.0], [0.5, 0.1, 0.4]])
    assert strictly_entails(rows).tolist() == [False, False, True, False, False]
    assert checked_probabilities([[0.0, 0.0, 1.0]], 1).tolist() == [[0.0, 0.0, 1.0]]


def test_of_two_pairs_one_that_is_no_number_is_enough() -> None:
    with pytest.raises(InputError, match="NaN for 1 of 2 pairs"):
        checked_probabilities([[0.0, 0.0, 1.0], [0.5, np.nan, 0.5]], 2)
    with pytest.raises(InputError, match="1 questions for 2 lists"):
        demur.meaning_clusters(["q"], [["a"], ["b"]], entailment=demur.exact_match)
    assert [ids.tolist() for ids in demur.meaning_clusters([], [], entailment=demur.exact_match).ids] == []

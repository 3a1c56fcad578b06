"""Every definition: what it must be by its formula, and by common sense."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import demur
from demur.errors import InputError
from demur.labels.scores.uncertainty import (
    DEFINITIONS,
    NEEDS_LOGPROBS,
    agreement,
    belief,
    consistency,
    coverage,
    has_tokens,
    mean_nll,
    sequence_logprobs,
    uncertainty,
    usable_definition,
)
from demur.records import Sample

answers = st.lists(
    st.tuples(st.integers(0, 4), st.lists(st.floats(-20, 0), min_size=1, max_size=6)), min_size=1, max_size=12
)


@given(answers)
def test_entropies_lie_between_0_and_log_of_the_number_of_meanings(drawn: list[tuple[int, list[float]]]) -> None:
    ids, logprobs = [i for i, _ in drawn], [tokens for _, tokens in drawn]
    for name in ("rao_blackwell", "discrete"):
        value = uncertainty(ids, logprobs, name)
        assert 0 <= value <= math.log(len(set(ids))) + 1e-9
        if len(set(ids)) == 1:
            assert value == 0


@given(answers, st.permutations(range(12)))
def test_order_of_samples_and_names_of_clusters_do_not_matter(
    drawn: list[tuple[int, list[float]]], names: list[int]
) -> None:
    ids, logprobs = [i for i, _ in drawn], [tokens for _, tokens in drawn]
    for name in DEFINITIONS.keys() - {"perplexity"}:  # that one is of the first answer
        other = uncertainty([names[i] for i in ids][::-1], logprobs[::-1], name)
        assert other == pytest.approx(uncertainty(ids, logprobs, name), abs=1e-9)


def test_a_models_own_word_is_no_measure_of_its_samples() -> None:
    with pytest.raises(InputError, match="p_true is a model's report on one answer"):
        usable_definition("p_true", None)


def test_consistency_is_the_share_of_pairs_that_agree_and_one_answer_agrees_with_itself() -> None:
    assert consistency(np.array([0, 0, 1])) == pytest.approx(1 / 3)
    assert consistency(np.array([0])) == 1.0


def test_only_what_needs_log_probs_falls_back_to_discrete_without_them() -> None:
    assert {name: usable_definition(name, None) for name in ("meanings", "degree", "discrete")} == {
        name: name for name in ("meanings", "degree", "discrete")
    }
    assert usable_definition("rao_blackwell", None) == usable_definition("perplexity", None) == "discrete"
    assert usable_definition("rao_blackwell", [[-1.0]]) == "rao_blackwell"


def test_an_answer_without_tokens_has_no_likelihood() -> None:
    assert mean_nll([-0.5, -1.5]) == 1.0
    assert math.isnan(mean_nll(None))


def test_discrete_is_the_formula() -> None:
    assert uncertainty([0, 0, 1, 2], None, "discrete") == pytest.approx(1.5 * math.log(2))


def test_equal_probabilities_make_both_forms_agree() -> None:
    ids = [0, 0, 0, 1, 2, 2]
    same = [[-0.5, -0.5]] * 6
    assert uncertainty(ids, same, "rao_blackwell") == pytest.approx(uncertainty(ids, None, "discrete"))


def test_very_unlikely_answers_do_not_underflow() -> None:
    value = uncertainty([0, 1], [[-800.0], [-801.0]], "rao_blackwell")
    p = 1 / (1 + math.exp(-1))
    assert value == pytest.approx(-(p * math.log(p) + (1 - p) * math.log(1 - p)))


def test_eq_2_as_printed_is_minus_log_n_for_n_sure_identical_answers() -> None:
    assert uncertainty([0] * 10, [[0.0, 0.0]] * 10, "paper") == pytest.approx(-math.log(10))
    assert uncertainty([0] * 10, [[0.0, 0.0]] * 10, "paper_length_normalised") == pytest.approx(-math.log(10))


def test_whole_sequences_against_mean_tokens() -> None:
    logprobs = [[-1.0, -3.0], [-2.0]]
    assert uncertainty([0, 1], logprobs, "paper") == pytest.approx((4 + 2) / 2)
    assert uncertainty([0, 1], logprobs, "paper_length_normalised") == pytest.approx(2.0)
    assert uncertainty([0, 1], logprobs, "predictive_entropy") == pytest.approx(2.0)
    assert uncertainty([0, 1], logprobs, "perplexity") == pytest.approx(2.0)


def test_counting_definitions() -> None:
    assert uncertainty([0, 0, 1, 2], None, "meanings") == uncertainty([0, 0, 1, 2], None, "eigv") == 3
    assert uncertainty([0, 0, 1, 2], None, "degree") == pytest.approx(1 - (0.25 + 0.0625 + 0.0625))


def test_eigv_is_the_spectrum_that_its_paper_defines() -> None:
    ids = np.array([0, 0, 1, 2, 2, 2])
    similar = (ids[:, None] == ids).astype(float)
    scale = np.diag(1 / np.sqrt(similar.sum(axis=1)))
    spectrum = np.linalg.eigvalsh(np.eye(6) - scale @ similar @ scale)
    assert uncertainty(ids, None, "eigv") == pytest.approx(np.maximum(0, 1 - spectrum).sum())


def test_empty_answers_without_tokens_weigh_like_the_others() -> None:
    assert uncertainty([0, 1], [[-1.0], []], "rao_blackwell") == pytest.approx(math.log(2))
    assert uncertainty([0, 0], [[], []], "rao_blackwell") == 0


@pytest.mark.parametrize(("text", "given"), [("", True), (" \n", True), ("Paris", False)])
def test_an_answer_of_blanks_without_tokens_takes_nobody_elses_away(text: str, *, given: bool) -> None:
    """A stop string in its only token leaves an answer of blanks without a log-prob; its model gives them otherwise."""
    rest = Sample(0, "Paris", (-0.5,), "stop", 9, 1)
    assert has_tokens([[rest, Sample(1, text, None, "stop", 9, 1)]]) is given


@pytest.mark.parametrize("name", sorted(NEEDS_LOGPROBS))
def test_missing_logprobs_are_an_error(name: str) -> None:
    with pytest.raises(InputError, match="use discrete"):
        uncertainty([0, 1], None, name)
    with pytest.raises(InputError, match="1 lists of log-probs for 2 answers"):
        uncertainty([0, 1], [[-1.0]], name)


def test_the_public_example() -> None:
    found = demur.semantic_entropy(
        ["Paris", "It is Paris.", "Lyon"],
        question="Capital of France?",
        entailment=demur.exact_match,
        logprobs=None,
        definition="rao_blackwell",
        rules=True,
    )
    assert found.clusters.tolist() == [0, 1, 2]
    assert found.definition == "discrete"
    assert found.entropy == pytest.approx(math.log(3))
    with pytest.raises(InputError, match="no answers"):
        demur.semantic_entropy([], entailment=demur.exact_match)
    with pytest.raises(InputError, match="no uncertainty is called 'shannon'"):
        demur.semantic_entropy(["a"], entailment=demur.exact_match, definition="shannon")


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=10),
    st.lists(st.integers(0, 3), min_size=1, max_size=10),
)
def test_agreement_is_a_gain_in_its_bounds(weak: list[int], strong: list[int]) -> None:
    assert -0.25 - 1e-12 <= agreement(weak, strong) <= 1


def test_agreement_of_known_cases() -> None:
    assert agreement([0, 0], [0, 0]) == 0
    assert agreement([1, 1], [0, 0]) == 1
    assert agreement([0, 0], [0, 1]) == pytest.approx(0.5 * (0.5 - 1) + 0.5 * 0.5)


def test_the_correction_takes_off_what_sampling_adds() -> None:
    """Two identical models gain nothing; the plug-in says otherwise, by (1 - sum p^2) / n."""
    random = np.random.default_rng(0)
    draws = random.integers(0, 3, (4000, 2, 10))
    plug_in = np.mean([agreement(w, s) for w, s in draws])
    corrected = np.mean([agreement(w, s, corrected=True) for w, s in draws])
    assert plug_in == pytest.approx((1 - 1 / 3) / 10, abs=0.01)
    assert corrected == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(
    ("logprobs", "named"),
    [
        ([[-0.1], [math.nan]], "answer 1 has a log-prob that is not finite"),
        ([[-math.inf], [-math.inf]], "answer 0 has a log-prob"),
        ([-0.1, -0.2], "log-probs of answer 0 are -0.1; give each answer a list"),
        ([[-0.1], None], "log-probs of answer 1 are None"),
        ([[-0.1], [None]], "answer 1 has a log-prob"),
        ([[-0.1]], "1 lists of log-probs for 2 answers"),
    ],
)
def test_logprobs_that_are_none_are_refused(logprobs: Any, named: str) -> None:
    with pytest.raises(InputError, match=named):
        demur.semantic_entropy(["a", "b"], entailment=demur.exact_match, logprobs=logprobs)


def test_answers_come_in_any_iterable_of_texts_but_not_as_one_text() -> None:
    expected = demur.semantic_entropy(["a", "b", "a"], entailment=demur.exact_match).entropy
    for answers in (np.array(["a", "b", "a"]), (text for text in "aba"), ("a", "b", "a")):
        assert demur.semantic_entropy(answers, entailment=demur.exact_match).entropy == expected
    logprobs = ([-0.1] for _ in range(3))
    assert demur.semantic_entropy(["a", "b", "a"], entailment=demur.exact_match, logprobs=logprobs).entropy > 0  # type: ignore[arg-type]
    for wrong in ("Paris", 7, ["a", None], [["a"]]):
        with pytest.raises(InputError, match="answers: expected a list of texts"):
            demur.semantic_entropy(wrong, entailment=demur.exact_match)  # type: ignore[arg-type]


def test_cluster_ids_have_one_dimension() -> None:
    with pytest.raises(InputError, match=r"weak_ids of shape \(1, 2\)"):
        agreement([[0, 1]], [0, 1])  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"clusters of shape \(\)"):
        uncertainty(3, None, "discrete")  # type: ignore[arg-type]


@pytest.mark.parametrize("tokens", [[0.9, 0.8], [True], [-0.1, 0.01]])
def test_probabilities_are_no_log_probs(tokens: list[float]) -> None:
    with pytest.raises(InputError, match=r"answer 1 has a log-prob of .*; log-probs are at most 0"):
        demur.semantic_entropy(["a", "b"], entailment=demur.exact_match, logprobs=[[-0.5], tokens])
    found = demur.semantic_entropy(["a", "b"], entailment=demur.exact_match, logprobs=[[-0.5], [1e-7]])  # rounded up
    assert found.definition == "rao_blackwell"


def test_log_probs_above_zero_by_a_thousandth_were_rounded() -> None:
    assert uncertainty([0], [[1e-3]], "perplexity") == -1e-3
    with pytest.raises(InputError, match=r"log-prob of 0\.0011"):
        uncertainty([0], [[0.0011]], "perplexity")


def test_one_token_that_is_not_finite_is_refused() -> None:
    with pytest.raises(InputError, match="answer 0 has a log-prob that is not finite"):
        uncertainty([0], [[-1.0, -math.inf]], "rao_blackwell")


def test_only_one_of_several_answers_may_lack_tokens() -> None:
    """The one without gets the others' means: of the sums -2 and -4, of the means -1 and -4."""
    found = sequence_logprobs([[-1.0, -1.0], [], [-4.0]])
    assert found.tolist() == [[-2.0, -3.0, -4.0], [-1.0, -2.5, -4.0]]
    assert sequence_logprobs([[], []]).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_a_sum_of_probabilities_is_of_each_clusters_own_answers() -> None:
    """Cluster 0 holds 1/2 + 1/4, cluster 1 holds 1/4."""
    half, quarter = [math.log(0.5)], [math.log(0.25)]
    assert uncertainty([0, 1, 0], [half, quarter, quarter], "rao_blackwell") == pytest.approx(
        -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    )
    assert uncertainty([0, 1, 0], [half, quarter, quarter], "paper") == pytest.approx(
        -(math.log(0.75) + math.log(0.25)) / 2
    )


@pytest.mark.parametrize(("weak", "strong"), [([], [0]), ([0], [])])
def test_agreement_takes_an_answer_of_each(weak: list[int], strong: list[int]) -> None:
    with pytest.raises(InputError, match=f"agreement of {len(weak)} weak and {len(strong)} strong"):
        agreement(weak, strong)


def test_one_strong_answer_cannot_be_corrected_and_two_can() -> None:
    """p_strong 1/2 each: less (1 - 1/2) / 1."""
    assert agreement([1], [0], corrected=True) == 1.0
    assert agreement([2, 2], [0, 1], corrected=True) == pytest.approx(0.5 - 0.5)
    assert agreement([2, 2], [0, 1]) == 0.5


def test_consistency_of_no_answer_is_that_of_one() -> None:
    assert consistency([]) == 1.0
    assert consistency([0, 0]) == 1.0
    assert consistency([0, 1]) == 0.0


@pytest.mark.parametrize("name", ["shannon", "p_true"])
def test_what_is_no_definition_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"no uncertainty is called '{name}'"):
        uncertainty([0], [[-1.0]], name)


def test_tokens_are_known_where_every_answer_that_says_something_has_log_probs() -> None:
    said, unknown = Sample(0, "Rome", (-0.1,), "stop", 5, 1), Sample(1, "Rome", None, "stop", 5, 1)
    silent = Sample(2, "", None, "stop", 5, 0)
    assert has_tokens([[said, said], [said, silent], []])
    assert not has_tokens([[said], [said, unknown]])
    assert not has_tokens([[unknown]])


ONE_AND_THREE = [(-0.5, -0.5), (-3.0,)]  # whole sequences of -1 and -3 nats, means of -1/2 and -3


@pytest.mark.parametrize(
    ("definition", "ids", "value"),
    [
        ("paper", [0, 1], 2.0),
        ("paper", [0, 0], 1 - math.log(1 + math.exp(-2))),
        ("paper_length_normalised", [0, 1], 1.75),
        ("predictive_entropy", [0, 1], 1.75),
        ("perplexity", [0, 1], 0.5),
        ("meanings", [0, 1], 2.0),
        ("eigv", [5, 5], 1.0),
        ("degree", [0, 1], 0.5),
        ("discrete", [0, 1], math.log(2)),
        ("rao_blackwell", [0, 0], 0.0),
    ],
)
def test_every_definition_by_hand(definition: str, ids: list[int], value: float) -> None:
    assert uncertainty(ids, ONE_AND_THREE, definition) == pytest.approx(value)


def test_three_answers_of_two_meanings_by_hand() -> None:
    """Shares of 2/3 and 1/3."""
    assert uncertainty([0, 0, 1], None, "degree") == pytest.approx(4 / 9)
    assert uncertainty([0, 0, 1], None, "discrete") == pytest.approx(math.log(3) - 2 / 3 * math.log(2))


def test_log_probs_of_an_answer_without_tokens_are_the_others_mean() -> None:
    assert sequence_logprobs([(-1.0, -3.0), (), (-2.0,)]).tolist() == [[-4.0, -3.0, -2.0], [-2.0, -2.0, -2.0]]
    assert sequence_logprobs([(), ()]).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_the_mean_over_one_answer_is_unknown_without_tokens() -> None:
    assert mean_nll((-1.0, -3.0)) == 2.0
    assert math.isnan(mean_nll(()))
    assert math.isnan(mean_nll(None))


def test_what_the_strong_model_believes_of_both() -> None:
    """Strong 0 0 1, weak 0 2: 2 of 6 pairs across, 1 of its own 3."""
    assert belief(np.array([0, 2]), np.array([0, 0, 1])) == pytest.approx((1 / 3, 1 / 3))
    assert belief(np.array([0]), np.array([0])) == (1.0, 1.0)


def test_a_distinct_answer_is_covered_once() -> None:
    assert coverage(["a", "a", "b"], [(-1.0, -1.0), (-1.0, -1.0), ()]) == pytest.approx(2.0)
    assert coverage(["a", "b"], [(-1.0,), (-1.0,)]) == pytest.approx(1 - math.log(2))
    assert math.isnan(coverage([], []))
    with pytest.raises(ValueError, match="zip"):
        coverage(["a"], [])


@pytest.mark.parametrize("definition", ["mars", "lars"])
def test_a_measure_of_one_answer_is_usable_with_log_probs_and_none_of_clusters(definition: str) -> None:
    assert usable_definition(definition, [(-1.0,)]) == definition
    assert usable_definition(definition, None) == "discrete"
    with pytest.raises(InputError, match=f"^{definition} is of one answer's tokens and meaning"):
        uncertainty([0], [(-1.0,)], definition)

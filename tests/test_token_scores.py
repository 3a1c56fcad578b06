"""MARS and LARS: token log-probs weighed by meaning, and a scorer that learns from graded answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import demur
from demur.errors import InputError
from demur.evaluation.signals import signals
from demur.labels.scores.token_scores import (
    MOST_PHRASES,
    answer_features,
    first_answer_doubt,
    lars,
    mars,
    meaning_carried,
    phrases,
    token_features,
    token_weights,
)
from demur.labels.scores.uncertainty import OF_FIRST_ANSWER, uncertainty, usable_definition
from demur.meaning.entailment import exact_match
from demur.records import FloatArray, Prompt, Sample
from demur.statistics import auroc
from pairs import running_pair, write_questions

NEITHER, HOLDS = (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


def answer(text: str, *logprobs: float) -> Sample:
    return Sample(0, text, logprobs, "stop", 0, len(logprobs))


class OnlyParis:
    """An entailment to which nothing but the word Paris means anything; it counts what it is asked."""

    def __init__(self) -> None:
        self.pairs: list[tuple[str, str]] = []

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> FloatArray:
        self.pairs += pairs
        return np.array([HOLDS if ("Paris" in one) == ("Paris" in other) else NEITHER for one, other in pairs])


def test_words_that_carry_equally_much_give_the_mean_log_prob() -> None:
    """Of three tokens over two words, too; exact match takes no answer for one that lacks a word."""
    one = answer("Paris France", -1.0, -2.0, -6.0)
    assert mars(["Where?"], [one], exact_match)[0] == pytest.approx(3.0)
    assert token_weights(["Paris", "France"], np.zeros(2), 3) == pytest.approx(1 / 3)  # nothing carries anything


def test_a_word_whose_removal_changes_the_meaning_weighs_more() -> None:
    """Three words of equal length, one token each: Paris has the meaning's half, and a third of the other."""
    carried = meaning_carried(["Where?"], [["in:::", "Paris", "yes::"]], OnlyParis())
    assert carried[0].tolist() == [0.0, 1.0, 0.0]
    weights = token_weights(["in:::", "Paris", "yes::"], carried[0], 3)
    assert weights == pytest.approx([1 / 6, 4 / 6, 1 / 6])
    unsure_of_it, unsure_beside = (
        answer("in::: Paris yes::", 0.0, -6.0, 0.0),
        answer("in::: Paris yes::", -6.0, 0.0, 0.0),
    )
    found = mars(["Where?"] * 2, [unsure_of_it, unsure_beside], OnlyParis())
    assert found == pytest.approx([4.0, 1.0])


def test_a_token_belongs_to_the_word_in_which_its_middle_falls() -> None:
    """Four tokens over the eight letters of a word of six and one of two: three and one."""
    assert token_weights(["abcdef", "gh"], np.array([0.0, 1.0]), 4) == pytest.approx([1 / 8, 1 / 8, 1 / 8, 5 / 8])


def test_an_answer_costs_two_pairs_per_word_and_never_more_than_32() -> None:
    asked = OnlyParis()
    meaning_carried(["", "Q"], [["Paris"], ["in", "Paris"]], asked)
    assert asked.pairs == [
        ("Q in Paris", "Q Paris"),
        ("Q Paris", "Q in Paris"),
        ("Q in Paris", "Q in"),
        ("Q in", "Q in Paris"),
    ]
    long = " ".join(f"w{i}" for i in range(500))
    assert " ".join(phrases(long)) == long
    asked = OnlyParis()
    meaning_carried([""], [phrases(long)], asked)
    assert len(asked.pairs) == 2 * MOST_PHRASES == 32


def test_an_empty_answer_weighs_like_the_others() -> None:
    assert mars(["", "", ""], [answer("a", -1.0), answer(""), answer("b", -3.0)], exact_match).tolist() == [1, 2, 3]
    assert np.isnan(mars([""], [answer("")], exact_match)).all()


def planted(prompts: int, each: int) -> tuple[list[Prompt], list[list[Sample]]]:
    """The first token's log-prob tells right from wrong; the nine others, of far greater spread, tell nothing."""
    random = np.random.default_rng(0)
    questions, answers = [], []
    for i in range(prompts):
        questions.append(Prompt(f"q{i}", f"What is {i}?", ("yes",)))
        right = random.random(each) < 0.5
        answers.append(
            [
                answer("yes" if good else "no", -0.1 if good else -1.5, *random.uniform(-9, 0, 9).tolist())
                for good in right
            ]
        )
    return questions, answers


def test_lars_learns_where_to_look_and_perplexity_does_not() -> None:
    questions, answers = planted(60, 4)
    right = np.array([float(each[0].text == "yes") for each in answers])
    perplexity = np.array([-np.mean(each[0].logprobs or ()) for each in answers])
    found = first_answer_doubt("lars", questions, answers, exact_match)
    assert auroc(found, right) > 0.95
    assert auroc(perplexity, right) < 0.75


def test_an_answer_is_not_scored_by_what_other_answers_to_its_prompt_taught() -> None:
    """Each prompt's answers share a mark and a grade drawn by lot: with a sibling among the training rows they tell."""
    random = np.random.default_rng(0)
    prompt_of = np.repeat(np.arange(30), 6)
    right = random.integers(0, 2, 30).astype(float)[prompt_of]
    marks = np.eye(30)[prompt_of]
    apart, mixed = lars(marks, right, prompt_of.tolist()), lars(marks, right, list(range(180)))
    assert auroc(mixed, right) > 0.95
    assert auroc(apart, right) < 0.7
    for prompt in range(30):
        assert np.ptp(apart[prompt_of == prompt]) == pytest.approx(0.0)  # one fold, so one fit


def test_token_features_are_what_they_are_called() -> None:
    likely, unlikely = np.log(0.6), np.log(0.05)
    found = token_features([likely, unlikely])
    assert found[:3] == pytest.approx([(likely + unlikely) / 2, (likely - unlikely) / 2, np.log(2)])
    assert found[3:9] == pytest.approx(np.quantile([likely, unlikely], (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)))
    assert found[9:12] == pytest.approx([likely, unlikely, unlikely])
    assert found[12:] == pytest.approx([0.5, 0.5])  # below .1, below .5
    assert token_features([]).tolist() == [0.0] * len(found)


def test_the_text_of_question_and_answer_is_seen_where_an_encoder_is_given() -> None:
    class Letters:
        def encode(self, texts: Sequence[str], /) -> FloatArray:
            self.texts = texts
            return np.array([[float(len(text)), 0.0] for text in texts])

    encoder = Letters()
    answers = [answer("a", -1.0), answer("abc", -2.0)]
    found = answer_features(["Q", "Q"], answers, encoder)
    assert encoder.texts == ["Q a", "Q abc"]
    assert found[:, -2:].tolist() == [[-1.0, 0.0], [1.0, 0.0]]  # centred, mean square length 1
    assert found.shape[1] == answer_features(["Q", "Q"], answers).shape[1] + 2


def test_lars_without_gold_answers_is_one_clear_line() -> None:
    questions, answers = planted(3, 2)
    with pytest.raises(InputError, match=r"lars learns from graded answers, and 1 of 4 prompts have no gold .* as q9"):
        first_answer_doubt("lars", [*questions, Prompt("q9", "Why?")], [*answers, answers[0]], exact_match)


@pytest.mark.parametrize("name", OF_FIRST_ANSWER)
def test_they_are_no_measures_of_clusters_and_need_logprobs(name: str) -> None:
    assert usable_definition(name, [[-1.0]]) == name
    assert usable_definition(name, None) == "discrete"
    with pytest.raises(InputError, match=f"demur label --definition {name}"):
        uncertainty([0], [[-1.0]], name)


def test_both_are_definitions_of_labels_and_rows_of_the_card(tmp_path: Path) -> None:
    with running_pair() as pair:
        run = str(tmp_path / "run")
        demur.sample(write_questions(tmp_path / "p.jsonl"), **pair.names, run=run, n=4)
    for name in OF_FIRST_ANSWER:
        found = demur.label(run=run, entailment="exact", kind="margin", definition=name)
        assert found.definition == name
    rows = {row.definition: row for row in signals(run=run).tables[0].rows}
    for name in OF_FIRST_ANSWER:
        assert rows[name].auroc is not None


def test_without_logprobs_the_card_and_the_labels_say_so(tmp_path: Path) -> None:
    with running_pair(weak_logprob=None) as pair:
        run = str(tmp_path / "run")
        demur.sample(write_questions(tmp_path / "p.jsonl"), **pair.names, run=run, n=3)
    found = demur.label(run=run, entailment="exact", kind="margin", definition="lars")
    assert found.warnings[0] == "no log-probs of small: entropy by discrete instead of lars, for both models"
    rows = {row.definition: row for row in signals(run=run).tables[0].rows}
    assert {rows[name].why_not for name in OF_FIRST_ANSWER} == {"the endpoint gave no log-probs"}


def test_seventeen_words_are_sixteen_phrases() -> None:
    words = [f"w{i}" for i in range(17)]
    assert phrases(" ".join(words[:16])) == words[:16]
    assert phrases(" ".join(words)) == ["w0 w1", *words[2:]]


def test_without_a_phrase_or_beside_every_token_all_tokens_weigh_alike() -> None:
    """The middle of the only token falls in the longer word, which carries nothing."""
    assert token_weights([], np.ones(0), 2).tolist() == [0.5, 0.5]
    assert token_weights(["abcdef", "gh"], np.array([0.0, 1.0]), 1).tolist() == [1.0]
    assert token_weights(["ab", "cd"], np.array([1.0, 0.5]), 2) == pytest.approx([0.25 + 1 / 3, 0.25 + 1 / 6])


def test_pairs_are_sent_in_batches_and_come_back_in_order() -> None:
    """20 answers of 16 words take 640 pairs: three calls, of 256 at most."""
    sizes = []

    def first_word_matters(pairs: Sequence[tuple[str, str]]) -> FloatArray:
        sizes.append(len(pairs))
        return np.array([HOLDS if ("w0 " in one) == ("w0 " in other) else NEITHER for one, other in pairs])

    words = [f"w{i}" for i in range(16)]
    found = meaning_carried([""] * 20, [words] * 20, first_word_matters)
    assert sizes == [256, 256, 128]
    assert [one.tolist() for one in found] == [[1.0, *[0.0] * 15]] * 20


def test_the_less_sure_direction_counts() -> None:
    """The whole entails the rest with .9, the rest the whole with .3: its meaning changes with .7."""

    def one_way(pairs: Sequence[tuple[str, str]]) -> FloatArray:
        return np.array([[0, 0.1, 0.9] if len(one) > len(other) else [0, 0.7, 0.3] for one, other in pairs])

    (found,) = meaning_carried(["Q"], [["a", "b"]], one_way)
    assert found == pytest.approx([0.7, 0.7])


def test_a_token_at_the_very_limit_is_not_unlikely() -> None:
    assert token_features([np.log(0.1), np.log(0.5)])[-2:].tolist() == [0.0, 0.5]
    assert token_features([-1.0] * 4)[:3] == pytest.approx([-1.0, 0.0, np.log(4)])


def test_features_are_centred_scaled_and_constant_ones_are_nothing() -> None:
    found = answer_features(["Q", "Q"], [answer("a", -1.0), answer("b", -3.0)])
    count = 3 + 6 + 3 + 2
    assert found.shape == (2, count)
    spread, length, below_half = 1, 2, 13  # do not vary; -3 alone is below log .1
    signs = [0 if i in (spread, length, below_half) else -1 if i == 12 else 1 for i in range(count)]
    assert found[0] == pytest.approx([sign / np.sqrt(count) for sign in signs])
    assert found[1] == pytest.approx(-found[0])


def test_features_of_one_token_by_hand() -> None:
    """Mean -1, no spread, log 1, six quantiles, three first tokens, and unlikely below 1/2 alone."""
    assert token_features((-1.0,)).tolist() == [-1.0, 0.0, 0.0, *[-1.0] * 9, 0.0, 1.0]
    assert token_features(()).tolist() == [0.0] * 14


def test_features_of_two_tokens_by_hand() -> None:
    """Quantiles between -4 and 0; the last of two is the third; -4 is below both limits."""
    found = token_features((0.0, -4.0)).tolist()
    assert found == pytest.approx([-2, 2, np.log(2), -4, -3.6, -3, -2, -1, -0.4, 0, -4, -4, 0.5, 0.5])


def test_answers_without_any_tokens_have_no_doubt_that_is_known() -> None:
    silent = Sample(0, "oak", None, "stop", 1, 1)
    assert np.isnan(mars(["q", "r"], [silent, silent], exact_match)).all()


def test_of_one_phrase_or_none_nothing_is_asked() -> None:
    def ask(pairs: object) -> FloatArray:
        raise AssertionError(pairs)

    one, none = meaning_carried(["q", ""], [["oak"], []], ask)
    assert (one.tolist(), none.tolist()) == ([1.0], [])


def test_thirty_three_words_are_runs_of_three_and_two() -> None:
    words = [f"w{i}" for i in range(33)]
    assert [len(run.split()) for run in phrases(" ".join(words))] == [3] + 15 * [2]
    assert " ".join(phrases(" ".join(words))).split() == words
    assert phrases(" ".join(words[:16])) == words[:16]
    assert phrases("") == []

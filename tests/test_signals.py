"""The uncertainty card: AUROC by definition, and rows that say why they cannot be computed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import demur
from demur.evaluation.signals import ALL, SignalRow, UncertaintyCard, auroc_draws, signal_table, signals, tables_by_set
from demur.labels.scores.self_report import P_TRUE_PROMPT, VERBALISED_PROMPT, _fill, p_true, verbalised_confidence
from demur.records import Sample
from pairs import running_pair, write_questions


def test_a_draw_of_prompts_leaves_out_what_a_signal_says_nothing_of() -> None:
    values, quality = np.array([0.1, np.nan, 0.9, 0.2]), np.array([1.0, 0.0, 0.0, 1.0])
    assert np.nanmin(auroc_draws(values, quality)) == np.nanmax(auroc_draws(values, quality)) == 1.0


NOISE = np.random.default_rng(1).normal(0, 1, (3, 200))
RIGHT = np.repeat([1.0, 0.0], 100)
TELLS = 1 - RIGHT + NOISE[0] / 2


def test_noise_is_not_recommended() -> None:
    found = signal_table("m", "set", {"discrete": NOISE[1], "degree": np.zeros(200)}, RIGHT)
    assert found.use is None
    assert "none tells" in found.lines[-1]
    assert "use this one" not in " ".join(found.lines)


def test_the_cheapest_of_those_that_tell_as_well_as_the_best_is_recommended() -> None:
    """rao_blackwell is best by a hair, perplexity is the cheapest and clearly worse, predictive entropy is between."""
    worse = 1 - RIGHT + 3 * NOISE[1]
    hair = TELLS + NOISE[2] / 50
    values = {"perplexity": worse, "predictive_entropy": hair, "rao_blackwell": TELLS}
    found = signal_table("m", "set", values, RIGHT)
    assert found.use == "predictive_entropy"
    assert found.advice == "use this one: the cheapest that 200 prompts cannot tell from the best, rao_blackwell"
    assert signal_table("m", "set", {"perplexity": worse, "rao_blackwell": TELLS}, RIGHT).use == "rao_blackwell"


def test_eq_2_as_printed_is_shown_and_not_recommended() -> None:
    found = signal_table("m", "set", {"paper": TELLS}, RIGHT)
    assert (found.rows[0].auroc or 0) > 0.8
    assert found.use is None


def test_every_set_has_its_own_table_and_all_stand_first() -> None:
    """On one set the signal tells, on the other it is turned round: together it tells nothing."""
    sets = ["a", "b"] * 100
    values = np.where(np.array(sets) == "a", 1 - RIGHT, RIGHT)
    found = tables_by_set("m", sets, {"discrete": values}, RIGHT)
    assert [(one.prompts, one.n, one.use) for one in found] == [
        (ALL, 200, None),
        ("a", 100, "discrete"),
        ("b", 100, None),
    ]
    assert [one.rows[0].auroc for one in found] == [0.5, 1.0, 0.0]
    assert len(tables_by_set("m", ["a"] * 200, {"discrete": values}, RIGHT)) == 1


def test_a_handful_of_wrong_answers_gives_no_interval() -> None:
    right = np.array([1.0] * 20 + [0.0] * 4)
    found = signal_table("m", "set", {"discrete": 1 - right}, right)
    assert found.lines[1] == "  not computable: 20 right and 4 wrong answers; an interval takes 5 of each"


def rows_of(card: UncertaintyCard, model: str) -> dict[str, SignalRow]:
    """Of the only set."""
    (found,) = [one for one in card.tables if one.model == model]
    return {row.definition: row for row in found.rows}


def test_the_card_finds_that_wavering_tells_a_guess(tmp_path: Path) -> None:
    with running_pair() as pair:
        run = str(tmp_path / "run")
        demur.sample(write_questions(tmp_path / "p.jsonl"), **pair.names, run=run, n=4)
    demur.label(run=run, entailment="exact")
    card = signals(run=run)
    weak = rows_of(card, "small")
    assert weak["discrete"].auroc == pytest.approx(1.0)
    assert card.lines[-1].startswith("  not computable: 60 right and 0 wrong")  # the large one is never wrong
    assert sum("use this one" in line for line in card.lines) == 1
    assert card.tables[0].prompts == "p.jsonl"


def test_a_model_is_asked_about_its_own_answers_once(tmp_path: Path) -> None:
    with running_pair() as pair:
        run = str(tmp_path / "run")
        demur.sample(write_questions(tmp_path / "p.jsonl"), **pair.names, run=run, n=3)
        demur.label(run=run, entailment="exact")
        before = len(pair.weak.requests)
        card = signals(run=run, ask=True)
        asked = len(pair.weak.requests) - before
        assert signals(run=run, ask=True) == card
        assert len(pair.weak.requests) - before == asked == 2 * card.prompts
        assert {body["temperature"] for body in pair.weak.requests[before:]} == {0.0}  # what it says first
        asked_for = {(body.get("n", 1), body["max_tokens"]) for body in pair.weak.requests[before:]}
        assert asked_for == {(1, 2), (1, 8)}  # one reply: a letter, or a number
    weak = rows_of(card, "small")
    assert weak["p_true"].auroc == weak["verbalised"].auroc == pytest.approx(1.0)  # right about being wrong
    strong = rows_of(card, "large")
    assert "say nothing" in strong["p_true"].why_not  # it answers the question again


@pytest.mark.parametrize(
    ("text", "logprobs", "doubt"),
    [
        ("A", (math.log(0.6),), 0.4),
        ("(B) False", (math.log(0.9), math.log(0.5)), 0.45),
        ("True.", (math.log(0.8),), 0.2),
        ("Maybe", (0.0,), math.nan),
        ("A", None, math.nan),
    ],
)
def test_p_true_is_read_from_the_letter_that_was_said(
    text: str, logprobs: tuple[float, ...] | None, doubt: float
) -> None:
    assert p_true(Sample(0, text, logprobs, "stop", 9, 2)) == pytest.approx(doubt, nan_ok=True)


@pytest.mark.parametrize(
    ("text", "doubt"), [("About 80 percent", 0.2), ("very likely", math.nan), ("250", math.nan), ("0", 1.0)]
)
def test_a_stated_confidence_is_read(text: str, doubt: float) -> None:
    assert verbalised_confidence(Sample(0, text, None, "stop", 9, 2)) == pytest.approx(doubt, nan_ok=True)


def test_without_logprobs_or_gold_it_says_so(tmp_path: Path) -> None:
    with running_pair(weak_logprob=None) as pair:
        run = str(tmp_path / "run")
        demur.sample(write_questions(tmp_path / "p.jsonl"), **pair.names, run=run, n=3)
        plain = write_questions(tmp_path / "q.jsonl", gold=False)
        demur.sample(plain, **pair.names, run=str(tmp_path / "other"), n=3)
    demur.label(run=run, entailment="exact")
    rows = rows_of(signals(run=run), "small")
    assert rows["rao_blackwell"].why_not == "the endpoint gave no log-probs"
    assert rows["discrete"].auroc is not None
    believed = signals(run=str(tmp_path / "other"))  # the strong model's samples stand in for gold answers
    assert believed.believed
    assert rows_of(believed, "small")["rao_blackwell"].why_not == "the endpoint gave no log-probs"


@pytest.mark.parametrize(
    ("text", "doubt"),
    [("100", 0.0), ("101", math.nan), ("12.5 %", 0.875), ("It is likely, some 70", 0.3), ("a" * 21 + "9", math.nan)],
)
def test_the_number_that_begins_the_reply_is_the_confidence(text: str, doubt: float) -> None:
    assert verbalised_confidence(Sample(0, text, None, "stop", 9, 2)) == pytest.approx(doubt, nan_ok=True)


def test_a_model_is_shown_the_question_its_samples_and_its_first_answer_as_they_are() -> None:
    """What looks like a place in the question stays."""
    samples = [Sample(i, text, None, "stop", 1, 1) for i, text in enumerate(("oak", "{question}"))]
    assert _fill(VERBALISED_PROMPT, "Which {answer}?", samples).startswith(
        "Question: Which {answer}?\nAnswer: oak\nHow"
    )
    shown = _fill(P_TRUE_PROMPT, "Which?", samples)
    assert shown.startswith("Question: Which?\nBrainstormed answers:\noak\n{question}\nPossible answer: oak\nIs the")

"""The uncertainty card: AUROC by definition, and rows that say why they cannot be computed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

import demur
from demur.asking import p_true, verbalised
from demur.errors import InputError
from demur.records import Sample
from demur.signals import auroc, auroc_with_interval, signals
from pairs import running_pair, write_questions


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_auroc_is_the_one_of_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    values, right = np.array([v for v, _ in rows], dtype=float), np.array([r for _, r in rows], dtype=float)
    if 0 < right.sum() < len(right):
        assert auroc(values, right) == pytest.approx(roc_auc_score(1 - right, values))


def test_a_mean_quality_counts_as_so_many_right_and_wrong_answers() -> None:
    values, quality = np.array([0.1, 0.5, 0.9]), np.array([1.0, 0.5, 0.0])
    doubled = auroc(np.array([0.1, 0.1, 0.5, 0.5, 0.9, 0.9]), np.array([1, 1, 1, 0, 0, 0.0]))
    assert auroc(values, quality) == pytest.approx(doubled)
    low, high = auroc_with_interval(values.repeat(50), quality.repeat(50))[1:]
    assert low <= auroc(values, quality) <= high


def test_the_card_finds_that_wavering_tells_a_guess(tmp_path: Path) -> None:
    with running_pair() as pair:
        run = str(tmp_path / "run")
        demur.sample(write_questions(tmp_path / "p.jsonl"), **pair.names, run=run, n=4)
    demur.label(run=run, entailment="exact")
    card = signals(run=run)
    weak = {row.definition: row for row in card.rows if row.model == "small"}
    assert weak["discrete"].auroc == pytest.approx(1.0)
    assert all("not computable" in line for line in card.lines if " large " in line)  # it is never wrong
    assert sum("use this one" in line for line in card.lines) >= 1


def test_a_model_is_asked_about_its_own_answers_once(tmp_path: Path) -> None:
    with running_pair() as pair:
        run = str(tmp_path / "run")
        demur.sample(write_questions(tmp_path / "p.jsonl"), **pair.names, run=run, n=3)
        demur.label(run=run, entailment="exact")
        before = len(pair.weak.requests)
        card = signals(run=run, ask=True)
        asked = len(pair.weak.requests) - before
        assert signals(run=run, ask=True).rows == card.rows
        assert len(pair.weak.requests) - before == asked == 2 * card.prompts
    weak = {row.definition: row for row in card.rows if row.model == "small"}
    assert weak["p_true"].auroc == weak["verbalised"].auroc == pytest.approx(1.0)  # right about being wrong
    strong = {row.definition: row for row in card.rows if row.model == "large"}
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
    assert verbalised(Sample(0, text, None, "stop", 9, 2)) == pytest.approx(doubt, nan_ok=True)


def test_without_logprobs_or_gold_it_says_so(tmp_path: Path) -> None:
    with running_pair(weak_logprob=None) as pair:
        run = str(tmp_path / "run")
        demur.sample(write_questions(tmp_path / "p.jsonl"), **pair.names, run=run, n=3)
        plain = write_questions(tmp_path / "q.jsonl", gold=False)
        demur.sample(plain, **pair.names, run=str(tmp_path / "other"), n=3)
    demur.label(run=run, entailment="exact")
    rows = {row.definition: row for row in signals(run=run).rows if row.model == "small"}
    assert rows["rao_blackwell"].why_not == "the endpoint gave no log-probs"
    assert rows["discrete"].auroc is not None
    with pytest.raises(InputError, match="right and wrong cannot be told"):
        signals(run=str(tmp_path / "other"))

"""Which of several models to serve within a budget, believed by the strongest: planted models, and sums by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import demur
from demur.cli.main import app
from demur.errors import InputError
from demur.evaluation.pairs import beliefs, pairs
from demur.meaning.entailment import exact_match
from demur.meaning.meanings import Meanings
from demur.measure.ladder import ladder, ladders
from demur.models.encoders.encoder import LetterEncoder
from demur.records import Sample
from demur.runs import run as opened
from pairs import Pair, running_pair, strong, weak, write_questions

# Four prompts. The cheap model is right on the first two, the middle one on the first three, the dear one on all.
QUALITY = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
USD = np.array([[1.0, 2.0, 10.0]] * 4)


def test_a_budget_is_spent_where_it_buys_most() -> None:
    found = ladder(QUALITY, QUALITY, USD, 1.25, (0, 1))  # a quarter of the prompts may go to the middle one
    assert found.quality == pytest.approx(0.75)
    assert found.usd == pytest.approx(1.25)
    assert found.shares == pytest.approx((0.75, 0.25))
    between = ladder(QUALITY, QUALITY, USD, 1.125, (0, 1))  # half of that
    assert between.quality == pytest.approx(0.625)
    assert between.usd == pytest.approx(1.125)
    assert between.shares == pytest.approx((0.875, 0.125))  # 3/4 and 1/4 of half, all and none of the other half


def test_what_a_budget_leaves_over_is_spent_on_the_next_dearer_choice() -> None:
    """Two models, two prompts that gain 1 and .5 at a cost of 1: the budget pays for one and a half of both."""
    quality, usd = np.array([[0.0, 1.0], [0.0, 0.5]]), np.array([[1.0, 2.0]] * 2)
    found = ladder(quality, quality, usd, 1.75, (0, 1))
    assert (found.quality, found.usd) == pytest.approx((0.5 * 0.75 + 0.5 * 0.5, 1.75))
    assert found.shares == pytest.approx((0.25, 0.75))
    assert ladder(quality, quality, usd, 2.0, (0, 1)).shares == pytest.approx((0.0, 1.0))
    assert ladder(quality, quality, usd, 9.0, (0, 1)).usd == pytest.approx(2.0)


def test_three_models_are_a_pair_and_one_more() -> None:
    found = ladder(QUALITY, QUALITY, USD, (1 + 1 + 2 + 10) / 4, (0, 1, 2))
    assert found.quality == pytest.approx(1.0)
    assert found.shares == pytest.approx((0.5, 0.25, 0.25))
    best = ladders(QUALITY, QUALITY, USD, (1 + 1 + 2 + 10) / 4)
    assert best[0].models == (0, 1, 2)
    assert [one.models for one in best if len(one.models) == 1] == [(1,), (0,)]  # the dear one alone is too dear


def test_a_budget_under_the_cheapest_model_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"\$500\.00 per 1,000 prompts is not enough: the cheapest model costs \$1,000\.00"
    ):
        ladders(QUALITY, QUALITY, USD, 0.5)
    with pytest.raises(InputError, match=r"\$100\.00 per 1,000 prompts is not enough: .* costs \$250\.00"):
        ladders(QUALITY, QUALITY, USD / 4, 0.1)


def test_ladders_have_up_to_three_models_and_equal_ones_stand_by_their_number_and_price() -> None:
    """Four models of rising price, each right on everything: the cheapest alone is first."""
    quality, usd = np.ones((3, 4)), np.array([[4.0, 1.0, 2.0, 3.0]] * 3)
    found = ladders(quality, quality, usd, 9.0)
    assert len(found) == 4 + 6 + 4
    assert [one.models for one in found[:5]] == [(1,), (2,), (3,), (0,), (1, 2)]
    assert (found[0].quality, found[0].low, found[0].high, found[0].usd) == (1.0, 1.0, 1.0, 1.0)
    assert len(ladders(quality, quality, usd, 9.0, largest=2)) == 4 + 6
    assert ladders(quality, quality, usd, 1.0)[0].models == (1,)
    assert {one.models[0] for one in ladders(quality, quality, usd, 1.0)} == {1}


def test_belief_is_the_share_of_pairs_that_mean_the_same() -> None:
    def said(*texts: str) -> list[list[Sample]]:
        return [[Sample(i, text, None, "stop", 1, 1) for i, text in enumerate(texts)]]

    found = beliefs(["q"], [said("a", "b"), said("a", "a"), said("a", "a", "a", "b")], 2, Meanings(exact_match))
    # Of the judge's four answers three are a: half of (a, b) is a -> (3/4 + 1/4) / 2; all of (a, a) -> 3/4; of its own
    # six pairs three mean the same.
    assert found.tolist() == [[pytest.approx(0.5), pytest.approx(0.75), pytest.approx(0.5)]]


@pytest.fixture(autouse=True)
def letters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No encoder is fetched, and each test has a folder of its own."""
    monkeypatch.setattr(opened, "load_encoder", lambda spec, progress: LetterEncoder())
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def two_pairs() -> Iterator[tuple[Pair, Pair]]:
    """Small knows colours alone; middle and large know sums, too."""
    with running_pair() as one, running_pair(None, (weak, strong)) as other:
        yield one, other


def sampled(two_pairs: tuple[Pair, Pair]) -> list[str]:
    one, other = two_pairs
    prompts = write_questions(Path("prompts.jsonl"), gold=False)
    large = one.names["strong"]
    demur.sample(prompts, one.names["weak"], large, run="a", n=3, weak_usd="1/1", strong_usd="50/50")
    middle = f"middle@{other.strong.base_url}"
    demur.sample(prompts, middle, large, run="b", n=3, weak_usd="5/5", strong_usd="50/50")
    for run in ("a", "b"):
        record = Path(run) / "run.json"
        config = json.loads(record.read_text())
        record.write_text(json.dumps(config | {"label": config["label"] | {"entailment": "exact"}}))
    return ["a", "b"]


def test_three_sampled_models_are_ranked_without_labels(two_pairs: tuple[Pair, Pair]) -> None:
    runs = sampled(two_pairs)
    asked = len(two_pairs[0].strong.requests)
    found = pairs(runs, 0.08)
    assert len(two_pairs[0].strong.requests) == asked
    assert found.strongest == "large"
    assert found.prompts == 60
    quality = dict(zip(found.models, (quality for quality, _ in found.alone), strict=True))
    assert quality["middle"] == quality["large"] == 1
    assert quality["small"] == pytest.approx(0.5, abs=0.02)
    assert found.best_pair
    assert [found.models[i] for i in found.best_pair.models] == ["small", "middle"]
    assert found.best_pair.quality > 0.95
    assert found.best_pair.usd <= 0.08 / 1000 + 1e-12
    done = CliRunner().invoke(app, ["pairs", *runs, "--usd-per-1k", "0.08"])
    assert done.exit_code == 0, done.output
    assert "believed by large's samples (no labels used)" in done.output
    assert "small -> middle" in done.output
    assert "next: demur sample prompts.jsonl --weak small@URL --strong middle@URL" in done.output


def test_runs_that_do_not_fit_together_are_refused(two_pairs: tuple[Pair, Pair]) -> None:
    runs = sampled(two_pairs)
    with pytest.raises(
        InputError, match="strongest is 'huge', which is not one of the runs' models: small, large, middle"
    ):
        pairs(runs, 1.0, strongest="huge")
    with pytest.raises(InputError, match="is not enough: the cheapest model costs"):
        pairs(runs, 0.0)
    names = two_pairs[0].names
    demur.sample(Path("prompts.jsonl"), names["weak"], names["strong"], run="c", n=2, weak_usd="1", strong_usd="50")
    with pytest.raises(InputError, match="c was sampled with other settings than a"):
        pairs(["a", "c"], 1.0)

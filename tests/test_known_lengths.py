"""Prompts far longer than the training prompts are ordered by length; within the known lengths nothing changes."""

from __future__ import annotations

import timeit
from pathlib import Path

import numpy as np
import pytest

from demur.methods import BY_NAME
from demur.models.encoders.encoder import LetterEncoder
from demur.routing.known.known_lengths import TOLD_FROM, KnownLengths
from demur.routing.prompt_router import PromptRouter, TrainingPrompt
from demur.routing.train import train_router

SCORES = np.tile([0.25, 0.75], 50)


def test_twice_the_length_of_99_in_100_is_still_known() -> None:
    lengths = KnownLengths.of(["x" * 9] * 100, SCORES)
    assert lengths is not None
    assert lengths.are_known(["x", "x" * 19, "x" * 20]).tolist() == [True, True, False]  # 1 + length: twice 10 is 20


def test_known_lengths_keep_their_scores_and_longer_ones_rise_above_them() -> None:
    """Log-odds of the training scores have mean 0 and spread log 3; log lengths spread at least .1."""
    lengths = KnownLengths.of(["x" * 9] * 100, SCORES)
    assert lengths is not None
    given = np.array([0.9, 0.1, 0.9, 0.1])
    found = lengths.score(given, ["x" * 19, "x" * 19, "x" * 199, "x" * 399])
    assert found[:2].tolist() == [0.9, 0.1]
    own = 0.1 ** (1 / 0.1)  # exp(-log(200 / 20) / .1) of the first long one
    odds = own * np.log(9) + (1 - own) * np.log(3) * np.log(200 / 10) / 0.1
    assert found[2] == pytest.approx(1 / (1 + np.exp(-odds)))
    assert found[3] >= found[2], "the longer one is above, whatever the method says of it"
    assert given.tolist() == [0.9, 0.1, 0.9, 0.1], "what was given stays as it is"


def test_scores_of_nought_and_one_stay_finite() -> None:
    lengths = KnownLengths.of(["x" * 9] * 100, np.tile([0.0, 1.0], 50))
    assert lengths is not None
    assert np.isfinite(lengths.score(np.array([0.0, 1.0]), ["x" * 50, "x" * 10**6])).all()


def test_few_prompts_tell_no_longest() -> None:
    assert KnownLengths.of(["x" * 9] * (TOLD_FROM - 1), SCORES[: TOLD_FROM - 1]) is None


@pytest.fixture(scope="module")
def router() -> PromptRouter:
    """Short questions, those with z harder."""
    words = [f"{'z' if i % 2 else 'a'}{i % 10} what" + " why" * (i % 5) for i in range(200)]
    rows = [TrainingPrompt(word, 0.4 + 0.2 * (i % 2), None, None) for i, word in enumerate(words)]
    return train_router(LetterEncoder(), BY_NAME["kernel"](), rows, weak="small", strong="large")


def test_a_router_orders_long_prompts_by_length_and_says_so(router: PromptRouter, tmp_path: Path) -> None:
    short, long, longer = "a4 what why why why why", "a4 what " * 20, "a4 what " * 60
    assert router.score([short])[0] < router.score([long])[0] < router.score([longer])[0]
    assert router.route(short).familiar
    assert not router.route(long).familiar
    assert "in meaning, length or language" in router.route(long).reason
    router.save(tmp_path)
    assert PromptRouter.load(tmp_path).score([longer])[0] == router.score([longer])[0]


def test_one_prompt_costs_under_a_tenth_of_a_millisecond() -> None:
    lengths = KnownLengths.of(["x" * 9] * 100, SCORES)
    assert lengths is not None
    one = np.array([0.5])
    assert min(timeit.repeat(lambda: lengths.score(one, ["x" * 5000]), number=1, repeat=50)) < 1e-4

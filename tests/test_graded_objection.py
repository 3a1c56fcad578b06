"""Graded prompts object to a candidate: by hand, at the refit, at a canary's end; a run is measured on them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from demur.gateway.ledger.feedback import Feedback, FeedbackVerdict, judged_prompts, keep_feedback
from demur.gateway.settings import GatewaySettings
from demur.labels.preference_files import read_preferences
from demur.learning.promotion import FEWEST_GRADED, objection
from demur.learning.round import Status, learn_round
from demur.learning.trial import watch_canary
from demur.learning.versions import canary, serving_version, versions
from demur.pipeline import evaluate
from demur.testing import FakeEndpoint, fake_endpoint
from test_canary import in_trial
from test_learning import NOW, planted_prompt, settings_of, weak_answer, write_records

# Twenty graded prompts, of which the strong model is needed for the first ten; one router puts these first, from the
# rank 19/19 down to 10/19, the other one puts them last, from 0 up to 9/19: on average 14.5/19 and 4.5/19.
GAINS = np.repeat([1.0, 0.0], 10)
RIGHT = np.arange(20.0)[::-1]
WRONG = np.arange(20.0)


def test_a_candidate_that_orders_graded_prompts_worse_than_the_router_in_force_is_objected_to() -> None:
    said = objection(WRONG, RIGHT, GAINS)
    assert said.startswith("20 graded prompts object: -0.2632 [")  # (4.5 - 14.5) / 19, of half of the prompts
    assert said.endswith("beside the router in force")


def test_a_first_candidate_is_set_beside_random_order() -> None:
    assert objection(WRONG, None, GAINS).startswith("20 graded prompts object: -0.1316 [")  # (4.5 / 19 - 1/2) / 2
    assert objection(RIGHT, None, GAINS) == ""


def test_what_is_not_worse_or_not_beyond_its_interval_is_not_objected_to() -> None:
    assert objection(RIGHT, WRONG, GAINS) == ""
    assert objection(RIGHT, RIGHT, GAINS) == ""
    one = np.eye(20)[0]  # a single better answer was missed: a third of all resamples leave it out
    assert objection(WRONG, RIGHT, one) == ""


def test_fewer_graded_prompts_than_an_interval_needs_do_not_object() -> None:
    assert FEWEST_GRADED == 20
    assert objection(WRONG[1:], RIGHT[1:], GAINS[1:]) == ""


def test_only_clients_verdicts_on_weak_answers_whose_prompts_are_kept_are_read(tmp_path: Path) -> None:
    rows = ({"prompt": "W?"}, {"prompt": "S?", "role": "strong"}, {"prompt": ""}, {"prompt": "A?"}, {"prompt": "G?"})
    ledger = write_records(tmp_path / "ledger.sqlite", *({"role": "weak", **row} for row in rows))
    for i, source in enumerate(("client", "client", "client", "asked again", "client")):
        verdict: FeedbackVerdict = "good" if i == 4 else "bad"
        keep_feedback(ledger, Feedback(f"id{i}", "", NOW, verdict, "asked again" if source != "client" else "client"))
    assert judged_prompts(ledger) == [("W?", "bad"), ("G?", "good")]
    assert judged_prompts(str(tmp_path / "none.sqlite")) == []


def test_a_canary_that_graded_prompts_object_to_is_rolled_back_with_the_reason(tmp_path: Path) -> None:
    settings, folder = in_trial(tmp_path, (1, 500, 2), (2, 60, 0))
    asked: list[int] = []

    def objects(number: int) -> str:
        asked.append(number)
        return "24 graded prompts object"

    assert watch_canary(settings, NOW, NOW + 700, objects) == "version 2 was rolled back: 24 graded prompts object"
    assert (asked, serving_version(folder), canary(folder)) == ([2], 1, None)
    assert versions(folder)[1].why.endswith("24 graded prompts object")


async def learned(settings: GatewaySettings, rounds: int = 3) -> Status:
    for _ in range(rounds):
        status = await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 100)
    return status


@pytest.mark.parametrize("turned", [False, True])
async def test_clients_verdicts_that_contradict_the_samples_keep_a_candidate_out(tmp_path: Path, turned: bool) -> None:
    async with fake_endpoint(weak_answer) as weak, fake_endpoint(lambda prompt, seed: "right") as strong:
        settings = settings_of(tmp_path, weak, strong)
        rows = [{"prompt": planted_prompt(i), "at": NOW + i, "role": "weak"} for i in range(80)]
        ledger = write_records(tmp_path / "ledger.sqlite", *rows)
        for i in range(30):  # every second prompt is hard for the weak model
            hard = bool(i % 2) != turned
            keep_feedback(ledger, Feedback(f"id{i}", "", NOW, "bad" if hard else "good"))
        status = await learned(settings)
    if turned:
        assert status.serving is None, status.said
        assert "30 graded prompts object" in versions(tmp_path / "learn")[0].why
    else:
        assert status.serving == 1, status.said


def with_better_answers(tmp_path: Path, weak: FakeEndpoint, strong: FakeEndpoint) -> GatewaySettings:
    """Prompts, for the first thirty of which a client has given a better answer: what the strong model says."""
    settings = settings_of(tmp_path, weak, strong)
    rows = [{"prompt": planted_prompt(i), "at": NOW + i, "role": "weak"} for i in range(160)]
    ledger = write_records(tmp_path / "ledger.sqlite", *rows)
    for i in range(30):
        keep_feedback(ledger, Feedback(f"id{i}", "", NOW, "bad", better="right"))
    return settings


async def test_prompts_with_better_answers_are_held_out_and_the_run_is_measured_on_them(tmp_path: Path) -> None:
    async with fake_endpoint(weak_answer) as weak, fake_endpoint(lambda prompt, seed: "right") as strong:
        settings = with_better_answers(tmp_path, weak, strong)
        status = await learned(settings, 5)
        assert status.serving is not None, status.said
        folder = tmp_path / "learn"
        graded = {planted_prompt(i) for i in range(30)}
        assert not graded & {row.prompt for row in read_preferences(folder / "preferences.jsonl")}
        found = await asyncio.to_thread(evaluate, run=str(folder), allow_endpoints=[weak.base_url])
    assert found.n_test == 30
    assert np.mean([one.weak_quality for one in found.examples]) == 0.5  # every second one is easy
    assert np.mean([one.strong_quality for one in found.examples]) == 1.0


async def test_a_prompt_that_is_graded_later_trains_no_more(tmp_path: Path) -> None:
    async with fake_endpoint(weak_answer) as weak, fake_endpoint(lambda prompt, seed: "right") as strong:
        settings = settings_of(tmp_path, weak, strong)
        settings = replace(settings, learn=replace(settings.learn, every=20) if settings.learn else None)
        rows = [{"prompt": planted_prompt(i), "at": NOW + i} for i in range(120)]
        ledger = write_records(tmp_path / "ledger.sqlite", *rows[:60])
        await learned(settings)
        keep_feedback(ledger, Feedback("id0", "", NOW, "bad", better="right"))
        later = write_records(tmp_path / "later.sqlite", *rows)
        keep_feedback(later, Feedback("id0", "", NOW, "bad", better="right"))
        await learned(replace(settings, ledger=later), 4)
        trained = {row.prompt for row in read_preferences(tmp_path / "learn" / "preferences.jsonl")}
    assert planted_prompt(0) not in trained
    assert len(trained) > 60

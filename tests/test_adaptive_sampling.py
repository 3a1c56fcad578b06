"""Two samples of every prompt, and up to five of those that these do not settle; nothing is paid for twice."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import demur
from demur.config import load_run
from demur.errors import EndpointError, InputError
from demur.gate.drafts import read_drafts
from demur.labels.beliefs.belief import confirmed_slope, pair_shares
from demur.labels.settled_prompts import is_settled, settled_prompts
from demur.meaning.entailment import exact_match
from demur.meaning.meanings import Meanings
from demur.models.endpoint import Endpoint
from demur.records import Prompt, Sample, SamplingSettings, dollars
from demur.runs.run import open_run
from demur.sampling.cost import PairEstimate
from demur.sampling.rounds import PairSamples
from demur.sampling.sample import UNSETTLED, estimate
from pairs import Pair, running_pair, write_questions

CHILD = "import sys, demur; demur.sample(sys.argv[1], sys.argv[2], sys.argv[3], run=sys.argv[4], concurrency=1)"
COLOURS, SUMS = 6, 6  # of a dozen questions: both models know the colours, and the weak one guesses at the sums


@pytest.fixture
def pair() -> Iterator[Pair]:
    with running_pair() as found:
        yield found


def counts(store: Path) -> dict[tuple[str, int], int]:
    """(model, samples of a prompt) -> prompts."""
    with sqlite3.connect(store) as db:
        rows = db.execute(
            "select model, n, count(*) from (select model, count(*) n from samples group by model, prompt) "
            "group by model, n"
        ).fetchall()
    return {(model.partition("@")[0], n): prompts for model, n, prompts in rows}


def contents(store: Path) -> list[list[tuple[object, ...]]]:
    with sqlite3.connect(store) as db:
        return [sorted(db.execute(f"select * from {table}").fetchall()) for table in ("samples", "settled")]


def choices(pair: Pair) -> int:
    """Answers that both endpoints were asked for."""
    return sum(body["n"] for side in (pair.weak, pair.strong) for body in side.requests)


def test_prompts_that_two_samples_settle_get_no_more(tmp_path: Path, pair: Pair) -> None:
    questions = write_questions(tmp_path / "p.jsonl", COLOURS + SUMS, gold=False)
    bars: dict[str, tuple[int, int]] = {}
    spent = demur.sample(
        questions,
        **pair.names,
        run=str(tmp_path / "run"),
        n="2..5",
        progress=lambda stage, done, total: bars.update({stage: (done, total)}),
    )
    each = 2 * COLOURS + 5 * SUMS
    assert (bars["sampling small"], bars["sampling large"]) == ((each, each), (each, each))  # as the sum says
    found = counts(tmp_path / "run" / "store.sqlite")
    assert found == {(model, n): 6 for model in ("small", "large") for n in (2, 5)}
    assert spent.samples == choices(pair) == 2 * (2 * COLOURS + 5 * SUMS)
    labels = demur.label(run=str(tmp_path / "run"))
    assert sorted(row.n for row in labels.preferences) == [2] * COLOURS + [5] * SUMS
    # What the weak model agrees about is confirmed, so lam is 1/2: where only the strong one is sure, it gains 1/2.
    assert all(row.target == (0.5 if row.n == 2 else 0.75) for row in labels.preferences)


def test_the_bar_ends_full_where_prompts_repeat(tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of a settled prompt are among later prompts, which are asked once the first ones are done."""
    monkeypatch.setattr("demur.sampling.rounds.PROMPTS_AT_ONCE", 4)
    questions, bars = write_questions(tmp_path / "p.jsonl", COLOURS + SUMS, gold=False), dict[str, list[int]]()
    rows = [json.dumps({"prompt": json.loads(line)["prompt"]}) for line in questions.read_text().splitlines()]
    questions.write_text("\n".join(2 * rows))
    demur.sample(
        questions,
        **pair.names,
        run=str(tmp_path / "run"),
        n="2..5",
        progress=lambda stage, done, total: bars.update({stage: [*bars.get(stage, []), total - done]}),
    )
    each = 2 * COLOURS + 5 * SUMS
    assert choices(pair) == 2 * each
    for left in (bars["sampling small"], bars["sampling large"]):
        assert left[-1] == 0
        assert left == sorted(left, reverse=True)  # so that it is never fuller than full


def test_prompts_for_measuring_get_all_samples(tmp_path: Path, pair: Pair) -> None:
    questions = write_questions(tmp_path / "p.jsonl", COLOURS + SUMS)
    demur.sample(questions, **pair.names, run=str(tmp_path / "run"))
    with open_run(load_run(tmp_path / "run")) as run:
        assert run.held_back
        assert all(len(run.samples.weak[one.id]) == len(run.samples.strong[one.id]) == 5 for one in run.held_back)
        settled = [one for one in run.train_prompts if one.id.startswith("colour")]
        assert settled
        assert all(run.samples.count(one) == 2 and run.is_complete(one) for one in settled)


@pytest.mark.parametrize("after", [1, 5, 13, 26, 33])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path: Path, pair: Pair, after: int) -> None:
    """Both endpoints fail after so many requests in all: 24 are of the first round, and 12 of the second."""
    questions = write_questions(tmp_path / "p.jsonl", COLOURS + SUMS, gold=False)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    demur.sample(questions, **pair.names, run=str(whole))
    expected = choices(pair)
    served = 0

    def refuse(body: object) -> tuple[int, str] | None:
        nonlocal served
        served += 1
        return (401, "{}") if served > after else None

    for side in (pair.weak, pair.strong):
        side.requests.clear()
        side.refusal = refuse
    with pytest.raises(EndpointError, match="401"):
        demur.sample(questions, **pair.names, run=str(broken))
    kept = sum(len(rows) for rows in contents(broken / "store.sqlite")[:1])
    for side in (pair.weak, pair.strong):
        side.requests.clear()
        side.refusal = None
    demur.sample(questions, **pair.names, run=str(broken))
    assert contents(broken / "store.sqlite") == contents(whole / "store.sqlite")
    assert choices(pair) == expected - kept  # nothing that was paid for is asked again


@pytest.mark.parametrize("after", [9, 30])
def test_kill_9_in_either_round_loses_nothing_and_changes_nothing(tmp_path: Path, after: int) -> None:
    """The first round takes 24 requests, the second 12; what was under way when the process died is asked again."""
    with running_pair() as pair:
        questions = write_questions(tmp_path / "p.jsonl", COLOURS + SUMS, gold=False)
        whole, broken = tmp_path / "whole", tmp_path / "broken"
        demur.sample(questions, **pair.names, run=str(whole))
        expected = choices(pair)
        sides = (pair.weak, pair.strong)
        for side in sides:
            side.requests.clear()
            side.hang_seconds = 0.05
        names = (pair.names["weak"], pair.names["strong"])
        with subprocess.Popen([sys.executable, "-c", CHILD, str(questions), *names, str(broken)]) as child:
            while sum(len(side.requests) for side in sides) < after and child.poll() is None:
                time.sleep(0.005)
            os.kill(child.pid, signal.SIGKILL)
        kept = len(contents(broken / "store.sqlite")[0])
        for side in sides:
            side.requests.clear()
            side.hang_seconds = 0.0
        demur.sample(questions, **pair.names, run=str(broken))
        assert 0 < kept < expected
        assert choices(pair) == expected - kept
        assert contents(broken / "store.sqlite") == contents(whole / "store.sqlite")


def test_samples_of_a_fixed_number_are_used_by_a_range(tmp_path: Path, pair: Pair) -> None:
    questions, run = write_questions(tmp_path / "p.jsonl", COLOURS + SUMS, gold=False), tmp_path / "run"
    demur.sample(questions, **pair.names, run=str(run), n=3)
    for side in (pair.weak, pair.strong):
        side.requests.clear()
    with pytest.raises(InputError, match=r"sampling\.n 3 \(now '2\.\.5'\)"):
        demur.sample(questions, **pair.names, run=str(run), n="2..5")
    spent = demur.sample(questions, **pair.names, run=str(run), n="2..5", again=True)
    assert choices(pair) == 2 * 2 * SUMS  # the fourth and the fifth of what is not settled
    assert spent.samples == 2 * (2 * COLOURS + 5 * SUMS)  # a settled prompt is measured by its first two
    demur.sample(questions, **pair.names, run=str(run), n=5, again=True)
    for side in (pair.weak, pair.strong):
        side.requests.clear()
    spent = demur.sample(questions, **pair.names, run=str(run), n="2..5", again=True)
    assert choices(pair) == 0
    assert spent.samples == 2 * 5 * (COLOURS + SUMS)  # all are there: all are used


def test_what_is_expected_and_what_it_may_be_at_most_are_said(tmp_path: Path, pair: Pair) -> None:
    questions = write_questions(tmp_path / "p.jsonl", COLOURS + SUMS, gold=False)
    said: list[PairEstimate] = []
    prices = {"weak_usd": "0/100", "strong_usd": "0/1000"}
    for max_usd in (4.0, 2.0):
        given = {**pair.names, **prices, "max_usd": max_usd, "run": str(tmp_path / "run")}
        demur.sample(questions, **given, dry_run=True, announce=said.append)
    assert choices(pair) == 0
    assert not (tmp_path / "run" / "run.json").exists()
    most = 12 * 5 * 64 * 1100 / 1e6
    expected = 12 * (2 + UNSETTLED * 3) * 64 * 1100 / 1e6
    assert said[0].usd == pytest.approx(most)
    assert said[0].expected_usd == pytest.approx(expected)
    answers = f"about {24 * (2 + UNSETTLED * 3):.0f} answers"  # how long they are, nothing tells yet
    assert said[0].sentence == f"to sample 12 prompts, {answers}: at most {dollars(most)}"
    facts = dict(said[0].facts)
    assert facts["answers"] == (
        "so many if 20% of the prompts need few, at most 120; each of up to 64 tokens (--max-tokens)"
    )
    assert facts["expected"].startswith("less where answers end before that length; known after 20 answers ")
    assert said[0].limit.startswith("--max-usd leaves $4.00, enough for the expected cost, not for the largest: ")
    assert said[1].limit.startswith("--max-usd leaves $2.00, less than it may cost: ")


def test_an_estimate_counts_both_rounds_prompts() -> None:
    """Prompts of a token: a settled one costs one prompt more, an open one two at most, one for measuring one."""
    asked = [Prompt("open", "?"), Prompt("known", "!"), Prompt("measured", "."), Prompt("half", ",")]
    have: dict[str, list[Sample]] = {one.id: [] for one in asked}
    have["half"] = [Sample(i, "x", None, "stop", 1, 1) for i in range(2)]
    settings = SamplingSettings("2..5", max_tokens=1, template="")
    endpoint = Endpoint("m", "http://x/v1", usd_per_million_input=1e6, usd_per_million_output=0.0)
    found = estimate(asked, endpoint, settings, have, settled={"known"}, full={"measured"})
    assert (found.prompts, found.missing, found.prompt_tokens) == (4, 5 + 2 + 5 + 3, 2 + 1 + 1 + 1)
    assert found.expected == pytest.approx(2 + 3 * UNSETTLED + 2 + 5 + 3 * UNSETTLED)
    assert found.expected_usd == pytest.approx(1 + UNSETTLED + 1 + 1 + UNSETTLED)


@pytest.mark.parametrize(
    ("n", "kept", "fewest", "most"), [(4, 4, 4, 4), ("4", 4, 4, 4), ("2 .. 5", "2..5", 2, 5), ("3..3", 3, 3, 3)]
)
def test_a_number_or_a_range_is_read(n: int | str, kept: int | str, fewest: int, most: int) -> None:
    found = SamplingSettings(n)
    assert (found.n, found.fewest, found.most) == (kept, fewest, most)
    assert found.key == SamplingSettings(10).key


@pytest.mark.parametrize("n", ["5..2", "two", "2..", "..5", "2...5", "2..5..7"])
def test_a_range_that_is_none_is_an_error(n: str) -> None:
    with pytest.raises(InputError, match=r"give a number of samples such as 10, or FEWEST\.\.MOST such as 2\.\.5"):
        SamplingSettings(n)


def test_one_sample_is_too_few_for_a_range_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"n is 1\.\.5: entropy needs at least two samples"):
        demur.sample(tmp_path / "p.jsonl", "a@http://x/v1", "b@http://x/v1", n="1..5")


@pytest.mark.parametrize(
    ("ids", "settled"),
    [([0, 0, 0, 0], True), ([0, 0, 1, 1], True), ([0, 0, 0, 1], False), ([0, 1, 0, 0], False), ([0, 1, 2, 3], False)],
)
def test_settled_is_where_each_model_agrees_with_itself(ids: list[int], settled: bool) -> None:
    assert is_settled(np.array(ids)) is settled


def test_silence_settles_nothing() -> None:
    prompts = [Prompt("says", "Q"), Prompt("silent", "Q")]
    weak = {"says": [sample(i, "oak") for i in range(5)], "silent": [sample(i, "") for i in range(5)]}
    strong = {one.id: [sample(i, "oak" if i < 2 else "elm") for i in range(5)] for one in prompts}
    found = settled_prompts(prompts, PairSamples(weak, strong), n=2, meanings=Meanings(exact_match))
    assert found == {"says"}


def sample(index: int, text: str) -> Sample:
    return Sample(index, text, (-0.1,), "stop", 1, 1)


def test_a_settled_prompts_drafts_are_its_own_samples_again() -> None:
    two, five = [sample(i, "oak") for i in range(2)], [sample(i, f"tree {i}") for i in range(5)]
    found = read_drafts([np.zeros(2, dtype=int), np.arange(5)], [two, five], 3)
    assert found.orders[0].max() == 1
    assert found.orders[1].tolist() == [[0, 1, 2, 3, 4], [1, 2, 3, 4, 0], [2, 3, 4, 0, 1], [3, 4, 0, 1, 2]]
    assert found.signals.shape[:3] == (4, 2, 4)
    assert (found.signals[3, 0] == found.signals[1, 0]).all()  # further samples are taken to be like these


def test_fewer_samples_leave_shares_of_pairs_as_they_are() -> None:
    """The same prompts by two samples and by five: shares have the same mean, so targets compare."""
    random = np.random.default_rng(0)
    rows = random.random((4000, 10)) < 0.7
    few = [np.concatenate([row[:2], row[5:7]]).astype(int) for row in rows]
    many = [row.astype(int) for row in rows]
    means = [[share.mean() for share in shares_of(joint)] for joint in (few, many)]
    assert means[0] == pytest.approx(means[1], abs=0.02)
    assert means[1] == pytest.approx([0.58] * 3, abs=0.02)  # .7^2 + .3^2


def test_slope_does_not_depend_on_where_sampling_stops() -> None:
    """Two meanings; the weak model gives one with probability p, the strong one with .5 p: WW and SW vary with p."""
    random = np.random.default_rng(3)
    p = random.choice([0.5, 0.75, 0.95], 12000)[:, None]
    strong, weak = random.random((12000, 5)) < 0.5 + (p - 0.5) * 0.6, random.random((12000, 5)) < p
    whole = [np.concatenate(rows).astype(int) for rows in zip(strong, weak, strict=True)]
    stopped = [np.concatenate([ids[:2], ids[5:7]]) if is_settled(ids[[0, 1, 5, 6]]) else ids for ids in whole]
    assert 0.3 < np.mean([len(ids) == 4 for ids in stopped]) < 0.7
    ww, sw = p**2 + (1 - p) ** 2, p * (0.5 + (p - 0.5) * 0.6) + (1 - p) * (0.5 - (p - 0.5) * 0.6)
    expected = np.polyfit(ww[:, 0], sw[:, 0], 1)[0]
    assert confirmed_slope(whole) == pytest.approx(expected, abs=0.03)
    assert confirmed_slope(stopped) == pytest.approx(expected, abs=0.03)


def test_prompts_that_are_all_settled_agree_throughout() -> None:
    joint = [np.array([0, 0, 0, 0]), np.array([0, 0, 1, 1]), np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])]
    # WW 1, 1 and 0; SW 1, 0 and 0: covariance 1/3 - 2/3 1/3 over variance 2/3 - 4/9.
    assert confirmed_slope(joint) == pytest.approx(0.5)


def shares_of(joint: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    found = pair_shares(joint)
    return found.strong, found.weak, found.across

"""Sampling through the store: nothing is lost, nothing is paid for twice, nothing goes over the budget."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from demur.config import ModelConfig
from demur.errors import BudgetError, EndpointError, StoreError
from demur.models.endpoint import Endpoint
from demur.models.local import endpoint_of
from demur.models.prices import usd_paid
from demur.records import ChatRequest, Prompt, Sample, SamplingSettings, key_of
from demur.sampling.budget import Budget
from demur.sampling.cost import PairEndpoints, price_samples
from demur.sampling.sample import estimate, sample_prompts, stored_samples
from demur.store import Store
from demur.store.sqlite import SqliteDatabase

PROMPTS = [Prompt(f"p{i}", f"question {i}") for i in range(6)]
SETTINGS = SamplingSettings(n=3, max_tokens=10)
NOTHING: dict[str, list[Sample]] = {prompt.id: [] for prompt in PROMPTS}
FREE = Endpoint("m", "http://127.0.0.1/v1", concurrency=2, local=True)
PAID = Endpoint("m", "http://x/v1", usd_per_million_input=1e6, usd_per_million_output=1e6)  # a dollar a token


class Counting:
    """Answers, counts, and fails when told to."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.asked: list[tuple[str, tuple[int, ...]]] = []
        self._fail_at = fail_at

    async def sample(
        self, asked: str | ChatRequest, settings: SamplingSettings, indices: Sequence[int]
    ) -> AsyncIterator[list[Sample]]:
        text = key_of(asked)
        self.asked.append((text, tuple(indices)))
        number = len(self.asked)
        await asyncio.sleep(0)
        if number == self._fail_at:
            raise EndpointError("m: gone")
        yield [Sample(i, f"{text} {i}", (-0.5,), "stop", 2, 1, len(indices)) for i in indices]


async def test_a_dead_endpoint_loses_nothing_and_the_next_run_goes_on(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        first, second = Counting(fail_at=4), Counting()
        with pytest.raises(EndpointError, match="gone"):
            await sample_prompts(PROMPTS, first, FREE, SETTINGS, store)
        found = await sample_prompts(PROMPTS, second, FREE, SETTINGS, store)
        asked_again = {text for text, _ in first.asked[:3]} & {text for text, _ in second.asked}
        assert not asked_again
        assert all([s.index for s in samples] == [0, 1, 2] for samples in found.values())
        third = Counting()
        assert await sample_prompts(PROMPTS, third, FREE, SETTINGS, store) == found
        assert not third.asked


class OneByOne(Counting):
    """One request per sample; the money runs out after so many."""

    async def sample(
        self, asked: str | ChatRequest, settings: SamplingSettings, indices: Sequence[int]
    ) -> AsyncIterator[list[Sample]]:
        for index in indices:
            async for samples in super().sample(asked, settings, [index]):
                yield samples


async def test_a_prompt_whose_requests_fail_half_way_keeps_what_was_paid() -> None:
    with Store(":memory:") as store:
        with pytest.raises(EndpointError, match="gone"):
            await sample_prompts(PROMPTS[:1], OneByOne(fail_at=3), FREE, SETTINGS, store)
        assert [s.index for s in store.samples(FREE.name, PROMPTS[0].text, SETTINGS.key)] == [0, 1]
        again = Counting()
        await sample_prompts(PROMPTS[:1], again, FREE, SETTINGS, store)
        assert again.asked == [(PROMPTS[0].text, (2,))]


async def test_equal_prompts_are_asked_and_paid_once() -> None:
    twice = [Prompt("a", "the same"), Prompt("b", "another"), Prompt("c", "the same")]
    with Store(":memory:") as store:
        assert estimate(twice, FREE, SETTINGS, stored_samples(twice, FREE, SETTINGS, store)).missing == 6
        counting = Counting()
        found = await sample_prompts(twice, counting, FREE, SETTINGS, store)
        assert sorted(text for text, _ in counting.asked) == ["another", "the same"]
        assert found["a"] == found["c"] != found["b"]


def test_tokens_that_nobody_counted_cost_an_unknown_sum() -> None:
    uncounted = [Sample(0, "x", None, "stop", 0, 0)]
    assert usd_paid(uncounted, PAID.price) is None
    assert usd_paid(uncounted, FREE.price) == 0.0
    assert usd_paid([], PAID.price) == 0.0


async def test_what_cannot_be_counted_uses_up_the_budget_that_was_set_aside() -> None:
    budget = Budget(40.0)
    reserved = budget.reserve(PROMPTS[0], 3, PAID, SETTINGS)
    budget.settle(reserved, None, PAID)
    assert budget.spent == reserved > 30
    with pytest.raises(BudgetError):
        budget.reserve(PROMPTS[0], 3, PAID, SETTINGS)


async def test_more_samples_ask_only_for_the_missing_ones(tmp_path: Path) -> None:
    with Store(":memory:") as store:
        await sample_prompts(PROMPTS, Counting(), FREE, SETTINGS, store)
        more = Counting()
        await sample_prompts(PROMPTS, more, FREE, replace(SETTINGS, n=5), store)
        assert {indices for _, indices in more.asked} == {(3, 4)}


@pytest.mark.parametrize("changed", [{"temperature": 0.5}, {"system": "Be brief."}, {"max_tokens": 11}])
async def test_changed_settings_never_reuse_old_samples(changed: dict[str, object]) -> None:
    with Store(":memory:") as store:
        await sample_prompts(PROMPTS, Counting(), FREE, SETTINGS, store)
        again = Counting()
        await sample_prompts(PROMPTS, again, FREE, replace(SETTINGS, **changed), store)  # type: ignore[arg-type]
        assert len(again.asked) == len(PROMPTS)
        other = Counting()
        await sample_prompts(PROMPTS, other, replace(FREE, identity="another"), SETTINGS, store)
        assert len(other.asked) == len(PROMPTS)


async def test_the_budget_is_never_passed_even_by_concurrent_requests() -> None:
    with Store(":memory:") as store:
        budget = Budget(80.0)  # one prompt: at most about 3 + 30 dollars, in truth 2 + 3
        endpoint, many = replace(PAID, concurrency=6), [Prompt(f"p{i}", f"question {i}") for i in range(100)]
        with pytest.raises(BudgetError, match=r"the limit is \$80\.00; what was answered is kept"):
            await sample_prompts(many, Counting(), endpoint, SETTINGS, store, budget=budget)
        stored = [s for prompt in many for s in store.samples(endpoint.name, prompt.text, SETTINGS.key)]
        assert 0 < (usd_paid(stored, PAID.price) or 0) <= 80


async def test_an_unknown_price_cannot_keep_a_budget() -> None:
    unknown = Endpoint("nobody-knows-this-model", "https://cloud.example/v1")
    assert unknown.price is None
    with Store(":memory:") as store:
        assert estimate(PROMPTS, unknown, SETTINGS, NOTHING).usd is None
        with pytest.raises(BudgetError, match="the price is unknown"):
            await sample_prompts(PROMPTS, Counting(), unknown, SETTINGS, store, budget=Budget(1.0))


def test_the_length_of_the_answers_so_far_is_expected_of_the_rest() -> None:
    """A dollar a token, three answers wanted of each prompt, of ten tokens at most; those so far have two tokens."""
    prompts = [Prompt(str(i), f"question {i}") for i in range(10)]
    have = {str(i): [Sample(j, "x", None, "stop", 2, 2) for j in range(3 if i < 6 else 2)] for i in range(9)} | {
        "9": []
    }
    found = estimate(
        prompts, PAID, SETTINGS, have
    )  # 24 answers so far: six prompts are done, three lack one, one three
    assert found.observed
    assert found.missing == 3 + 3
    assert found.usd == found.prompt_tokens + 6 * 10
    assert found.expected_usd == found.prompt_tokens + 6 * 2
    assert found.least_usd == found.expected_usd
    few = estimate(prompts, PAID, SETTINGS, {**have, **{str(i): [] for i in range(3)}})  # 15 answers: too few
    assert not few.observed
    assert few.unknown_length
    assert few.expected_usd == few.usd


async def test_the_estimate_is_a_bound_on_what_is_paid() -> None:
    with Store(":memory:") as store:
        expected = estimate(PROMPTS, PAID, SETTINGS, NOTHING)
        found = await sample_prompts(PROMPTS, Counting(), PAID, SETTINGS, store)
        assert expected.usd is not None
        assert usd_paid([s for side in found.values() for s in side], PAID.price) <= expected.usd  # type: ignore[operator]
        assert estimate(PROMPTS, PAID, SETTINGS, found).missing == 0


def test_shared_prompt_tokens_are_paid_once() -> None:
    together = [Sample(i, "x", None, "stop", 100, 1, choices=4) for i in range(4)]
    alone = [replace(s, choices=1) for s in together]
    assert usd_paid(together, PAID.price) == pytest.approx(104)
    assert usd_paid(alone, PAID.price) == pytest.approx(404)


CHILD = """
import asyncio, sys
from demur.config import ModelConfig
from demur.models.endpoint import Endpoint
from demur.records import ChatRequest, Prompt, Sample, SamplingSettings, key_of
from demur.sampling.sample import sample_prompts
from demur.store import Store

class Slow:
    async def sample(self, text, settings, indices):
        await asyncio.sleep(0.002)
        print(text, flush=True)
        yield [Sample(i, text, None, "stop", 1, 1) for i in indices]

def counted(stage, done, total):
    print("counted", done, flush=True)

prompts = [Prompt(str(i), f"question {i}") for i in range(5000)]
with Store(sys.argv[1]) as store:
    endpoint = Endpoint("m", "http://x/v1", local=True)
    asyncio.run(sample_prompts(prompts, Slow(), endpoint, SamplingSettings(n=2), store, progress=counted))
"""


def test_kill_9_loses_nothing_that_was_counted(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    command = [sys.executable, "-c", CHILD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        counted = 0
        for line in child.stdout:
            words = line.split()
            counted = int(words[1]) if words[0] == "counted" and words[1:] else counted
            if counted > 200:
                os.kill(child.pid, signal.SIGKILL)  # what it still says on the way is read to the end
    with Store(path) as store:
        kept = sum(len(store.samples("m@http://x/v1", f"question {i}", SamplingSettings().key)) for i in range(5000))
    assert kept >= counted > 200


def test_stores_that_cannot_be_used_say_what_to_do(tmp_path: Path) -> None:
    newer = tmp_path / "newer.sqlite"
    with sqlite3.connect(newer) as db:
        db.execute("pragma user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="version 99, this demur knows 1; upgrade demur"):
        Store(newer)
    foreign = tmp_path / "foreign.sqlite"
    foreign.write_text("this is no database at all, though it is long enough to look like one")
    with pytest.raises(StoreError, match="is the file a demur store"):
        Store(foreign)


async def test_a_full_disk_is_one_line_and_keeps_what_is_there(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        await sample_prompts(PROMPTS[:1], Counting(), FREE, SETTINGS, store)
        assert isinstance(store._db, SqliteDatabase)
        (pages,) = store._db.connection.execute("pragma page_count").fetchone()
        store._db.connection.execute(f"pragma max_page_count = {pages}")  # SQLite's own way to say: the disk is full
        large = [Sample(9, "x" * 100_000, None, "stop", 1, 1)]
        with pytest.raises(StoreError, match="free some disk space"):
            store.add_samples("m", "p", "s", large)
        assert len(store.samples(FREE.name, PROMPTS[0].text, SETTINGS.key)) == 3


def test_two_processes_can_write_one_store(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Store(path) as one, Store(path) as other:
        for i in range(20):
            store = (one, other)[i % 2]
            store.add_samples("m", f"p{i}", "s", [Sample(0, "x", None, "stop", 1, 1)])
        assert all(one.samples("m", f"p{i}", "s") for i in range(20))


def test_the_sum_counts_equal_prompts_once() -> None:
    twice, answers = [Prompt("a", "same"), Prompt("b", "same")], [Sample(0, "x", None, "stop", 2, 1)]
    side = ModelConfig("m", "http://x/v1", usd_per_million_input=1e6, usd_per_million_output=1e6)
    pair = PairEndpoints(endpoint_of(side), endpoint_of(side))
    side_samples = {"a": answers, "b": answers}
    spent = price_samples(pair, twice, side_samples, side_samples, (), ())
    assert (spent.prompts, spent.samples, spent.usd) == (1, 2, 6.0)

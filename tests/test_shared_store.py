"""Several samplers on one PostgreSQL store: none pays for what another has, whoever is killed or restarted."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from databases import Postgres
from demur.config import ModelConfig, RunConfig
from demur.errors import BudgetError, StoreError
from demur.models.endpoint import Endpoint
from demur.models.local import endpoint_of
from demur.records import Prompt, Sample, SamplingSettings
from demur.sampling import budget, claims
from demur.sampling.cost import PairEndpoints
from demur.sampling.pair import budget_of
from demur.sampling.sample import sample_prompts
from demur.store import Store
from demur.store import postgres as database
from demur.testing import FakeEndpoint, in_a_thread, on_loopback
from pairs import running_pair, write_questions

AT_ONCE, N = 4, 2  # requests of a sampler, answers of each
SAMPLER = """
import asyncio, sys
from demur.models.requests.client import EndpointClient
from demur.models.endpoint import Endpoint
from demur.records import Prompt, SamplingSettings
from demur.sampling.sample import sample_prompts
from demur.store import Store
from demur.store import postgres as database

url, at, count, lease, at_once, n = sys.argv[1:]
database.LEASE_SECONDS, database.RENEW_SECONDS = float(lease), float(lease) / 5
endpoint = Endpoint("m", at, api_key_env="SAMPLER", concurrency=int(at_once))
prompts = [Prompt(str(i), f"question {i}") for i in range(int(count))]

async def work():
    async with EndpointClient(endpoint) as client:
        with Store(url) as store:
            await sample_prompts(prompts, client, endpoint, SamplingSettings(n=int(n)), store)

asyncio.run(work())
"""


@dataclass
class Counted:
    """An endpoint that counts who asked for what; every answer takes a while.

    ``abreast``: until so many prompts were asked for, a sampler that is ahead of the slower of two gets no answer, so
    that what each has done does not depend on which process starts first or is the faster one.
    """

    address: str = ""
    seconds: float = 0.1
    abreast: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)  # sampler, prompt

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        sampler = request.headers["Authorization"].removeprefix("Bearer ")
        self.asked.append((sampler, body["messages"][-1]["content"]))
        await asyncio.sleep(random.uniform(0.5, 1.5) * self.seconds)
        while len(self.asked) < self.abreast and self.is_ahead(sampler):  # noqa: ASYNC110 - the others change it
            await asyncio.sleep(0.005)
        return web.json_response(FakeEndpoint(lambda prompt, seed: f"{prompt} {seed}").completion(body, chat=True))

    def is_ahead(self, sampler: str) -> bool:
        """Whether another sampler has not yet begun, or has asked for so many prompts less as one asks for at once."""
        others = [count for name, count in self.samplers.items() if name != sampler]
        return self.samplers[sampler] > AT_ONCE + min(others, default=0)

    @property
    def calls(self) -> Counter[str]:
        return Counter(prompt for _, prompt in self.asked)

    @property
    def samplers(self) -> Counter[str]:
        return Counter(sampler for sampler, _ in self.asked)


@pytest.fixture
def endpoint() -> Iterator[Counted]:
    found, app = Counted(), web.Application()
    app.router.add_post("/v1/chat/completions", found.answer)
    with in_a_thread(on_loopback(app)) as address:
        found.address = f"{address}/v1"
        yield found


@contextmanager
def samplers(server: Postgres, endpoint: Counted, count: int, lease: float) -> Iterator[Callable[[str], Any]]:
    """Starts samplers by name; they end with the block."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str) -> subprocess.Popen[bytes]:
        given = [server.url, endpoint.address, *map(str, (count, lease, AT_ONCE, N))]
        command, variables = [sys.executable, "-c", SAMPLER, *given], {**os.environ, "SAMPLER": name}
        started.append(subprocess.Popen(command, env=variables))
        return started[-1]

    try:
        yield start
    finally:
        for one in started:
            one.kill()
            one.wait()


def wait_for(condition: Callable[[], bool], *processes: subprocess.Popen[Any]) -> None:
    """Wait until it holds; fails where a process ends before."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        for one in processes:
            assert one.poll() in (None, 0)
        time.sleep(0.005)


def in_this_thread(own: Callable[[float], None]) -> Callable[[float], None]:
    """A sleep of this thread's own: a store of another test may still wait for its server in another one."""
    here, sleep = threading.current_thread(), time.sleep
    return lambda seconds: own(seconds) if threading.current_thread() is here else sleep(seconds)


def is_whole(server: Postgres, endpoint: Counted, count: int) -> bool:
    """Whether every prompt has all its samples, once each."""
    with Store(server.url) as store:
        name = f"m@{endpoint.address}"
        found = store.samples_of(name, [f"question {i}" for i in range(count)], SamplingSettings(n=N).key)
    return all([one.index for one in samples] == [*range(N)] for samples in found.values())


@pytest.mark.slow
def test_two_samplers_share_the_work_and_pay_for_nothing_twice(postgres: Postgres, endpoint: Counted) -> None:
    endpoint.abreast = 150
    with samplers(postgres, endpoint, 150, 60.0) as start:
        both = [start("a"), start("b")]
        wait_for(lambda: all(one.poll() is not None for one in both), *both)
        assert [one.returncode for one in both] == [0, 0]
    assert set(endpoint.calls.values()) == {1}
    assert len(endpoint.calls) == 150
    a, b = endpoint.samplers.values()
    assert abs(a - b) <= 2 * AT_ONCE
    assert is_whole(postgres, endpoint, 150)


@pytest.mark.slow
def test_two_commands_at_once_ask_for_each_answer_once_and_end_with_the_same(
    postgres: Postgres, tmp_path: Path
) -> None:
    """With a second round of what the first did not settle, and prompts that are kept for measuring."""
    prompts = write_questions(tmp_path / "p.jsonl", 60)
    with running_pair() as pair:
        pair.weak.hang_seconds = pair.strong.hang_seconds = 0.1
        given = [str(prompts), "--weak", pair.names["weak"], "--strong", pair.names["strong"], "--store", postgres.url]
        both = [
            subprocess.Popen([sys.executable, "-m", "demur", "sample", *given, "--run", str(tmp_path / name)])
            for name in ("a", "b")
        ]
        assert [one.wait(120) for one in both] == [0, 0]
        asked = Counter(
            (str(body["messages"]), int(body["seed"]) + i)
            for side in (pair.weak, pair.strong)
            for body in side.requests
            for i in range(body["n"])
        )
        made = [json.loads((tmp_path / name / "made.json").read_text())["samples"]["content"] for name in ("a", "b")]
    assert set(asked.values()) == {2}  # of two models
    assert made[0] == made[1]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_is_restarted_in_the_middle_is_waited_for(
    postgres: Postgres, endpoint: Counted, mode: str
) -> None:
    with samplers(postgres, endpoint, 150, 60.0) as start:
        both = [start("a"), start("b")]
        wait_for(lambda: len(endpoint.asked) > 60 and len(endpoint.samplers) == 2, *both)
        postgres.stop(mode)
        before = len(endpoint.asked)
        time.sleep(3.0)
        assert len(endpoint.asked) - before <= 2 * AT_ONCE  # what is claimed already; what cannot be kept is not asked
        postgres.start()
        wait_for(lambda: all(one.poll() is not None for one in both), *both)
        assert [one.returncode for one in both] == [0, 0]
    assert set(endpoint.calls.values()) == {1}
    assert len(endpoint.calls) == 150
    assert is_whole(postgres, endpoint, 150)


@pytest.mark.slow
def test_twenty_killed_samplers_cost_what_they_had_under_way(postgres: Postgres, endpoint: Counted) -> None:
    kills, each = 20, 40  # so many prompts between two kills
    chance, killed = random.Random(7), list[str]()
    with samplers(postgres, endpoint, kills * each, 1.5) as start:
        alive = {name: start(name) for name in ("s0", "s1")}
        for number in range(kills):
            asked = len(endpoint.asked) + chance.randrange(1, each // 2)
            wait_for(lambda asked=asked: len(endpoint.asked) >= asked and {*alive} <= {*endpoint.samplers})  # type: ignore[misc]
            name = chance.choice(sorted(alive))
            alive[name].kill()
            alive.pop(name).wait()
            killed.append(name)
            alive[f"s{number + 2}"] = start(f"s{number + 2}")
        wait_for(lambda: all(one.poll() is not None for one in alive.values()), *alive.values())
        assert [one.returncode for one in alive.values()] == [0, 0]
    extra = endpoint.calls.total() - len(endpoint.calls)
    print(f"{kills} kills: {endpoint.calls.total()} calls for {len(endpoint.calls)} keys, {extra} asked again")
    assert len(endpoint.calls) == kills * each
    assert extra <= kills * AT_ONCE
    again = {prompt for prompt, times in endpoint.calls.items() if times > 1}
    for prompt in again:  # only what a killed sampler had under way
        *before, _ = [sampler for sampler, asked in endpoint.asked if asked == prompt]
        assert {*before} <= {*killed}
    assert is_whole(postgres, endpoint, kills * each)


@pytest.mark.slow
def test_a_server_that_stays_away_ends_sampling_with_one_line_and_the_same_command_goes_on(
    postgres: Postgres, tmp_path: Path
) -> None:
    code = "from demur.store import postgres; postgres.AWAY_SECONDS = 1.0; from demur.cli.main import main; main()"
    with running_pair() as pair:
        pair.weak.hang_seconds = pair.strong.hang_seconds = 0.1
        prompts = write_questions(tmp_path / "p.jsonl", 60)
        given = ["--weak", pair.names["weak"], "--strong", pair.names["strong"], "--run", str(tmp_path / "run")]
        command = [sys.executable, "-c", code, "sample", str(prompts), *given, "-n", "3", "--store", postgres.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
            wait_for(lambda: len(pair.strong.requests) > 10, child)
            postgres.stop()
            said = child.communicate(timeout=60)[1]
        assert child.returncode == 2
        (line,) = [line for line in said.splitlines() if line.startswith("demur: ")]
        assert "is the URL right, and does it run? The same command goes on, what is stored is kept" in line
        assert "Traceback" not in said
        postgres.start()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        asked = Counter(str(one["messages"]) for side in (pair.weak, pair.strong) for one in side.requests)
    assert len(asked) == 60
    assert asked.total() <= 2 * 60 + 2 * AT_ONCE


# -- what a sampler does about the others, in one process --------------------------------------------------------------

SETTINGS = SamplingSettings(n=N, max_tokens=10)
FREE = Endpoint("m", "http://127.0.0.1/v1", concurrency=2, local=True)


class Asked:
    """Answers, and remembers what it was asked."""

    def __init__(self) -> None:
        self.prompts: list[tuple[Any, tuple[int, ...]]] = []

    async def sample(self, asked: Any, settings: SamplingSettings, indices: Any) -> Any:
        self.prompts.append((asked, tuple(indices)))
        yield [Sample(i, f"{asked} {i}", None, "stop", 2, 1) for i in indices]


async def test_what_others_have_kept_since_is_taken_over_and_what_they_do_is_waited_for(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "LOOK_AGAIN_SECONDS", 0.05)
    prompts = [Prompt(str(i), f"question {i}") for i in range(4)]
    key = (FREE.name, SETTINGS.key)

    def samples(text: str, *indices: int) -> tuple[str, str, str, list[Sample]]:
        return key[0], text, key[1], [Sample(i, "theirs", None, "stop", 2, 1) for i in indices]

    with Store(postgres.url) as store, Store(postgres.url) as other:
        other.add_samples(*samples("question 0", 0, 1))  # complete
        other.add_samples(*samples("question 1", 0))  # half
        other.add_refusal(key[0], "question 2", key[1], "filtered")
        assert other.claim(key[0], "question 3", key[1])
        model, seen = Asked(), list[int]()
        sampling = asyncio.create_task(
            sample_prompts(
                *(prompts, model, FREE, SETTINGS, store),
                have={prompt.id: [] for prompt in prompts},  # as it was before the others began
                progress=lambda stage, done, total: seen.append(done),
            )
        )
        await asyncio.sleep(0.5)
        assert not sampling.done()
        assert model.prompts == [("question 1", (1,))]
        other.add_samples(*samples("question 3", 0, 1))
        other.release(key[0], "question 3", key[1])
        found = await sampling
        assert model.prompts == [("question 1", (1,))]
        assert {id: [one.text for one in side] for id, side in found.items()} == {
            "0": ["theirs", "theirs"],
            "1": ["theirs", "question 1 1"],
            "2": [],
            "3": ["theirs", "theirs"],
        }
        assert seen[-1] == 6
        assert all(other.claim(key[0], prompt.text, key[1]) for prompt in prompts)  # nothing is held


async def test_money_that_others_spend_is_counted(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dollar per token of an answer: ten tokens at most for each of two answers."""
    monkeypatch.setattr(budget, "READ_AGAIN_SECONDS", 0.0)
    side = ModelConfig("m", "http://x/v1", usd_per_million_input=0, usd_per_million_output=1e6)
    free = ModelConfig("w", "http://127.0.0.1/v1")
    config = RunConfig("p", free, side, sampling=SETTINGS, max_usd=50.0, store=postgres.url)
    with Store(postgres.url) as store, Store(postgres.url) as other:
        endpoint = endpoint_of(side)
        mine = budget_of(config, PairEndpoints(endpoint_of(free), endpoint), store)
        other.add_samples(endpoint.name, "another", SETTINGS.key, [Sample(0, "x", None, "stop", 1, 35)])
        with pytest.raises(BudgetError, match=r"\$35\.00 spent on this run in all, .* may cost \$20\.00"):
            await sample_prompts([Prompt("p", "p")], Asked(), endpoint, SETTINGS, store, budget=mine)


def test_a_claim_outlives_a_restart_for_as_long_as_its_sampler_may_need(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LEASE_SECONDS", 2.0)
    monkeypatch.setattr(database, "RENEW_SECONDS", 60.0)
    with Store(postgres.url) as one, Store(postgres.url) as other:
        assert one.claim("m", "p", "s")
        postgres.stop()
        time.sleep(2.5)  # it has run out by now
        postgres.start()
        assert not other.claim("m", "p", "s")
        time.sleep(2.5)
        assert other.claim("m", "p", "s")


def test_a_server_that_is_away_is_one_line(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "AWAY_SECONDS", 0.2)
    with Store(postgres.url) as store:
        postgres.stop()
        with pytest.raises(StoreError, match="does it run") as raised:
            store.samples("m", "p", "s")
        assert "\n" not in str(raised.value)
        postgres.start()
        assert store.samples("m", "p", "s") == []


def test_a_worker_that_opens_the_store_while_its_server_is_away_waits_for_it(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store is sent to workers; the process that sends it has reached the server, and a user's own URL is refused."""
    with Store(postgres.url) as store:
        sent = pickle.dumps(store)
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            postgres.start()

    postgres.stop("immediate")
    monkeypatch.setattr(time, "sleep", in_this_thread(sleep))
    with pytest.raises(StoreError, match="does it run"):
        Store(postgres.url)
    assert not waited
    with pickle.loads(sent) as opened:
        assert opened.samples("m", "p", "s") == []
        again = pickle.dumps(opened)
    assert len(waited) == 3
    postgres.stop()
    monkeypatch.setattr(database, "AWAY_SECONDS", 0.0)
    with pytest.raises(StoreError, match="does it run") as raised:
        pickle.loads(again)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("part", ["/postgres?", "user=demur"])
def test_a_worker_whose_server_refuses_it_says_so_at_once(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """As on a node with another password; no moment of waiting would mend it."""
    monkeypatch.setattr(time, "sleep", in_this_thread(lambda seconds: pytest.fail("it waits")))
    with pytest.raises(StoreError, match=r"does not exist; (make it with createdb|name another user)"):
        Store(postgres.url.replace(part, f"{part[:-1]}x{part[-1]}"), reached=True)

"""A client's better answer: kept only with its prompt, erased with it, counted, and a gold answer of learning."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from databases import Postgres
from demur.gateway.ledger.erase import erase_prompts
from demur.gateway.ledger.feedback import Feedback, better_answers, keep_feedback, losses
from demur.gateway.ledger.ledger import Ledger, open_backend
from demur.gateway.settings import LearnSettings
from demur.learning.forget import forget
from demur.learning.round import learn_round
from demur.learning.traffic import SeenPrompt, taken_prompts, write_taken
from demur.prompts.files import read_prompts
from demur.testing import fake_endpoint
from gateways import EASY, RECORD, gateway
from test_learning import NOW, settings_of, weak_answer, write_records
from test_learning_privacy import texts_in

BETTER = "The ferry leaves at nine."


def kept_betters(ledger: str) -> list[str]:
    return [one.better for one in better_answers(ledger)]


async def given(tmp_path: Path, better: str = BETTER, **settings: Any) -> dict[str, Any]:
    """What the gateway says to a better answer that is given as soon as the bad one has come."""
    async with gateway(tmp_path, **settings) as found:
        _, headers, _ = await found.ask(EASY)
        body = {"id": headers["x-demur-decision-id"], "verdict": "bad", "better": better}
        async with found.session.post(f"{found.address}/v1/feedback", json=body) as answer:
            assert answer.status == 200
            said: dict[str, Any] = await answer.json()
    return said


async def test_with_learning_a_better_answer_is_kept_and_counts_as_bad_of_the_model_that_answered(
    tmp_path: Path,
) -> None:
    said = await given(tmp_path, learn=LearnSettings(str(tmp_path / "learn")))
    ledger = str(tmp_path / "ledger.sqlite")
    assert said["better_kept"] is True
    assert [(one.prompt, one.role, one.better) for one in better_answers(ledger)] == [(EASY, "weak", BETTER)]
    assert losses(ledger) == [1.0]


@pytest.mark.parametrize(
    "learn",
    [
        None,  # neither learning nor --record prompts
        LearnSettings(never=("ferry",)),  # in the better answer itself
        LearnSettings(never=(EASY[:5],)),  # in its prompt
    ],
)
async def test_where_the_prompt_or_the_text_may_not_be_kept_only_the_verdict_is(
    tmp_path: Path, learn: LearnSettings | None
) -> None:
    said = await given(tmp_path, learn=learn)
    assert said["better_kept"] is False
    assert losses(str(tmp_path / "ledger.sqlite")) == [1.0]
    assert BETTER.encode() not in texts_in(tmp_path)


async def test_a_long_better_answer_is_read_whole(tmp_path: Path) -> None:
    said = await given(tmp_path, "word " * 10_000, record_prompts=True)
    assert said["better_kept"] is True
    assert kept_betters(str(tmp_path / "ledger.sqlite")) == ["word " * 10_000]


@pytest.mark.parametrize(
    ("verdict", "better"),
    [("good", BETTER), ("bad", ""), ("bad", " "), ("bad", 1), ("bad", None), ("bad", "x" * 2**16)],
)
async def test_a_better_answer_of_a_good_one_or_without_text_is_refused(
    tmp_path: Path, verdict: str, better: object
) -> None:
    body = json.dumps({"id": "0" * 32, "verdict": verdict, "better": better})
    async with gateway(tmp_path) as found, found.session.post(f"{found.address}/v1/feedback", data=body) as answer:
        assert answer.status == 400


def test_only_of_the_clients_own_decisions_and_a_later_verdict_replaces_it(tmp_path: Path) -> None:
    ledger = write_records(tmp_path / "ledger.sqlite", {"prompt": "When?", "key": "anna"})
    assert not keep_feedback(ledger, Feedback("id0", "ben", NOW, "bad", better=BETTER))
    assert not keep_feedback(ledger, Feedback("id7", "anna", NOW, "bad", better=BETTER))
    assert keep_feedback(ledger, Feedback("id0", "anna", NOW, "bad", better=BETTER))
    keep_feedback(ledger, Feedback("id0", "anna", NOW, "bad", "asked again"))  # a sign replaces nothing
    assert kept_betters(ledger) == [BETTER]
    assert not keep_feedback(ledger, Feedback("id0", "anna", NOW, "good"))
    assert kept_betters(ledger) == []


def given_to_both(ledger: str) -> str:
    """A ledger with a prompt of anna's and one of ben's, both with a better answer."""
    with closing(Ledger(open_backend(ledger))) as written:
        for id, key in (("id0", "anna"), ("id1", "ben")):
            written.add(replace(RECORD, id=id, key=key, prompt=f"{id}?"))
    for id, key, text in (("id0", "anna", BETTER), ("id1", "ben", "At ten.")):
        assert keep_feedback(ledger, Feedback(id, key, NOW, "bad", better=text))
    return ledger


def test_erasing_the_prompt_erases_its_better_answer_and_no_other(tmp_path: Path) -> None:
    ledger = given_to_both(str(tmp_path / "ledger.sqlite"))
    assert erase_prompts(ledger, key="anna") == 1
    assert kept_betters(ledger) == ["At ten."]
    assert BETTER.encode() not in texts_in(tmp_path)


def test_postgres_keeps_and_erases_better_answers_alike(postgres: Postgres) -> None:
    ledger = given_to_both(postgres.url)
    assert kept_betters(ledger) == [BETTER, "At ten."]
    assert erase_prompts(ledger, key="anna") == 1
    assert kept_betters(ledger) == ["At ten."]


def test_feedback_of_an_earlier_version_is_kept_on(tmp_path: Path) -> None:
    ledger = write_records(tmp_path / "ledger.sqlite", {"prompt": "When?"})
    with closing(sqlite3.connect(ledger)) as db, db:
        db.execute(
            'create table feedback (id text, "key" text, at double precision, verdict text, '
            'source text, primary key (id, "key"))'
        )
        db.execute("insert into feedback values ('id0', '', 1, 'bad', 'client')")
    assert kept_betters(ledger) == []
    assert losses(ledger) == [1.0]
    assert keep_feedback(ledger, Feedback("id0", "", NOW, "bad", better=BETTER))
    assert kept_betters(ledger) == [BETTER]


async def test_learning_samples_a_graded_prompt_whatever_its_share_and_the_better_answer_is_gold(
    tmp_path: Path,
) -> None:
    async with fake_endpoint(weak_answer) as weak, fake_endpoint(lambda prompt, seed: "right") as strong:
        settings = settings_of(tmp_path, weak, strong)
        settings = replace(settings, learn=replace(settings.learn or LearnSettings(), share_of_traffic=0.01))
        prompts = [{"prompt": f"Which {i}?", "at": NOW + i, "key": "anna"} for i in range(3)]
        ledger = write_records(tmp_path / "ledger.sqlite", *prompts)
        await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 100)
        before = {one.prompt for one in taken_prompts(tmp_path / "learn")}
        keep_feedback(ledger, Feedback("id1", "anna", NOW + 50, "bad", better=BETTER))  # long after it was seen
        status = await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 200)
        file = tmp_path / "learn" / "prompts.jsonl"
        gold = {one.text: one.answers for one in read_prompts(file)}
        assert before == set()
        assert gold == {"Which 1?": (BETTER,)}
        assert (status.seen, status.sampled) == (3, 1)
        forget(str(tmp_path / "learn"), ledger, key="anna")
        assert BETTER.encode() not in texts_in(tmp_path)


@pytest.mark.parametrize("better", ['{"name": "f", "arguments": {}}', "[]", "null", "7", "#### 18", "\ud800", "a|b"])
def test_whatever_a_client_calls_better_can_be_read_again_and_a_served_answer_is_no_gold(
    tmp_path: Path, better: str
) -> None:
    ledger = write_records(tmp_path / "ledger.sqlite", {"prompt": "When?"})
    assert keep_feedback(ledger, Feedback("id0", "", NOW, "bad", better=better))
    (kept,) = kept_betters(ledger)
    rows = [SeenPrompt("a", "When?", NOW, "", "served", kept), SeenPrompt("b", "Who?", NOW, "", "served")]
    write_taken(tmp_path, rows)
    assert taken_prompts(tmp_path) == rows
    assert [bool(one.answers) for one in read_prompts(tmp_path / "prompts.jsonl")] == [True, False]

"""An unknown prompt in the gateway: where it goes, and that header, ledger, metrics and page say so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web

from demur.gateway.ledger.export import bill_page, ledger
from demur.gateway.ledger.read import read_ledger
from demur.labels.beliefs.unknown import GUESSED, NONE_EQUAL, UnknownPrompt
from demur.methods.estimator import unit_rows
from demur.models.encoders.encoder import LetterEncoder
from demur.records import OnUnknown
from demur.routing.known.remembered_prompts import Remembered
from demur.testing import on_loopback
from gateways import EASY, Running, gateway, point

POEM = "qqq qq qqqq?"


def remember(found: Running, where: OnUnknown, reason: str = NONE_EQUAL) -> None:
    """The router remembers a prompt that could not be labelled."""
    router = found.gateway.decider.router
    vectors = unit_rows(np.asarray(LetterEncoder().encode([POEM])))
    known = Remembered((UnknownPrompt("p", POEM, reason),), vectors)
    found.gateway.decider.router = replace(
        router, prompt_router=replace(router.prompt_router, unknown=known, on_unknown=where)
    )


@pytest.mark.parametrize(("where", "model"), [("strong", "large"), ("weak", "small")])
async def test_what_cannot_be_told_goes_where_the_setting_says_and_is_written_down(
    tmp_path: Path, where: OnUnknown, model: str
) -> None:
    async with gateway(tmp_path) as found:
        remember(found, where)
        status, headers, _ = await found.ask(POEM)
        assert (status, headers["x-demur-model"], headers["x-demur-stage"]) == (200, model, "unknown")
        assert "unknown: nearest to a prompt that could not be labelled" in headers["x-demur-reason"]
        _, easy, _ = await found.ask(EASY)
        assert "x-demur-stage" not in easy
        async with found.session.get(f"{found.operator}/metrics") as answer:
            assert "demur_unknown_total 1" in (await answer.text()).replace(".0", "")
    url = str(tmp_path / "ledger.sqlite")
    assert sorted(record.stage for record in read_ledger(url)) == ["prompt", "unknown"]
    assert "1 unknown" in ledger(url).lines[-1]


async def test_where_both_models_guessed_the_score_decides_and_nothing_is_counted_as_unknown(tmp_path: Path) -> None:
    settings: tuple[OnUnknown, ...] = ("strong-unless-guessed", "strong")
    async with gateway(tmp_path) as found:
        for where in settings:
            remember(found, where, GUESSED)
            for threshold, model in (("2", "small"), ("-1", "large")):
                _, headers, _ = await found.ask(POEM, headers={"x-demur-threshold": threshold})
                settled = where == "strong"
                assert headers["x-demur-model"] == ("large" if settled else model)
                assert ("x-demur-stage" in headers) == settled
                said = "both models guessed on prompts like this one; the score decides"
                assert (said in headers["x-demur-reason"]) != settled
        async with found.session.get(f"{found.operator}/metrics") as answer:
            assert "demur_unknown_total 2" in (await answer.text()).replace(".0", "")
    stages = [record.stage for record in read_ledger(str(tmp_path / "ledger.sqlite"))]
    assert sorted(stages) == ["prompt", "prompt", "unknown", "unknown"]


async def test_an_unknown_prompt_that_the_weak_model_answers_in_an_outage_is_seen_everywhere(tmp_path: Path) -> None:
    """Little is known of it and it was for the strong model: header, ledger, its days and the page say who answered."""
    async with gateway(tmp_path, retries=0, sticky=False) as found:
        remember(found, "strong")
        await found.ask(EASY)
        async with on_loopback(web.Application()) as address:
            pass  # nobody listens there any more
        point(found, address.removeprefix("http://"), ("strong",))
        _, headers, _ = await found.ask(POEM)
        assert (headers["x-demur-model"], headers["x-demur-stage"]) == ("small", "unknown")
        assert "such prompts go to the strong model" in headers["x-demur-reason"]
        assert "large: could not be reached, so the weak model answers" in headers["x-demur-reason"]
        async with found.session.get(f"{found.operator}/admin/stats") as answer:
            stats = await answer.json()
        assert stats["fallbacks"] == 0.5
        assert stats["recent"][0]["outcome"] == "fallback"
    url = str(tmp_path / "ledger.sqlite")
    page = bill_page(url, "day")
    assert page.replaced == {page.bills[0].name: 1}
    assert page.replaced_by_weak == 1
    assert "1 by another model than the chosen one" in page.lines[1]
    assert page.lines[-1].startswith("1 of 2 requests was answered by another model than the chosen one, which failed")
    assert "by the weak model in place of a dearer one: 1" in page.lines[-1]
    assert "1 by another model than the chosen one" in ledger(url).lines[-1]


async def test_without_an_outage_no_day_speaks_of_one(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        await found.ask(EASY)
    url = str(tmp_path / "ledger.sqlite")
    assert not any("another model" in line for line in (*bill_page(url, "day").lines, *ledger(url).lines))

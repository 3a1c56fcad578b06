"""A router is bound to the pair that its labels are of: another one that is served is named, unless told otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from demur.gate.gate import Gate, GateStep, GateVerdict
from demur.gate.router import Router
from demur.records import Sample
from demur.routing.recorded_pair import other_pair
from gateways import EASY, HARD, Running, gateway, save_router

RECORD = {"models": {"weak": {"model": "small"}, "strong": {"model": "huge"}}}
NOTE = "another pair than the labels are of (strong large, labelled with huge): the score may not hold"


def test_names_are_compared_with_those_of_the_record() -> None:
    assert other_pair(RECORD, "small", "large") == NOTE
    assert other_pair(RECORD, "small", "huge") == ""
    assert other_pair(RECORD, None, None) == "", "served as recorded"
    assert other_pair({}, "small", "large") == "", "nothing was recorded"


def test_a_local_file_keeps_its_name_in_another_folder() -> None:
    record = {"models": {"weak": {"model": "/here/a.gguf"}}}
    assert other_pair(record, "/there/a.gguf", None) == ""
    assert "weak b, labelled with a" in other_pair(record, "/here/b.gguf", None)


def recorded_router(folder: Path, gate: Gate | None = None) -> Router:
    save_router(folder, gate)
    found = Router.load(folder)
    return replace(found, prompt_router=replace(found.prompt_router, record=RECORD))


def test_the_gates_last_word_says_it_too(tmp_path: Path) -> None:
    step = GateStep(0.0, 1.0, (0.0,) * 6)
    gate = Gate((step,), None, 1.0, GateVerdict(0.0, 0.1, 0.05, 0.15))
    router = recorded_router(tmp_path / "router", gate).serving(weak="small", strong="large")
    first = router.route(EASY)
    last = router.check(first, EASY, [Sample(0, "an answer", None, "stop", 1, 1)])
    assert NOTE in first.reason and NOTE in last.reason


@pytest.mark.parametrize("anyway", [False, True])
async def test_the_gateway_says_it_at_start_and_in_every_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], anyway: bool
) -> None:
    def save(folder: Path, gate: Gate | None = None) -> None:
        recorded_router(folder, gate).save(folder)

    monkeypatch.setattr("gateways.save_router", save)
    async with gateway(tmp_path, pair_changed_anyway=anyway) as found:
        said = capsys.readouterr().err
        reasons = [await reason(found, text) for text in (EASY, HARD)]
    assert (NOTE in said) is not anyway
    assert [NOTE in one for one in reasons] == [not anyway] * 2


async def reason(found: Running, text: str) -> str:
    return (await found.ask(text))[1]["x-demur-reason"]

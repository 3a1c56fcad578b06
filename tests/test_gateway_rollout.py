"""A gateway that ends with notice, and one whose router is replaced behind a link while it serves."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import aiohttp
import pytest

from demur.measure.threshold import Calibration
from demur.routing.artifact import save_calibration
from gateways import EASY, gateway
from test_gateway_processes import ask, configured, fakes, served


async def until(holds: Callable[[], object], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


def swap(link: Path, folder: Path) -> None:
    """As `ln -s FOLDER next && mv -T next LINK` does."""
    made = link.with_name("next")
    made.symlink_to(folder)
    made.replace(link)


async def test_a_router_behind_a_link_is_followed_and_a_broken_one_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    link = tmp_path / "current"
    link.symlink_to(tmp_path / "router")
    async with gateway(tmp_path, router=str(link)) as found:
        held = found.gateway.decider
        assert held.router.threshold == 0.5
        shutil.copytree(tmp_path / "router", tmp_path / "v2")
        save_calibration(tmp_path / "v2", Calibration(0.25, 0.5, 18, "strong share 50%"))
        swap(link, tmp_path / "v2")
        await until(lambda: held.router.threshold == 0.25)
        shutil.copytree(tmp_path / "v2", tmp_path / "v3")
        (tmp_path / "v3" / "router.json").write_text("{")
        swap(link, tmp_path / "v3")
        said = ""

        def refused() -> bool:
            nonlocal said
            said += capfd.readouterr().err
            return "what is new is refused, the old stays" in said

        await until(refused)
        swap(link, tmp_path / "nothing")  # the volume is gone
        said = ""
        await until(refused)
        assert held.router.threshold == 0.25
        assert (await found.ask(EASY))[0] == 200
        swap(link, tmp_path / "router")
        await until(lambda: held.router.threshold == 0.5)


async def test_a_reload_says_of_a_threshold_that_is_not_set_how_it_is_set(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    link = tmp_path / "current"
    link.symlink_to(tmp_path / "router")
    async with gateway(tmp_path, router=str(link)) as found:
        held, said = found.gateway.decider, ""
        for name, calibration in (("set", Calibration(0.25, 0.5, 18, "strong share 50%")), ("trained", None)):
            shutil.copytree(tmp_path / "router", tmp_path / name)
            written = json.loads((tmp_path / name / "router.json").read_text())
            written["calibration"] = asdict(calibration) if calibration else None
            (tmp_path / name / "router.json").write_text(json.dumps(written))
            before, said = held.router, ""
            swap(link, tmp_path / name)

            def reloaded() -> bool:
                nonlocal said
                said += capfd.readouterr().err
                return held.router is not before and "reloaded" in said  # noqa: B023  # awaited in this turn

            await until(reloaded)
            assert ("demur calibrate" in said) is (calibration is None)


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--workers", "2"]])
async def test_after_sigterm_requests_are_served_while_the_health_check_says_that_it_ends(
    tmp_path: Path, more: list[str]
) -> None:
    async with fakes() as (weak, strong):
        command = await asyncio.to_thread(configured, tmp_path, weak, strong, ledger="", notice_seconds=2.0)
        async with served([*command, *more]) as (child, address), aiohttp.ClientSession() as session:
            child.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.5)
            for path, status in (("/health", 503), ("/health/ready", 503)):
                async with session.get(address + path) as answer:
                    assert answer.status == status
            body = {"model": "demur", "messages": [{"role": "user", "content": EASY}]}
            async with session.post(f"{address}/v1/chat/completions", json=body) as answer:
                assert (answer.status, answer.headers["Connection"]) == (200, "close")
            assert await asyncio.wait_for(child.wait(), 20) == 0
            with pytest.raises(aiohttp.ClientConnectionError):
                await ask(session, address, EASY)

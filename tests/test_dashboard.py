"""The dashboard in a real browser: it fills, it follows the keyboard, it loads nothing from elsewhere, light and
dark.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from conftest import missing, needed
from demur.gate.gate import Gate, GateStep, GateVerdict
from demur.records import dollars
from gateways import EASY, HARD, gateway

pytestmark = pytest.mark.slow
CELLS = "rows => rows.map(row => [...row.cells].map(cell => cell.innerText))"
BORDERS = "all => all.filter(one => one.style.borderStyle).map(one => getComputedStyle(one).borderTopStyle)"
# How many pixels of a canvas have the strong model's colour, of the light page.
INKED = """at => { const c = document.querySelector(at);
  const all = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
  let n = 0; for (let i = 0; i < all.length; i += 4) n += all[i] === 179 && all[i + 1] === 71 && all[i + 2] === 0;
  return n; }"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_shows_what_happens(tmp_path: Path, scheme: str) -> None:
    playwright = needed("playwright.async_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        missing("chromium (apt-get install chromium)")
    gate = Gate((GateStep(0.0, 0.0, (0.5, 0.0, 0.0, 0.0, 0.0, 0.0)),), None, 0.25, GateVerdict(0.1, 0.1, 0.05, 0.15))
    expect = playwright.expect
    async with gateway(tmp_path, gate=gate) as found, playwright.async_playwright() as driver:
        for i in range(60):
            await found.ask([EASY, HARD, f"az {'z' * (i % 7)} {'a' * (i % 5)}?"][i % 3], stream=i == 1)
            if i == 50:
                found.weak.failures += [web.Response(status=500), web.Response(status=500)]
        await found.ask(EASY, model="gpt-9")
        browser = await driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = await browser.new_page(color_scheme=scheme, viewport={"width": 1060, "height": 1180})
        asked: list[str] = []
        faults: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        await page.goto(found.operator)
        await expect(page.locator("#requests")).to_have_text("61")
        assert await page.locator("#recent tr").count() == 25
        amounts = [0, 3e-05, 0.000412, 0.0704, 0.104, 0.9996, 1.5, 2.499, 1234.5, -0.02]
        assert await page.evaluate("all => all.map(money)", amounts) == [dollars(usd) for usd in amounts]
        assert await page.locator("figure canvas").count() == 6
        for label in await page.locator("figure [role=img]").evaluate_all("all => all.map(one => one.ariaLabel)"):
            assert ":" in label, label  # what a chart shows, in words
        await expect(page.locator("#usd small")).to_contain_text("of it estimated: 1 answer came without usage")
        await page.select_option("#model", "large")
        await expect(page.locator("#share")).to_have_text("100.0 %")
        assert await page.locator("#recent td.weak").count() == 0
        await page.select_option("#model", "*")
        await page.check("input[value=week]")
        await expect(page.locator("#told")).to_contain_text("an hour")
        assert await page.inner_text("#requests") == "61"  # the same requests, whichever period holds them
        met = {row[0]: row[1] for row in await page.locator("#latency tr").evaluate_all(CELLS)}
        assert met["total"] == "61"
        assert 0 < int(met["gate"]) < 61  # of the answers that were checked alone
        spent, saved = await page.locator("#chart_money .u-marker").evaluate_all(BORDERS)
        assert (spent, saved) == ("dashed", "solid")  # as the lines are drawn
        assert "In fact the strong model answered" in await page.inner_text("#whatif")
        assert "weak answer" in await page.inner_text("#recent")
        before = await page.inner_text("#whatif")
        await page.locator("#threshold").focus()
        for _ in range(40):
            await page.keyboard.press("ArrowLeft")
        assert await page.inner_text("#whatif") != before
        await page.keyboard.press("Home")
        assert "100.0 %" in await page.inner_text("#whatif")
        box = await page.locator("#histogram").bounding_box()
        await page.mouse.move(box["x"] + 5, box["y"] + 20)
        await page.mouse.down()
        await page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 20)
        shown = await page.inner_text("#whatif")  # the line was dragged to the right end
        assert ", 1.7 % of the 60 requests" in shown  # but for one, which the weak model failed
        await page.mouse.up()
        await page.locator("#threshold").evaluate("e => { e.value = 0.5; e.dispatchEvent(new Event('input')) }")
        await asyncio.sleep(0.1)
        for width in (1060, 800, 400):  # nothing but the wide table may be scrolled sideways
            await page.set_viewport_size({"width": width, "height": 900})
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
        await page.locator("#recent a").first.click()
        assert "Training prompts like it" in await page.inner_text("main")
        await browser.close()
    assert not faults
    assert all(url.startswith(found.operator) or url.endswith("/favicon.ico") for url in asked)


async def test_the_page_waits_for_its_figures_and_says_where_there_are_none(tmp_path: Path) -> None:
    """No figure before the gateway answers; then that nothing was routed; then, once, what the rows have in common."""
    playwright = needed("playwright.async_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        missing("chromium (apt-get install chromium)")
    expect, late = playwright.expect, asyncio.Event()

    async def answer_late(route: Any) -> None:
        await late.wait()
        await route.continue_()

    async with gateway(tmp_path) as found, playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = await browser.new_page()
        await page.route("**/admin/stats", answer_late)
        await page.goto(found.operator)
        assert [await page.inner_text(f"#{name}") for name in ("requests", "usd", "whatif")] == ["…", "…", "…"]
        late.set()
        await expect(page.locator("#whatif")).to_have_text("No request was routed in the last hour.")
        await expect(page.locator("#requests")).to_have_text("0")
        for text in (EASY, HARD):
            await found.ask(text)
        await page.reload()
        await expect(page.locator("#recent tr")).to_have_count(2)
        assert await page.evaluate(INKED, "#chart_share canvas") > 30  # one minute has requests: a dot of nine pixels
        shared = await page.inner_text("#in_common")
        assert shared.startswith("Each score is compared with the threshold of 0.5000 (")
        reasons = [row[-1] for row in await page.locator("#recent tr").evaluate_all(CELLS)]
        assert all(re.match(r"score 0\.\d+ (<|>=) threshold 0\.500; unlike", reason) for reason in reasons), reasons
        assert len(set(reasons)) == 2
        await page.evaluate(
            "points => showCurve(points)", [[43, 0.053, -0.003, 0.107, False], [108, 0.042, 0.013, 0.071, True]]
        )
        assert await page.inner_text("#curve_words") == (
            "2 routers were learned, 1 promoted. The newest, from 108 prompts, is believed to give 4.2 right answers "
            "more per 100 prompts than choosing at random (95 % interval 1.3 to 7.1)."
        )
        # Four of ten stay strong, for $0.40; of the others three go by their score to either model, which would cost
        # $0.001 each at the weak one.
        await page.evaluate(
            """() => { Object.assign(stats, { routed: 10, strong_share: 0.7, unknown: 3, priced: true,
              settled: { requests: 4, strong: 4, usd: 0.4 }, scores: [[0.2, 3, 3, 0.003, 0.3], [0.7, 3, 0, 0, 0.3]] });
              const slider = $("threshold"); [slider.min, slider.max, slider.value] = [0, 1, 0.9];
              touched = true; draw() }"""
        )
        assert await page.inner_text("#whatif") == (
            "At 0.900, 40.0 % of the 10 requests that this service has routed in the last hour would have gone to the "
            "strong model, for about $0.406. In fact the strong model answered 70.0 % of them. Whatever the threshold, "
            "4 keep their model: 3 unknown prompts, which go by the setting `unknown`; 1 by a threshold of the "
            "client's own, a conversation, a failure, or what a model or a budget cannot do."
        )
        assert await page.evaluate(INKED, "#curve_chart canvas") > 40  # the promoted one
        await browser.close()

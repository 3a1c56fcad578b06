"""Pictures of the report and the dashboard in docs/, from a real run: light, dark and narrow, in few colours.

    demur demo && python benchmarks/screenshots.py run/demo

Needs playwright and chromium (apt-get install chromium).
"""

from __future__ import annotations

import argparse
import asyncio
import io
import shutil
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.async_api import async_playwright

from shown_pages import shown_pages

DOCS = Path(__file__).parents[1] / "docs"
COLOURS = 24
VIEWS = {"light": ("light", 1200), "dark": ("dark", 1200), "narrow": ("light", 400)}  # colour scheme, CSS pixels
HEIGHTS = {"report": {1200: 1330, 400: 1000}, "dashboard": {1200: 1160, 400: 1000}}  # of the page's top, by width


async def main() -> None:
    """Take every picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run, such as run/demo")
    parser.add_argument("--out", type=Path, default=DOCS)
    given = parser.parse_args()
    async with shown_pages(given.run) as pages, async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, url in (("report", pages.report), ("dashboard", pages.dashboard)):
            for view in VIEWS:
                scheme, width = VIEWS[view]
                shot = await picture(browser, url, scheme, width, HEIGHTS[name][width])
                write_small(shot, given.out / f"{name}-{view}.png")
        await browser.close()


async def picture(browser: Any, url: str, scheme: str, width: int, height: int) -> bytes:
    """A page's top as PNG; the dashboard is shown over a day."""
    page = await browser.new_page(color_scheme=scheme, viewport={"width": width, "height": height})
    await page.goto(url)
    day = page.locator("input[value=day]")
    if await day.count():
        await day.check(force=True)
        await page.locator("#told").filter(has_text="15 minutes").wait_for()
        await page.wait_for_timeout(500)
    shot: bytes = await page.screenshot()
    await page.close()
    return shot


def write_small(png: bytes, path: Path) -> None:
    """Write a picture in few colours, which leaves text sharp: exactly those of large areas, and those of lines."""
    whole = Image.open(io.BytesIO(png)).convert("RGB")
    few = whole.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1024:.0f} kB")


if __name__ == "__main__":
    asyncio.run(main())

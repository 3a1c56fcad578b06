"""Pictures of the report and the dashboard in docs/, from a real run: light, dark and narrow, in 128 colours.

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
COLOURS = 128
# name -> colour scheme, width and height in CSS pixels of what is shown of the page's top
VIEWS = {"light": ("light", 1200, 1160), "dark": ("dark", 1200, 1160), "narrow": ("light", 400, 1000)}


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
                write_small(await picture(browser, url, *VIEWS[view]), given.out / f"{name}-{view}.png")
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
    """Write a picture in few colours, which leaves text sharp."""
    Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1024:.0f} kB")


if __name__ == "__main__":
    asyncio.run(main())

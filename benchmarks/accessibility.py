"""Checks the report, the dashboard and a decision's page with axe-core, in light and dark, wide and narrow.

    demur demo && python benchmarks/accessibility.py run/demo

It prints every violation and ends with 1 where one is serious or critical. axe-core comes from npm into a folder of its
own under demur's cache; playwright and chromium (apt-get install chromium) are needed.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from playwright.async_api import async_playwright

from demur.models.catalogue import cache_folder
from environment import describe
from shown_pages import shown_pages

AXE = "axe-core@4.14.1"
SERIOUS = ("serious", "critical")
WIDTHS = (1200, 800, 400)
PLANTED = "data:text/html,<title>x</title><img src=x><p style='color:%23ccc'>pale"  # faults that axe has to find


def axe_script() -> Path:
    """axe-core's script, fetched on first use."""
    folder = cache_folder().parent / "benchmarks" / AXE.replace("@", "-")
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not script.is_file():
        install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)]
        subprocess.run([*install, AXE], check=True)
    return script


async def violations(browser: Any, url: str, scheme: str, width: int, script: Path) -> list[dict[str, Any]]:
    """What axe finds on a page whose folded parts are open."""
    context = await browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=True, reduced_motion="reduce"
    )
    page = await context.new_page()
    await page.goto(url)
    if url.startswith("http") and "/decisions/" not in url:
        await page.wait_for_selector("canvas")  # the dashboard has its figures
        await page.wait_for_timeout(500)
    await page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    await page.add_script_tag(path=str(script))
    found = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    await context.close()
    return list(found["violations"])


async def main() -> int:
    """Check every page; returns the number of serious violations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run, such as run/demo")
    given, script, serious = parser.parse_args(), axe_script(), 0
    print(f"{describe()}; {AXE}")
    async with shown_pages(given.run) as pages, async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        planted = {one["id"] for one in await violations(browser, PLANTED, "light", 800, script)}
        if not {"image-alt", "color-contrast"} <= planted:
            raise SystemExit(f"axe does not find planted faults, only {sorted(planted)}")
        for name, url in (("report", pages.report), ("dashboard", pages.dashboard), ("decision", pages.decision)):
            for scheme in ("light", "dark"):
                for width in WIDTHS:
                    found = await violations(browser, url, scheme, width, script)
                    serious += sum(one["impact"] in SERIOUS for one in found)
                    print(f"{name}, {scheme}, {width} px: {len(found)} violations")
                    for one in found:
                        first = one["nodes"][0]
                        where = f"{len(one['nodes'])} places, first {first['html'][:160]}"
                        print(f"  {one['impact']}: {one['id']}: {one['help']}; {where}")
                        print(f"    {' '.join(first.get('failureSummary', '').split())[:300]}")
        await browser.close()
    print(f"{serious} serious or critical")
    return serious


if __name__ == "__main__":
    sys.exit(1 if asyncio.run(main()) else 0)

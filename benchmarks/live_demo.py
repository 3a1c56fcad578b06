"""Learning from traffic on the demo's two local models: from always-strong to a router that was learned, and serves.

`make live` runs it: a gateway without a router is asked the questions of `live_questions`, `demur learn` works beside
it, and what it says is printed as it changes: candidates that are not told from random yet, one that is, its trial on
half of the questions, its promotion. Then other questions are asked again, and who answers is shown. Clients send plain
completions of a template with examples, since the small model keeps answers short only then, and the learner samples
as they ask. With ``--recorded`` endpoints that say what the two models said of other questions (`samples/local_pair`)
stand in their place. With ``--picture`` the dashboard is kept as a picture.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from demur.testing import Answerer, fake_endpoint, in_a_thread
from environment import describe, shared_rows
from live_questions import questions

PORT = 8341
TEMPLATE = """Question: What is the capital of Italy?
Answer: Rome
Question: How many legs do three dogs have?
Answer: 12
Question: What is the opposite of black?
Answer: white
Question: {prompt}
Answer:"""
SETTINGS = f"""
port = {PORT}
[learn]
samples = 2
every = 40
every_seconds = 15.0
max_tokens = 12
chat = false
template = {json.dumps(TEMPLATE)}
stop = ["\\n"]
canary = 0.5
canary_requests = 10
canary_seconds = 10.0
"""
RECORDED = {"weak": "smollm2-135m-instruct", "strong": "qwen2.5-coder-1.5b-instruct"}  # as the rows name them
REPLAYED = 600  # questions
ASKED_LAST = 20  # questions that are asked again at the end
AHEAD = 60  # questions asked beyond those that the learner has seen; a trial needs questions that are still to be asked


def recorded_rows() -> list[Mapping[str, Any]]:
    """Some questions that both models were asked, in any order; a header cannot hold those that are not in ASCII."""
    rows = [row for row in shared_rows("samples/local_pair") if row["question"].isascii()]
    return random.Random(0).sample(rows, REPLAYED)


@contextmanager
def recorded_models(rows: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    """Endpoints that say what both models said; yields the options that name them."""

    def said(name: str) -> Answerer:
        known = {row["question"]: row["models"][name]["samples"] for row in rows}

        def answer(prompt: str, seed: int) -> str:
            samples = known[prompt.rpartition("Question: ")[2].removesuffix("\nAnswer:")]
            return str(samples[seed % len(samples)]["text"])

        return answer

    @asynccontextmanager
    async def serve() -> AsyncIterator[list[str]]:
        async with (
            fake_endpoint(said(RECORDED["weak"]), logprob=None) as weak,
            fake_endpoint(said(RECORDED["strong"]), logprob=None) as strong,
        ):
            names = {role: name.removesuffix("-instruct") for role, name in RECORDED.items()}
            ends = {"weak": weak, "strong": strong}
            yield [part for role, end in ends.items() for part in (f"--{role}", f"{names[role]}@{end.base_url}")]

    with in_a_thread(serve()) as found:
        yield found


@contextmanager
def learning_gateway(folder: Path, models: Sequence[str]) -> Iterator[None]:
    """`demur serve --learn` with these ``models``, for as long as the block lasts."""
    (folder / "demur.toml").write_text(SETTINGS, encoding="utf-8")
    command = [sys.executable, "-m", "demur", "serve", *models, "--learn", "--config", "demur.toml"]
    with (folder / "log.txt").open("w") as log:
        served = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=os.environ | {"NO_COLOR": "1"})
        try:
            yield
        finally:
            served.terminate()
            served.wait(timeout=60)


def ask(question: str) -> tuple[str, str]:
    """The model that answered, and its answer."""
    body = {"model": "demur", "prompt": TEMPLATE.replace("{prompt}", question), "max_tokens": 12, "stop": ["\n"]}
    found = fetch(f"http://127.0.0.1:{PORT}/v1/completions", json.dumps(body).encode(), {"x-demur-text": question})
    return found["model"], " ".join(found["choices"][0]["text"].split())


def fetch(url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"} | (headers or {}))
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)


def wait_for_gateway(seconds: float) -> None:
    until = time.monotonic() + seconds
    while True:
        try:
            fetch(f"http://127.0.0.1:{PORT}/health")
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(1)


class Traffic(threading.Thread):
    """Questions, one after another, in step with what the learner has seen, until it is told to stop."""

    def __init__(self, asked: Sequence[str]) -> None:
        super().__init__(daemon=True)
        self.asked, self.ended = asked, threading.Event()
        self.models: list[str] = []
        self.seen = 0  # prompts, as the learner says

    def run(self) -> None:
        """Ask them."""
        for question in self.asked:
            while len(self.models) > self.seen + AHEAD and not self.ended.is_set():
                self.ended.wait(1.0)
            if self.ended.is_set():
                return
            self.models.append(ask(question)[0])


def follow(traffic: Traffic, until: float) -> str:
    """Print what learning says as it changes, until a learned router serves or time is up; returns the last of it."""
    said = ""
    while time.monotonic() < until:
        now = fetch(f"http://127.0.0.1:{PORT + 1000}/admin/stats")["learning"]
        if now != said:
            print(f"  learning: {now}", flush=True)
            said = now
            traffic.seen = int(found.group()) if (found := re.match(r"\d+(?= prompts seen)", now)) else 0
        if "serves;" in said and "no router" not in said:
            break
        time.sleep(2)
    return said


async def take_picture(file: Path) -> None:
    """The dashboard's learning curve as a picture."""
    from playwright.async_api import async_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 900, "height": 900})
        await page.goto(f"http://127.0.0.1:{PORT + 1000}/")
        await page.wait_for_selector("#curve_chart canvas")
        await page.wait_for_timeout(3000)
        for section in ("over_time", "filters"):
            await page.evaluate(f"document.getElementById('{section}').style.display = 'none'")
        box = await page.locator("#curve").bounding_box()
        height = box["y"] + box["height"] + 8 if box else 600
        await page.screenshot(path=file, clip={"x": 0, "y": 0, "width": 900, "height": height})
        await browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="after which it ends in any case")
    parser.add_argument("--picture", type=Path, help="file for a picture of the dashboard")
    parser.add_argument("--recorded", action="store_true", help="what the models said before, in place of the models")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *given: sys.exit(1))  # so that the gateway ends with it
    print(describe(), flush=True)
    begun, every = time.monotonic(), questions()
    rows = recorded_rows() if options.recorded else []
    every = [row["question"] for row in rows] or every
    with (
        recorded_models(rows) if rows else nullcontext(["--demo"]) as models,
        tempfile.TemporaryDirectory() as folder,
        learning_gateway(Path(folder), models),
    ):
        wait_for_gateway(300)
        traffic = Traffic(every[:-ASKED_LAST])
        traffic.start()
        said = follow(traffic, begun + options.seconds)
        traffic.ended.set()
        traffic.join()
        print(f"{len(traffic.models)} questions asked; who answered them: {dict(Counter(traffic.models))}", flush=True)
        print(f"{time.monotonic() - begun:.0f} s until here; {ASKED_LAST} other questions:")
        time.sleep(3)  # the gateway looks for a promoted router every second
        for question in every[-ASKED_LAST:]:
            model, answer = ask(question)
            print(f"  {model}: {question} {answer}")
        if options.picture:
            asyncio.run(take_picture(options.picture))
        versions = subprocess.run(
            [sys.executable, "-m", "demur", "routers", "--quiet"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        print(versions.stdout.rstrip())
        print(f"{time.monotonic() - begun:.0f} s in all; {said}")


if __name__ == "__main__":
    main()

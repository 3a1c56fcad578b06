"""Learning from traffic on the demo's two local models: from always-strong to a router that was learned, and served.

`make live` runs it: a gateway without a router is asked the questions that come with demur, `demur learn` works beside
it, and what it says is printed as it changes. At the end a few questions are asked again, and who answers is shown.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from environment import describe

PORT = 8341
SYSTEM = "Answer with the shortest possible answer, without a sentence."
SETTINGS = f"""
port = {PORT}
[learn]
every = 25
every_seconds = 5.0
max_tokens = 16
system = "{SYSTEM}"
"""
ASKED_AGAIN = ("In which country is the city of Venice?", "What is 17 times 23?", "Who wrote The Brothers Karamazov?")


@contextmanager
def learning_gateway(folder: Path) -> Iterator[None]:
    """`demur serve --demo --learn`, for as long as the block lasts."""
    (folder / "demur.toml").write_text(SETTINGS, encoding="utf-8")
    command = [sys.executable, "-m", "demur", "serve", "--demo", "--learn", "--config", "demur.toml"]
    with (folder / "log.txt").open("w") as log:
        served = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=os.environ | {"NO_COLOR": "1"})
        try:
            yield
        finally:
            served.terminate()
            served.wait(timeout=60)


def ask(question: str) -> tuple[str, str]:
    """The model that answered, and its answer."""
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
    body = {"model": "demur", "messages": messages, "max_tokens": 16, "temperature": 0}
    found = fetch(f"http://127.0.0.1:{PORT}/v1/chat/completions", json.dumps(body).encode())
    return found["model"], " ".join(found["choices"][0]["message"]["content"].split())


def fetch(url: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
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


def follow(until: float) -> str:
    """Print what learning says as it changes, until a learned router serves or time is up; returns the last of it."""
    said = ""
    while time.monotonic() < until:
        now = fetch(f"http://127.0.0.1:{PORT + 1000}/admin/stats")["learning"]
        if now != said:
            print(f"  learning: {now}", flush=True)
            said = now
        if "serves;" in said and "no router" not in said:
            break
        time.sleep(2)
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="after which it ends in any case")
    options = parser.parse_args()
    print(describe(), flush=True)
    begun = time.monotonic()
    lines = (files("demur") / "data" / "demo_questions.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line)["prompt"] for line in lines]
    with tempfile.TemporaryDirectory() as folder, learning_gateway(Path(folder)):
        wait_for_gateway(300)
        models = [ask(question)[0] for question in questions]
        print(f"{len(questions)} questions asked; who answered them: {sorted(set(models))}", flush=True)
        said = follow(begun + options.seconds)
        time.sleep(3)  # the gateway looks for a promoted router every second
        for question in ASKED_AGAIN:
            model, answer = ask(question)
            print(f"  {question} -> {model}: {answer}")
        print(f"{time.monotonic() - begun:.0f} s in all; {said}")


if __name__ == "__main__":
    main()

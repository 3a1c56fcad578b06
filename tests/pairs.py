"""A planted pair of models behind loopback endpoints, in a thread of their own, for tests of whole runs.

The weak model knows colours and guesses at sums; the strong one knows both. A right router tells sums from colours.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demur.testing import Answerer as Answerer
from demur.testing import FakeEndpoint, fake_endpoint, in_a_thread

THINGS = ("sky", "grass", "blood", "snow", "coal", "gold", "rose", "sea", "leaf", "sun", "ash", "plum")


def questions(count: int = 60, gold: bool = True) -> list[dict[str, object]]:
    """Half sums, half colours, with gold answers."""
    rows: list[dict[str, object]] = []
    for i in range(count // 2):
        rows.append({"id": f"sum-{i}", "prompt": f"What is {i + 11} plus {2 * i + 7}?", "answers": [str(3 * i + 18)]})
        thing = f"{THINGS[i % len(THINGS)]} in picture {i}"
        rows.append(
            {"id": f"colour-{i}", "prompt": f"Which colour has the {thing}?", "answers": [f"colour of {thing}"]}
        )
    return rows if gold else [{key: row[key] for key in ("id", "prompt")} for row in rows]


def strong(prompt: str, seed: int) -> str:
    """Always right, as a judge too."""
    if prompt.startswith("You are an evaluator"):
        lines = prompt.splitlines()
        right = strong(next(line for line in lines if line.startswith("Question: ")).removeprefix("Question: "), seed)
        said = [line.partition(" Response: ") for line in lines if " Response: " in line]
        return " and ".join(name for name, _, answer in said if answer == right)
    if "plus" in prompt:
        return str(sum(int(word.strip("?")) for word in prompt.split() if word.strip("?").isdigit()))
    return "colour of " + prompt.partition("has the ")[2].rstrip("?")


def weak(prompt: str, seed: int) -> str:
    """Right about colours, a guess about sums; asked about its answer, it knows which."""
    if "Possible answer:" in prompt:
        return "B" if "plus" in prompt else "A"
    if "How likely" in prompt:
        return "10" if "plus" in prompt else "95 percent"
    return str(random.Random(seed).randrange(1000)) if "plus" in prompt else strong(prompt, seed)


def honest(answer: str) -> float:
    """Log-prob of each of the weak model's tokens: a guess is one of a thousand numbers."""
    return -6.9 if answer.isdigit() else -0.01


@dataclass(frozen=True, slots=True)
class Pair:
    """Two endpoints that run."""

    weak: FakeEndpoint
    strong: FakeEndpoint

    @property
    def names(self) -> dict[str, Any]:
        """As `demur sample` takes them."""
        return {"weak": f"small@{self.weak.base_url}", "strong": f"large@{self.strong.base_url}"}


@contextmanager
def running_pair(
    weak_logprob: float | Callable[[str], float] | None = honest, answers: tuple[Answerer, Answerer] = (weak, strong)
) -> Iterator[Pair]:
    """Serve the pair as long as the block runs."""

    @asynccontextmanager
    async def serve() -> AsyncIterator[Pair]:
        async with fake_endpoint(answers[0], logprob=weak_logprob) as a, fake_endpoint(answers[1]) as b:
            yield Pair(a, b)

    with in_a_thread(serve()) as found:
        yield found


def write_questions(path: Path, count: int = 60, gold: bool = True) -> Path:
    """The questions as a prompt file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in questions(count, gold)), encoding="utf-8")
    return path

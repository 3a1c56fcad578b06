"""Do conversations hold? Two workers, every request on a connection of its own, histories as clients change them.

A router that takes letters z for hard stands in front of two fake models; the strong one has gpt-4o's prices, so that
a new ask may return to the weak one. Counted are requests that another model answers than the one that the ask began
with.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from demur.methods import SimilarityWeighted
from demur.models.encoders.encoder import load_encoder
from demur.routing.prompt_router import TrainingPrompt
from demur.routing.train import train_router
from demur.testing import FakeEndpoint, fake_endpoint, on_loopback
from environment import describe, on_one_thread

STEPS, CONVERSATIONS, NAMED = 200, 100, 40
HARD, EASY = "zzz zz zzzz", "aaa aa aaaa"
WORDS = ("zzz", "aaa", "zaz zz", "aza aa", "zz z", "a aa a")
Message = dict[str, Any]


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def model(text: str) -> Message:
    return {"role": "assistant", "content": text}


def step(name: str) -> list[Message]:
    """A call and its result, as chat completions have them."""
    call = {
        "id": f"call_{blake2b(name.encode(), digest_size=12).hexdigest()}",
        "type": "function",
        "function": {"name": "run", "arguments": "{}"},
    }
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "7"},
    ]


def block_step(name: str) -> list[Message]:
    """The same in Anthropic's Messages."""
    call = f"toolu_{blake2b(name.encode(), digest_size=12).hexdigest()}"
    return [
        {"role": "assistant", "content": [{"type": "tool_use", "id": call, "name": "run", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call, "content": "7"}]},
    ]


def text_step(name: str) -> list[Message]:
    """The same of a text agent."""
    return [model(f"Thought: go on.\nAction: run\nAction Input: {name}"), user(f"Observation: zzz {name}")]


class Client:
    """Asks a gateway, on a new connection each time."""

    def __init__(self, address: str) -> None:
        self.address = address

    async def ask(self, messages: Sequence[Message], path: str = "chat/completions", **more: Any) -> str:
        """The role of the model that answers."""
        headers = more.pop("headers", {})
        body = {"model": "demur", "messages": list(messages), "max_tokens": 50, **more}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.address}/v1/{path}", json=body, headers=headers) as answer,
        ):
            await answer.read()
            found = answer.headers.get("x-demur-model", f"status {answer.status}")
        return {"small": "weak", "large": "strong"}.get(found, found)


async def session(client: Client, kind: str, ask: str) -> int:
    """Changes of the model in an agent session of `STEPS` steps: the clock goes, every 10th step the old results are
    cleared, every 25th the history is summed up and the last two steps stay."""
    steps = {"chat": step, "messages": block_step, "text agent": text_step}[kind]
    history: list[Message] = [user(f"{ask} in session {kind}?")]
    began, changes = "", 0
    for number in range(STEPS):
        clock = f"You are an agent. It is {number // 60:02d}:{number % 60:02d}."
        if kind == "messages":
            identity = {"user_id": f"user_1_account__session_{ask[:3]}-{kind}"}
            found = await client.ask(history, "messages", system=clock, metadata=identity)
        else:
            found = await client.ask([{"role": "system", "content": clock}, *history])
        began = began or found
        changes += found != began
        history += steps(f"{ask} {number}")
        if number % 10 == 9:
            history = [one | {"content": "cleared"} if one["role"] == "tool" else one for one in history]
        if number % 25 == 24:
            kept = history[:1] if kind == "text agent" else []  # it has no calls to be known by
            history = [*kept, user(f"Summary of the conversation so far: {number + 1} steps."), *history[-4:]]
    return changes


def clock(history: list[Message]) -> list[Message]:
    return [{"role": "system", "content": "It is 12:34:56."}, *history]


def window(history: list[Message]) -> list[Message]:
    return history[-3:]


def summary(history: list[Message]) -> list[Message]:
    return [user("Summary of the conversation so far: they met."), model("Understood."), *history[2:]]


def cleared(history: list[Message]) -> list[Message]:
    return [one | {"content": "[cleared]"} if one["role"] == "tool" else one for one in history]


def regenerated(history: list[Message]) -> list[Message]:
    return history[: max(i for i, one in enumerate(history) if one["role"] == "user") + 1]


def reminded(history: list[Message]) -> list[Message]:
    last = max(i for i, one in enumerate(history) if one["role"] == "user")
    text = f"{history[last]['content']}\n<system-reminder>The list is empty.</system-reminder>"
    return [one | {"content": text} if i == last else one for i, one in enumerate(history)]


CHANGES: dict[str, Callable[[list[Message]], list[Message]]] = {
    "a clock in the system prompt": clock,
    "a window of three messages": window,
    "a summary of what was before": summary,
    "cleared results of tools": cleared,
    "a regenerated answer": regenerated,
    "a reminder that comes and goes": reminded,
}


async def flips(client: Client, name: str, number: int) -> tuple[int, int]:
    """(inside an ask, at a new one) requests of a conversation that go from the strong model to the weak one.

    After a greeting an ask is forced to the strong model. The same ask goes on in a changed history, at a threshold
    that would send it to the weak model; then an easy ask follows.
    """
    change = CHANGES[name]
    opening = [user(f"{EASY} {name} {number}"), model(f"Hello {number}.")]
    hard = [*opening, user(f"{HARD} {name} {number}?")]
    assert await client.ask(hard, headers={"x-demur-route": "strong"}) == "strong"
    result = [] if name in ("a regenerated answer", "a window of three messages") else step(f"{name} {number}")
    again = await client.ask(change([*hard, *result]), model="demur@9")  # by its score it would go to the weak model
    then = [*hard, *result, model("Done."), user(f"{EASY} and then {number}?")]
    new = await client.ask(change(then))
    return int(again != "strong"), int(new != "strong")


async def lost(client: Client) -> int:
    """Named conversations that leave the strong model on their second turn, on another connection."""
    names = [{"x-demur-conversation": f"c{i}"} for i in range(NAMED)]
    for headers in names:
        assert await client.ask([user(f"{HARD}?")], headers=headers) == "strong"
    return sum([await client.ask([user(f"{HARD}?")], headers=one, model="demur@9") != "strong" for one in names])


def save_router(folder: Path, embeddings: str) -> None:
    rows = [TrainingPrompt(f"{w} {w}?", float(w.count("z") > w.count("a")), 1.0, 0.0) for w in WORDS * 3]
    encoder = load_encoder(f"embedder@{embeddings}")
    train_router(encoder, SimilarityWeighted(gamma=1e4), rows, weak="small", strong="large").save(folder)


@asynccontextmanager
async def models() -> AsyncIterator[str]:
    """The base URL of a model that answers chat completions and Messages."""
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "input_tokens": 9, "output_tokens": 1}

    async def chat(request: web.Request) -> web.Response:
        choice = {"index": 0, "message": model("Yes."), "finish_reason": "stop"}
        return web.json_response({"object": "chat.completion", "choices": [choice], "usage": usage})

    async def messages(request: web.Request) -> web.Response:
        content = [{"type": "text", "text": "Yes."}]
        return web.json_response({"type": "message", "role": "assistant", "content": content, "usage": usage})

    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_post("/v1/messages", messages)
    async with on_loopback(app) as address:
        yield f"{address}/v1"


@asynccontextmanager
async def served(folder: Path, encoder: FakeEndpoint, url: str) -> AsyncIterator[Client]:
    """A gateway of two workers."""
    await asyncio.to_thread(save_router, folder / "router", encoder.base_url)
    prices = "usd_per_million_input = 2.5\nusd_per_million_output = 10.0\nusd_per_million_cached = 1.25"
    (folder / "gateway.toml").write_text(
        f'ledger = "{folder}/ledger.sqlite"\ncontext_characters = 0\n'
        f'[weak]\nmodel = "small"\nbase_url = "{url}"\nspeaks = ["chat", "messages"]\n'
        f'[strong]\nmodel = "large"\nbase_url = "{url}"\nspeaks = ["chat", "messages"]\n{prices}\n'
    )
    command = [sys.executable, "-m", "demur.cli.main", "serve", str(folder / "router"), "--port", "0", "--workers", "2"]
    child = await asyncio.create_subprocess_exec(
        *command, "--config", str(folder / "gateway.toml"), "--anyway", stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    try:
        line = (await asyncio.wait_for(child.stdout.readline(), 60)).decode()
        yield Client(next(word for word in line.split() if word.startswith("http")).removesuffix("/v1"))
    finally:
        child.terminate()
        await child.wait()


async def measure() -> None:
    with tempfile.TemporaryDirectory() as name:
        async with (
            fake_endpoint(lambda prompt, seed: "") as encoder,
            models() as url,
            served(Path(name), encoder, url) as client,
        ):
            for kind in ("chat", "messages", "text agent"):
                for ask in (HARD, EASY):
                    changes = await session(client, kind, ask)
                    print(f"session of {STEPS} steps, {kind}, '{ask}': {changes} changes of its model", flush=True)
            print(f"\nof {CONVERSATIONS} conversations each, strong -> weak:")
            for change in CHANGES:
                found = [await flips(client, change, number) for number in range(CONVERSATIONS)]
                inside, new = (sum(side) for side in zip(*found, strict=True))
                print(f"  {change:<32} {inside:>3} inside an ask, {new:>3} at a new one", flush=True)
            print(f"\nnamed by x-demur-conversation, two workers: {await lost(client)} of {NAMED} lost")


def main() -> None:
    on_one_thread()
    print(describe())
    asyncio.run(measure())


if __name__ == "__main__":
    main()

"""Three `demur serve` behind a real HAProxy, with fake models, for tests."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from typing import Any

import aiohttp

from conftest import missing
from demur.testing import FakeEndpoint
from gateways import EASY
from test_gateway_processes import Address, configured, fakes, served

README = Path(__file__).parents[1] / "README.md"
RECIPE = Path(__file__).parents[1] / "deploy" / "compose" / "haproxy.cfg"


@dataclass
class Asked:
    """One request of the load: when it was under way, and its status; 0: no answer."""

    started: float
    ended: float = 0.0
    status: int = 0


@dataclass
class Replicated:
    """The service, its replicas, their two models and a client."""

    address: str
    replicas: list[tuple[asyncio.subprocess.Process, Address]]
    weak: FakeEndpoint
    strong: FakeEndpoint
    session: aiohttp.ClientSession
    asked: list[Asked] = field(default_factory=list)

    async def ask(
        self, *said: str, address: str = "", key: str = "", **more: Any
    ) -> tuple[int, dict[str, str], dict[str, Any]]:
        """(status, headers, body) of a conversation in which a person and a model take turns."""
        roles = ("user", "assistant")
        messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(said)]
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        url = f"{address or self.address}/v1/chat/completions"
        body = {"model": "demur", "messages": messages, **more}
        async with self.session.post(url, json=body, headers=headers) as answer:
            return answer.status, dict(answer.headers), await answer.json(content_type=None)

    @asynccontextmanager
    async def load(self, clients: int = 12) -> AsyncIterator[None]:
        """Clients that ask one request after the other, as long as the block runs; at its end all are answered."""
        ending = asyncio.Event()

        async def client(number: int) -> None:
            while not ending.is_set():
                one = Asked(time.monotonic())
                self.asked.append(one)
                try:
                    one.status, _, _ = await self.ask(f"{EASY} {number} {len(self.asked)}")
                except (aiohttp.ClientError, ValueError):
                    one.status = 0
                one.ended = time.monotonic()

        running = [asyncio.create_task(client(i)) for i in range(clients)]
        try:
            yield
        finally:
            ending.set()
            await asyncio.gather(*running)


def readme_command() -> list[str]:
    """What the README's section on growing says of replicas."""
    section = README.read_text(encoding="utf-8").partition("\n## Growing\n")[2].partition("\n## ")[0]
    (line,) = (line for line in section.splitlines() if line.startswith("demur ") and "# replicas" in line)
    return [sys.executable, "-m", "demur.cli.main", *shlex.split(line, comments=True)[1:]]


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@asynccontextmanager
async def haproxy(folder: Path, addresses: list[str]) -> AsyncIterator[str]:
    """The recipe for three replicas, as it is but for its addresses."""
    command = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")  # Debian's folder of daemons
    if command is None:
        missing("haproxy")
    port, text = free_port(), RECIPE.read_text(encoding="utf-8")
    for i, address in enumerate(addresses):
        text = text.replace(f"demur-{i + 1}:8111", address.removeprefix("http://"))
    text = re.sub(r"bind :80\b", f"bind 127.0.0.1:{port}", text)
    (folder / "haproxy.cfg").write_text(text)
    child = await asyncio.create_subprocess_exec(
        *(command or "haproxy", "-db", "-f", str(folder / "haproxy.cfg")),
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        for _ in range(200):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            except OSError:
                await asyncio.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        if child.returncode is None:
            child.terminate()
        await child.wait()


@asynccontextmanager
async def replicated(
    folder: Path, *, prepare: Callable[[], object] = lambda: None, **settings: object
) -> AsyncIterator[Replicated]:
    """Three replicas, started at once as the README shows, after ``prepare`` has changed the folder's files."""
    async with AsyncExitStack() as stack:
        weak, strong = await stack.enter_async_context(fakes())
        await asyncio.to_thread(configured, folder, weak, strong, **settings)
        (folder / "run").mkdir()
        (folder / "router").rename(folder / "run" / "router")
        prepare()
        starting = [served([*readme_command(), "--port", "0"], folder) for _ in range(3)]
        replicas = list(await asyncio.gather(*(one.__aenter__() for one in starting)))
        for one in starting:
            stack.push_async_exit(one.__aexit__)
        address = await stack.enter_async_context(haproxy(folder, [str(address) for _, address in replicas]))
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=20))
        )
        yield Replicated(address, replicas, weak, strong, session)

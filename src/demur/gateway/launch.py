"""Runs a coding agent against a gateway, started for it where none runs, and says at its end what was paid and saved.

What differs between agents is one row each of `CLIENTS`: its command, and how it is told where to ask.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from demur.errors import InputError
from demur.gateway.clients.keys import key_command
from demur.gateway.ledger.totals.bills import bills
from demur.gateway.server import running
from demur.gateway.settings import USUAL_KEYS, GatewaySettings, read_settings
from demur.records import dollars

KEY_VARIABLE = "DEMUR_KEY"  # holds the client's key, where the gateway asks for one
NO_KEY = "none"  # what clients send that insist on a key
ASK_SECONDS = 2.0
COMMIT_SECONDS = 1.5  # until a gateway that goes on has written its last records to the ledger


@dataclass(frozen=True, slots=True)
class Client:
    """A coding agent; ``{address}`` and ``{key}`` in its values stand for the gateway's."""

    command: str
    install: str
    variables: Mapping[str, str]
    arguments: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()  # variables that would send it elsewhere


CLIENTS = {
    "claude": Client(
        "claude",
        "npm install -g @anthropic-ai/claude-code",
        {
            "ANTHROPIC_BASE_URL": "{address}",
            "ANTHROPIC_AUTH_TOKEN": "{key}",
            **{
                f"ANTHROPIC_{name}MODEL": "demur"
                for name in ("", "DEFAULT_OPUS_", "DEFAULT_SONNET_", "DEFAULT_HAIKU_", "SMALL_FAST_")
            },
        },
        unset=("ANTHROPIC_API_KEY",),
    ),
    "codex": Client(
        "codex",
        "npm install -g @openai/codex",
        {KEY_VARIABLE: "{key}"},
        (
            *("-c", "model=demur", "-c", "model_provider=demur"),
            *("-c", "model_providers.demur.name=demur"),
            *("-c", "model_providers.demur.base_url={address}/v1"),
            *("-c", f"model_providers.demur.env_key={KEY_VARIABLE}"),
            *("-c", "model_providers.demur.wire_api=responses"),
        ),
    ),
    "aider": Client(
        "aider",
        "pip install aider-chat",
        {"OPENAI_API_BASE": "{address}/v1", "OPENAI_API_KEY": "{key}"},
        ("--model", "openai/demur"),
    ),
}


@dataclass(frozen=True, slots=True)
class Launched:
    """The end of an agent's run."""

    status: int  # that it ended with
    lines: tuple[str, ...] = field(default=())  # what was paid and saved


def launch(
    name: str, arguments: Sequence[str] = (), *, router: str | None = None, config: str | None = None, **given: Any
) -> Launched:
    """Run one of `CLIENTS` with these arguments. ``config`` is a file of `GatewaySettings`, which the others override.

    A gateway that answers at the settings' address is used; else one is started on a free port, and ends with the
    client. Raises InputError, and what `demur.gateway.server.serve` raises.
    """
    if name not in CLIENTS:
        raise InputError(f"{name!r} cannot be launched; known: {', '.join(CLIENTS)}")
    client = CLIENTS[name]
    command = shutil.which(client.command)
    if command is None:
        raise InputError(f"{client.command} is not on the PATH; {client.install}")
    settings = read_settings(config, router=router, **given)
    return asyncio.run(_launch(client, command, arguments, settings))


async def _launch(client: Client, command: str, arguments: Sequence[str], settings: GatewaySettings) -> Launched:
    started = time.time()
    key = os.environ.get(KEY_VARIABLE, "")
    async with _address(settings) as (address, own):
        await asyncio.to_thread(check_admitted, address, key, settings.keys)
        said = {"address": address, "key": key or NO_KEY}
        variables = {name: value.format(**said) for name, value in client.variables.items()}
        kept = {name: value for name, value in os.environ.items() if name not in client.unset}
        told = [one.format(**said) for one in client.arguments]
        child = await asyncio.create_subprocess_exec(command, *told, *arguments, env=kept | variables)
        status = await _wait(child)
        if not own:
            await asyncio.sleep(COMMIT_SECONDS)
    return Launched(status, spent_lines(settings.ledger, started, own=own))


@asynccontextmanager
async def _address(settings: GatewaySettings) -> AsyncIterator[tuple[str, bool]]:
    """The address of a gateway, and whether it was started here."""
    if settings.port and await asyncio.to_thread(is_gateway, settings.host, settings.port):
        yield f"http://{settings.host}:{settings.port}", False
        return
    async with running(replace(settings, port=0)) as (_, address, _operator):
        yield address, True


async def _wait(child: asyncio.subprocess.Process) -> int:
    """The child's status; Ctrl-C is the child's own, and a request to end is passed on."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # the terminal sends it to both
    loop.add_signal_handler(signal.SIGTERM, child.terminate)
    try:
        return await child.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def is_gateway(host: str, port: int) -> bool:
    """Whether a gateway of demur answers at an address."""
    return _get(host, port, "/health", "") == (200, "demur")


def check_admitted(address: str, key: str, keys: str = "") -> None:
    """Raise InputError where a gateway does not admit this key; ``keys``: its file of keys, empty: not known."""
    host, _, port = address.removeprefix("http://").rpartition(":")
    found = _get(host, int(port), "/v1/models", key)
    if found and found[0] == 401:
        add = key_command("add NAME", keys or USUAL_KEYS)
        raise InputError(f"{address} asks for a client key: make one with `{add}` and put it in {KEY_VARIABLE}")


def _get(host: str, port: int, path: str, key: str) -> tuple[int, str] | None:
    """Status and server of an answer; None without one."""
    connection = http.client.HTTPConnection(host, port, timeout=ASK_SECONDS)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"} if key else {})
        answer = connection.getresponse()
        return answer.status, answer.getheader("Server", "")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def spent_lines(ledger: str, started: float, *, own: bool) -> tuple[str, ...]:
    """What the requests since a time were answered by, and what they cost and saved; raises StoreError."""
    if not ledger:
        return ("nothing is known of what was paid: the settings name no ledger",)
    whole = bills(ledger, since=started)[0]
    by_model = [one for one in bills(ledger, by="model", since=started) if one.name]
    counts = [f"{one.requests:,} by {one.name} ({dollars(one.usd)})" for one in by_model]
    others = "" if own else ", with those of the gateway's other clients"
    return (f"answered: {', '.join(counts) or 'nothing'}{others}", whole.sentence)

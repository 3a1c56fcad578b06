"""`demur launch`: a coding agent finds its gateway, and its end says what was paid and saved."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from apis import speaking
from demur.errors import InputError
from demur.gateway.clients.keys import new_key
from demur.gateway.launch import CLIENTS, check_admitted, is_gateway, launch
from gateways import Running, gateway, save_router

# A client that asks one hard and one easy question as its namesake would, prints the answers, and ends with 3.
CLIENT = """#!{python}
import json, os, sys, urllib.request
def ask(path, body, key):
    headers = {{"Content-Type": "application/json", "Authorization": "Bearer " + key}}
    sent = urllib.request.Request(path, json.dumps(body).encode(), headers)
    print(json.load(urllib.request.urlopen(sent))["model"])
given = dict(zip(sys.argv[1:], sys.argv[2:]))
for text in ("zzz zz zzzz?", "aaa aa aaaa?"):
    message = [{{"role": "user", "content": text}}]
    if "ANTHROPIC_BASE_URL" in os.environ:
        asked = {{"model": os.environ["ANTHROPIC_MODEL"], "max_tokens": 9, "messages": message}}
        ask(os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages", asked, os.environ["ANTHROPIC_AUTH_TOKEN"])
    elif "-c" in given:
        told = dict(one.split("=", 1) for one in sys.argv if "=" in one)
        url = told["model_providers.demur.base_url"] + "/" + told["model_providers.demur.wire_api"]
        asked = {{"model": told["model"], "input": message}}
        ask(url, asked, os.environ[told["model_providers.demur.env_key"]])
    else:
        asked = {{"model": given["--model"].removeprefix("openai/"), "messages": message}}
        ask(os.environ["OPENAI_API_BASE"] + "/chat/completions", asked, os.environ["OPENAI_API_KEY"])
print("told", sys.argv[-1], "ANTHROPIC_API_KEY" in os.environ)
sys.exit(3)
"""


def install(folder: Path, name: str) -> str:
    """A PATH on which the client is."""
    folder.mkdir(exist_ok=True)
    script = folder / name
    script.write_text(CLIENT.format(python=sys.executable))
    script.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


async def run(folder: Path, name: str, config: Path, **variables: str) -> tuple[int, list[str], str]:
    """(status, lines, standard error) of `demur launch`."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "demur", "launch", name, "--config", str(config), "--anyway", "--", "--flag", "last"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PATH": install(folder / "bin", name), "ANTHROPIC_API_KEY": "theirs"} | variables,
    )
    said, wrong = await asyncio.wait_for(child.communicate(), 60)
    return child.returncode or 0, said.decode().splitlines(), wrong.decode()


def settings_of(found: Running, folder: Path, *, port: int, ledger: str) -> Path:
    sides = "\n".join(
        f'[{role}]\nmodel = "{side.endpoint.model}"\nbase_url = "{side.endpoint.base_url}"\n'
        f"usd_per_million_input = {price}\nusd_per_million_output = {price}"
        for (role, side), price in zip(found.gateway.upstreams.items(), (0, 1000), strict=True)
    )
    file = folder / "gateway.toml"
    file.write_text(f'router = "{folder}/router"\nport = {port}\nledger = "{folder}/{ledger}"\n{sides}\n')
    return file


@pytest.mark.parametrize("name", CLIENTS)
async def test_a_client_is_told_where_to_ask_and_what_it_cost(tmp_path: Path, name: str) -> None:
    """11 and 3 tokens at $1,000 a million: $0.014 for the hard question, as much saved by the easy one."""
    async with gateway(tmp_path) as found, speaking(found):
        config = settings_of(found, tmp_path, port=0, ledger="own.sqlite")
        status, lines, wrong = await run(tmp_path, name, config)
    assert status == 3
    assert lines == ["large", "small", f"told last {name != 'claude'}"]
    assert "answered: 1 by large ($0.014" in wrong
    assert "1 by small ($0)" in wrong
    assert "$0.014 saved" in wrong


async def test_a_gateway_that_runs_is_used_and_goes_on(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found, speaking(found) as heard:
        port = int(found.address.rpartition(":")[2])
        config = settings_of(found, tmp_path, port=port, ledger="ledger.sqlite")
        status, lines, wrong = await run(tmp_path, "claude", config)
        assert (status, lines[:2], len(heard)) == (3, ["large", "small"], 2)
        assert "with those of the gateway's other clients" in wrong
        assert len(found.gateway.metrics.recent) == 2
        assert await asyncio.to_thread(is_gateway, "127.0.0.1", port)


async def test_a_gateway_with_keys_says_where_the_key_belongs(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    secret = new_key(keys, "ann")
    async with gateway(tmp_path, keys=str(keys)) as found:
        with pytest.raises(InputError, match="DEMUR_KEY"):
            await asyncio.to_thread(check_admitted, found.address, "")
        await asyncio.to_thread(check_admitted, found.address, secret)


def test_what_cannot_be_launched_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_router(tmp_path / "router")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="npm install -g @openai/codex"):
        launch("codex")
    with pytest.raises(InputError, match="known: claude, codex, aider"):
        launch("cursor")

"""Other people's clients against the gateway, each in an environment of its own; nothing but the base URL is changed.

The `openai` client is a development dependency. LangChain, LiteLLM (which calls the gateway, and is called by it) and
the Node client are installed under demur's cache at first use, and only where everything must run (DEMUR_TEST=all).
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from apis import speaking
from conftest import EVERYTHING, missing, needed
from demur.models.catalogue import cache_folder
from environment import peer_python
from gateways import HARD, Running, gateway, point

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
elsewhere = pytest.mark.skipif(not EVERYTHING, reason="installs another project's client; DEMUR_TEST=all runs it")

LANGCHAIN = """
import sys
from langchain_openai import ChatOpenAI
client = ChatOpenAI(model="demur", base_url=sys.argv[1], api_key="none", max_retries=0)
answer = client.invoke("zzz zz?")
print(answer.content, "|", answer.response_metadata["model_name"], "|", answer.usage_metadata["output_tokens"])
print("".join(piece.content for piece in client.stream("aaa a?")))
tool = {"name": "f", "description": "", "parameters": {"type": "object", "properties": {}}}
print(client.bind_tools([tool]).invoke("zzz zz?").content)
"""

LITELLM = """
import sys, litellm
ask = dict(model="openai/demur", api_base=sys.argv[1], api_key="none", num_retries=0)
messages = [{"role": "user", "content": "zzz zz?"}]
answer = litellm.completion(messages=messages, **ask)
print("=", answer.choices[0].message.content, "|", answer.usage.completion_tokens)
pieces = litellm.completion(messages=messages, stream=True, **ask)
print("=", "".join(piece.choices[0].delta.content or "" for piece in pieces))
try:
    litellm.completion(messages=messages, **ask | {"model": "openai/gpt-9"})
except litellm.NotFoundError:
    print("=", "NotFoundError")
"""

NODE = """
import OpenAI from "openai";
const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "zzz zz?" }];
const { data, response } = await client.chat.completions.create({ model: "demur", messages }).withResponse();
console.log(data.choices[0].message.content, "|", response.headers.get("x-demur-model"));
let text = "";
for await (const piece of await client.chat.completions.create({ model: "demur", messages, stream: true }))
  text += piece.choices[0]?.delta?.content ?? "";
console.log(text);
try { await client.chat.completions.create({ model: "gpt-9", messages }); }
catch (error) { console.log(error.constructor.name, error.code); }
console.log((await client.models.retrieve("demur")).id);
"""


async def lines(*command: str | Path, **environment: str) -> list[str]:
    """What a program prints; it must end well."""
    child = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": ""} | environment
    )
    try:
        said, wrong = await asyncio.wait_for(child.communicate(), 90)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode == 0, wrong.decode()[-2000:]
    return [line.strip() for line in said.decode().splitlines()]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_call_that_the_readme_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str], stream: bool) -> None:
    needed("openai")
    (block,) = [
        one
        for one in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
        if "from openai" in one
    ]
    plain, _, streamed = block.partition("for piece in")
    assert "stream=True" in streamed
    async with gateway(tmp_path) as found:
        code = (plain if not stream else block).replace("http://127.0.0.1:8111", found.address)
        held: dict[str, Any] = {}
        await asyncio.to_thread(exec, code, held)
        await asyncio.to_thread(held["client"].close)
    said = capsys.readouterr().out
    assert len(re.findall("(?:small|large) says Hi", said)) == (2 if stream else 1)


async def test_a_client_of_routellm_keeps_its_model_names(tmp_path: Path) -> None:
    openai = needed("openai")
    async with gateway(tmp_path) as found:
        client = openai.AsyncOpenAI(base_url=f"{found.address}/v1", api_key="none", max_retries=0)
        messages = [{"role": "user", "content": HARD}]
        for model, answers in (("router-mf-0.11593", "large"), ("router-bert-1.0", "small")):
            answer = await client.chat.completions.create(model=model, messages=messages)
            assert answer.model == answers
            assert (await client.models.retrieve(model)).id == model
        for wrong, error in (("router-mf", openai.NotFoundError), ("gpt-4", openai.NotFoundError)):
            with pytest.raises(error, match="does not exist"):
                await client.chat.completions.create(model=wrong, messages=messages)
        with pytest.raises(openai.BadRequestError, match="messages"):
            await client.chat.completions.create(model="router-mf-0.1", messages=[])
        await client.close()


@elsewhere
async def test_langchain(tmp_path: Path) -> None:
    python = await asyncio.to_thread(peer_python, "langchain", ["langchain-openai==1.7.4"])
    async with gateway(tmp_path) as found:
        plain, streamed, tools = await lines(python, "-c", LANGCHAIN, f"{found.address}/v1")
        assert plain == "large says zzz zz? | large | 4"
        assert streamed == "small says aaa a?"
        assert tools == "large says zzz zz?"


async def litellm() -> Path:
    return await asyncio.to_thread(peer_python, "litellm", ["litellm[proxy]==1.108.7"])


@elsewhere
async def test_litellm_in_front(tmp_path: Path) -> None:
    python = await litellm()
    async with gateway(tmp_path) as found:
        said = await lines(python, "-c", LITELLM, f"{found.address}/v1", LITELLM_LOCAL_MODEL_COST_MAP="True")
        mine = [line[2:] for line in said if line.startswith("= ")]  # it says other things too
        assert mine == ["large says zzz zz? | 4", "large says zzz zz?", "NotFoundError"]


@elsewhere
async def test_litellm_behind(tmp_path: Path) -> None:
    python = await litellm()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with gateway(tmp_path) as found, AsyncExitStack() as stack:
        given = {"model": "openai/large", "api_base": found.strong.base_url, "api_key": "none"}
        config = {"model_list": [{"model_name": "large", "litellm_params": given}]}
        (tmp_path / "litellm.yaml").write_text(json.dumps(config))
        alone = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}
        child = await asyncio.create_subprocess_exec(
            python.with_name("litellm"),
            *("--config", str(tmp_path / "litellm.yaml"), "--port", str(port), "--host", "127.0.0.1"),
            env=os.environ | {"PYTHONPATH": ""} | alone,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.push_async_callback(child.wait)
        stack.callback(child.kill)
        point(found, f"127.0.0.1:{port}", ("strong",))
        await until_alive(found)
        status, headers, body = await found.ask(HARD)
        assert (status, headers["x-demur-model"]) == (200, "large")
        assert body["choices"][0]["message"]["content"] == f"large says {HARD}"
        status, _, stream = await found.ask(HARD, stream=True)
        assert (status, stream.endswith(b"data: [DONE]\n\n")) == (200, True)
        said = "".join(
            json.loads(event[6:])["choices"][0]["delta"].get("content") or ""
            for event in stream.decode().split("\n\n")
            if event.startswith("data: {")
        )
        assert said.split() == f"large says {HARD}".split()


async def until_alive(found: Running, seconds: float = 90) -> None:
    for _ in range(int(seconds * 2)):
        if await found.gateway.upstreams["strong"].alive():
            return
        await asyncio.sleep(0.5)
    raise AssertionError("LiteLLM's proxy did not start")


@elsewhere
async def test_the_node_client(tmp_path: Path) -> None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        missing("Node and npm (apt-get install npm)")
    folder = cache_folder().parent / "benchmarks" / "node"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "node_modules" / "openai").is_dir():
        install = [str(npm), "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), "openai@6"]
        await asyncio.to_thread(subprocess.run, install, check=True, capture_output=True)
    (folder / "client.mjs").write_text(NODE)
    async with gateway(tmp_path) as found:
        assert await lines(str(node), folder / "client.mjs", f"{found.address}/v1") == [
            "large says zzz zz? | large",
            "large says zzz zz?",
            "NotFoundError model_not_found",
            "demur",
        ]


async def test_the_official_client_asks_responses(tmp_path: Path) -> None:
    openai = needed("openai")
    async with gateway(tmp_path) as found, speaking(found) as heard:
        client = openai.AsyncOpenAI(base_url=f"{found.address}/v1", api_key="none", max_retries=0)
        answer = await client.responses.create(model="demur", input=HARD)
        assert (answer.output_text, answer.usage.input_tokens, answer.model) == ("large says", 11, "large")
        streamed = [event async for event in await client.responses.create(model="demur", input=HARD, stream=True)]
        assert streamed[-1].type == "response.completed"
        again = await client.responses.create(model="demur", input="aaa", previous_response_id=answer.id)
        assert again.model == "large"
        with pytest.raises(openai.BadRequestError) as wrong:
            await client.responses.create(model="demur", input="aaa", previous_response_id="resp_nobody")
        assert wrong.value.code == "previous_response_not_found"
        await client.close()
    assert [one.role for one in heard] == ["strong"] * 3

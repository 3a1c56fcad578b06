"""Other people's clients, as they are published, against the gateway in front of two local models.

Both models are llama.cpp's server (in `xllamacpp`), which speaks chat completions, Messages and Responses. Every client
has an environment of its own under demur's cache, is told the gateway's address by its own settings, and has a limited
time. What it was asked is printed with whether it was answered; answers are not judged. The coding agents run through
`demur launch`, with short instructions and few tools: two cores read a prompt of ten thousand tokens for minutes.

What passes is recorded on both sides of the gateway: every request that a model got must be a client's request byte for
byte but for the model's name, and every answer that a client got a model's answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web

from demur.gateway.http.json_edit import body_of
from demur.gateway.http.openai_bodies import HOP_HEADERS
from demur.models.catalogue import cache_folder, fetch
from environment import describe, peer_python
from served_gateway import demur_command

MODELS = {"small": "smollm2-135m", "large": "qwen2.5-coder-1.5b"}
READY = "Reply with the word ready."
ASK_SMALL, TO_SMALL = ("anthropic", "agents", "langchain"), "demur@2"  # no score is so high: the small model answers
SLOTS, CONTEXT = 2, 16_384
PASSED_OVER = HOP_HEADERS - {"accept-encoding", "server"}  # of the headers, by a recorder
SECONDS = 300  # of a client, for all that it is asked
NODE_NEEDS: tuple[str, ...] = (
    "@openai/codex@0.171.0",
    "@anthropic-ai/claude-code@2.1.332",
    "@ai-sdk/openai@4.0.118",
    "ai@7.0.173",
)
NODE_NEEDS += ("zod@4",)

OPENAI = """
import sys, openai
client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="none", max_retries=0, timeout=240)
said = [{"role": "user", "content": "Name a colour."}]
tool = {"name": "weather", "description": "The weather of a city.", "parameters":
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}
def done(what, ok): print("=", what, "|", bool(ok), flush=True)
chat = dict(model="demur", messages=said, max_tokens=16)
answer = client.chat.completions.create(**chat)
done("chat", answer.choices[0].message.content and answer.usage.prompt_tokens)
done("chat, streamed", "".join(x.choices[0].delta.content or "" for x in client.chat.completions.create(**chat,
    stream=True) if x.choices))
done("chat, tools", client.chat.completions.create(**chat, tools=[{"type": "function", "function": tool}]).choices)
asked = dict(model="demur", input="Name a colour.", max_output_tokens=16, store=False)
answer = client.responses.create(**asked)
done("responses", answer.output_text and answer.usage.input_tokens)
kinds = [event.type for event in client.responses.create(**asked, stream=True)]
done("responses, streamed", kinds[-1] in ("response.completed", "response.incomplete"))
done("responses, tools", client.responses.create(**asked, tools=[{"type": "function", **tool, "strict": False}]).output)
part = {"type": "output_text", "text": "Red.", "annotations": []}
items = [{"role": "user", "content": [{"type": "input_text", "text": "Name a colour."}]},
    {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]},
    {"role": "user", "content": "Another."}]
done("responses, items", client.responses.create(**asked | {"input": items}).output_text)
try:
    client.responses.create(**asked, previous_response_id="resp_of_nobody")
except openai.BadRequestError as error:
    done("responses, unknown previous_response_id: 400", error.code == "previous_response_not_found")
try:
    client.chat.completions.create(**chat | {"model": "gpt-9"})
except openai.NotFoundError as error:
    done("unknown model: 404", error.code == "model_not_found")
"""

ANTHROPIC = """
import sys, anthropic
client = anthropic.Anthropic(base_url=sys.argv[1], api_key="none", max_retries=0, timeout=240)
def done(what, ok): print("=", what, "|", bool(ok), flush=True)
asked = dict(model="demur", max_tokens=16, messages=[{"role": "user", "content": "Name a colour."}])
answer = client.messages.create(**asked)
done("messages", answer.content[0].text and answer.usage.input_tokens)
with client.messages.stream(**asked) as stream:
    text = "".join(stream.text_stream)
    done("messages, streamed", text and stream.get_final_message().usage.output_tokens)
done("system as a list", client.messages.create(**asked, system=[{"type": "text", "text": "Be brief."}]).content)
done("count_tokens", client.messages.count_tokens(model="demur", messages=asked["messages"]).input_tokens > 0)
tool = {"name": "weather", "description": "The weather of a city.", "input_schema":
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}
done("tools", client.messages.create(**asked, tools=[tool]).stop_reason)
call = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "X"}}
history = [*asked["messages"], {"role": "assistant", "content": [call]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "Sun."}]}]
done("tool results", client.messages.create(**asked | {"messages": history}, tools=[tool]).stop_reason)
done("models", [one.id for one in client.models.list()])
try:
    client.messages.create(**asked | {"model": "claude-9"})
except anthropic.NotFoundError as error:
    done("unknown model: 404", "does not exist" in str(error))
"""

AGENTS = """
import asyncio, os, sys
os.environ |= {"OPENAI_BASE_URL": sys.argv[1] + "/v1", "OPENAI_API_KEY": "none", "OPENAI_AGENTS_DISABLE_TRACING": "1"}
from agents import Agent, ModelSettings, Runner, function_tool
def done(what, ok): print("=", what, "|", bool(ok), flush=True)
@function_tool
def weather(city: str) -> str:
    "The weather of a city."
    return "sunny"
few = ModelSettings(max_tokens=24, store=False)
async def main():
    plain = Agent(name="a", instructions="Be brief.", model="demur", model_settings=few)
    done("agent, default API", (await Runner.run(plain, "Name a colour.")).final_output)
    streamed = Runner.run_streamed(plain, "Name a colour.")
    done("agent, streamed", [event async for event in streamed.stream_events()])
    tools = Agent(name="a", instructions="Be brief.", model="demur", model_settings=few, tools=[weather])
    found = await Runner.run(tools, "How is the weather in Paris?", max_turns=3)
    done("agent with a tool", found.new_items)
asyncio.run(main())
"""

PYDANTIC = """
import os, sys
os.environ |= {"OPENAI_BASE_URL": sys.argv[1] + "/v1", "OPENAI_API_KEY": "none"}
from pydantic_ai import Agent
def done(what, ok): print("=", what, "|", bool(ok), flush=True)
agent = Agent("openai:demur", instructions="Be brief.", model_settings={"max_tokens": 24}, retries=2)
done("openai:, run", agent.run_sync("Name a colour.").output)
done("openai:, streamed", list(agent.run_stream_sync("Name a colour.").stream_text()))
tools = Agent("openai-chat:demur", instructions="Be brief.", model_settings={"max_tokens": 24}, retries=2)
done("openai-chat:, run", tools.run_sync("Name a colour.").output)
"""

LANGCHAIN = """
import sys
from langchain_openai import ChatOpenAI
def done(what, ok): print("=", what, "|", bool(ok), flush=True)
asked = dict(model="demur", base_url=sys.argv[1] + "/v1", api_key="none", max_retries=0, max_tokens=16)
tool = {"name": "weather", "description": "The weather of a city.", "parameters":
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}
for api, client in (("chat", ChatOpenAI(**asked)), ("responses", ChatOpenAI(**asked, use_responses_api=True))):
    done(api, client.invoke("Name a colour.").text)
    done(api + ", streamed", [piece.text for piece in client.stream("Name a colour.")])
    done(api + ", tools", client.bind_tools([tool]).invoke("Name a colour.").usage_metadata)
"""

LITELLM = """
import asyncio, os, sys
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm
def done(what, ok): print("=", what, "|", bool(ok), flush=True)
litellm.suppress_debug_info = True
said = [{"role": "user", "content": "Name a colour."}]
openai = dict(model="openai/demur", api_base=sys.argv[1] + "/v1", api_key="none", num_retries=0)
done("completion", litellm.completion(messages=said, max_tokens=16, **openai).choices[0].message.content)
done("completion, streamed", list(litellm.completion(messages=said, max_tokens=16, stream=True, **openai)))
done("responses", litellm.responses(input="Name a colour.", max_output_tokens=16, **openai).output)
anthropic = dict(model="anthropic/demur", api_base=sys.argv[1], api_key="none", max_tokens=16, messages=said)
done("anthropic/", litellm.completion(**anthropic).choices[0].message.content)
done("anthropic messages", asyncio.run(litellm.anthropic.messages.acreate(**anthropic))["content"])
"""

AI_SDK = """
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, streamText, tool } from "ai";
import { z } from "zod";
const openai = createOpenAI({ baseURL: process.argv[2] + "/v1", apiKey: "none" });
const asked = { prompt: "Name a colour.", maxOutputTokens: 24, maxRetries: 0,
  providerOptions: { openai: { store: false } } };
const done = (what, ok) => console.log("=", what, "|", ok ? "True" : "False");
done("openai(), generateText", (await generateText({ model: openai("demur"), ...asked })).text);
let text = "";
for await (const piece of streamText({ model: openai("demur"), ...asked }).textStream) text += piece;
done("openai(), streamText", text);
const weather = tool({ description: "The weather of a city.", inputSchema: z.object({ city: z.string() }),
  execute: async () => "sunny" });
done("openai(), tools", (await generateText({ model: openai("demur"), ...asked, tools: { weather } })).finishReason);
done("openai.chat()", (await generateText({ model: openai.chat("demur"), ...asked })).text);
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """One thing that a client was asked, and whether it was answered."""

    client: str
    what: str
    ok: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Passed:
    """A request and its answer, as they passed a recorder."""

    path: str
    body: bytes
    status: int
    answer: bytes


class Recorder:
    """A proxy that keeps what passes; ``address`` is where it listens."""

    def __init__(self, target: str) -> None:
        self.target, self.address, self.passed = target, "", list[Passed]()
        self._ready, self._loop = threading.Event(), asyncio.new_event_loop()

    def start(self) -> None:
        """Listen, in a thread of its own that ends with the process."""
        threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()), daemon=True).start()
        self._ready.wait(30)

    async def _serve(self) -> None:
        app = web.Application(client_max_size=2**28)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        runner = web.AppRunner(app, handler_cancellation=True, auto_decompress=False)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as self._session:
            self._ready.set()
            await asyncio.Event().wait()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        sent = {name: value for name, value in request.headers.items() if name.lower() not in PASSED_OVER}
        url = self.target + request.raw_path
        async with self._session.request(request.method, url, data=body, headers=sent) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in PASSED_OVER}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            whole = b""
            async for piece in answer.content.iter_any():
                whole += piece
                await response.write(piece)
            if request.method == "POST" and body != b"{}":
                self.passed.append(Passed(request.path, body, answer.status, whole))
            await response.write_eof()
            return response


def is_sent_on(received: Passed, asked: Sequence[Passed]) -> bool:
    """Whether what a model got is a client's request, byte for byte but for the model's name."""
    model = json.loads(received.body)["model"]
    same = [one for one in asked if one.path == received.path]
    return any(body_of(one.body)[0].replace_member(model=model) == received.body for one in same)


def print_identity(asked: Sequence[Passed], received: Sequence[Passed]) -> None:
    """How many of the models' requests and of the clients' answers are byte for byte those of the other side."""
    sent = sum(is_sent_on(one, asked) for one in received)
    answers = {one.answer for one in received}
    good = [one for one in asked if one.status == 200]
    same = sum(one.answer in answers for one in good)
    print(f"requests as the clients sent them, but for the model's name: {sent} of {len(received)}")
    print(f"answers as the models gave them: {same} of {len(good)}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def local_model(name: str) -> Iterator[str]:
    """llama.cpp's server with one model of the catalogue; yields its address."""
    command = [sys.executable, "-m", "demur.models.local", str(fetch(MODELS[name])), name]
    child = subprocess.Popen(
        [*command, str(SLOTS), "1", str(CONTEXT), ""],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdin is not None and child.stdout is not None
    try:
        yield child.stdout.readline().decode().strip()
    finally:
        child.stdin.close()
        child.wait(20)


@contextmanager
def gateway(folder: Path, sides: dict[str, str], port: int) -> Iterator[Path]:
    """The gateway in front of both; yields its settings file. The large model is priced, so that savings show."""
    command = demur_command(folder, upstream=0, port=port)
    rows = [
        f'[{role}]\nmodel = "{name}"\nbase_url = "{sides[name]}/v1"\n'
        f"usd_per_million_input = {price}\nusd_per_million_output = {price}"
        for role, name, price in (("weak", "small", 0), ("strong", "large", 1))
    ]
    file = folder / "gateway.toml"
    head = f'router = "{folder}/router"\nport = {port}\nledger = "{folder}/ledger.sqlite"\nanyway = true\n'
    file.write_text(f"{head}first_byte_seconds = 240\n" + "\n".join(rows))
    with (folder / "gateway.log").open("wb") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).read()
                break
            except OSError:
                time.sleep(0.5)
        yield file
    finally:
        child.terminate()
        child.wait(40)


def node_folder() -> Path:
    """The Node clients, installed under demur's cache on first use."""
    folder = cache_folder().parent / "benchmarks" / "clients-node"
    ready = folder / "ready"
    if not ready.is_file() or ready.read_text() != "\n".join(NODE_NEEDS):
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", *NODE_NEEDS], cwd=folder, check=True)
        ready.write_text("\n".join(NODE_NEEDS))
    return folder


def ask(client: str, command: Sequence[str], folder: Path, **variables: str) -> list[Asked]:
    """What a client's script was asked, a line each; what it did not come to is one row with the last error."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "ANTHROPIC_"))}
    environment |= {"PYTHONPATH": "", "PYTHONWARNINGS": "ignore"} | variables
    rows: list[Asked] = []
    at = time.monotonic()
    with (folder / f"{client.split()[0].replace('/', '-')}.err").open("w+") as errors:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment, text=True, cwd=folder)
        try:
            said, _ = child.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired as late:
            child.kill()
            child.communicate()
            said = late.stdout.decode() if isinstance(late.stdout, bytes) else late.stdout or ""
        took = time.monotonic() - at
        for line in said.splitlines():
            if line.startswith("= "):
                what, _, ok = line[2:].rpartition(" | ")
                rows.append(Asked(client, what, ok == "True", took))
        if child.returncode != 0:
            errors.seek(0)
            last = [line.strip() for line in errors.read().splitlines() if line.strip()][-1:]
            rows.append(Asked(client, f"ended with {child.returncode}: {''.join(last)[:160]}", False, took))
    return rows


def agent(client: str, name: str, arguments: Sequence[str], folder: Path, file: Path) -> list[Asked]:
    """A coding agent through `demur launch`; it must print something and end well."""
    path = f"{node_folder() / 'node_modules' / '.bin'}{os.pathsep}{os.environ['PATH']}"
    home = folder / "home"
    home.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "demur", "launch", name, "--config", str(file), "--", *arguments]
    at = time.monotonic()
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"PATH": path, "HOME": str(home), "CODEX_HOME": str(home)},
        )
    except subprocess.TimeoutExpired:
        return [Asked(client, f"no end within {SECONDS} s", False, time.monotonic() - at)]
    bill = [line for line in done.stderr.splitlines() if line.startswith("demur: ")]
    print(f"  {client} printed {done.stdout.strip()[-80:]!r}; {' '.join(bill)}")
    what = f"{arguments[0]} {READY!r}"
    if done.returncode:
        last = (done.stderr + done.stdout).strip().splitlines()[-1:]
        return [Asked(client, f"{what}: ended with {done.returncode}: {''.join(last)[:120]}", False, 0.0)]
    return [Asked(client, what, bool(done.stdout.strip()), time.monotonic() - at)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", default="", help="of openai,anthropic,agents,langchain,litellm,pydantic,ai,codex,claude"
    )
    only = [name for name in parser.parse_args().only.split(",") if name]
    print(describe())
    python = {
        "openai": ("openai 3.3.0", OPENAI, "clients-sdk", ("openai==3.3.0", "anthropic==2.14.0")),
        "anthropic": ("anthropic 2.14.0", ANTHROPIC, "clients-sdk", ("openai==3.3.0", "anthropic==2.14.0")),
        "agents": ("openai-agents 0.24.0", AGENTS, "clients-agents", ("openai-agents==0.24.0",)),
        "langchain": ("langchain-openai 1.7.4", LANGCHAIN, "clients-langchain", ("langchain-openai==1.7.4",)),
        "litellm": ("litellm 1.108.7", LITELLM, "litellm", ("litellm[proxy]==1.108.7",)),
        "pydantic": ("pydantic-ai 2.68.0", PYDANTIC, "clients-pydantic", ("pydantic-ai-slim[openai]==2.68.0",)),
    }
    rows: list[Asked] = []
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder, port = Path(name), free_port()
        models = [Recorder(stack.enter_context(local_model(side))) for side in MODELS]
        front = Recorder(f"http://127.0.0.1:{port}")
        for recorder in (*models, front):
            recorder.start()
        sides = {side: recorder.address for side, recorder in zip(MODELS, models, strict=True)}
        file = stack.enter_context(gateway(folder, sides, port))
        file.write_text(file.read_text().replace(f"port = {port}", f"port = {front.address.rpartition(':')[2]}"))
        address = front.address

        def wanted(which: str) -> bool:
            return not only or which in only

        for which, (client, code, home, needs) in python.items():
            if wanted(which):
                told = code.replace('"demur"', f'"{TO_SMALL}"') if which in ASK_SMALL else code
                rows += ask(client, [str(peer_python(home, needs)), "-c", told, address], folder)
        if wanted("ai"):
            script = node_folder() / "clients.mjs"
            script.write_text(AI_SDK)
            rows += ask("@ai-sdk/openai 4.0.118", ["node", str(script), address], folder)
        if wanted("codex"):
            (folder / "brief.md").write_text("Be brief.")
            fewer = [f"-cfeatures.{one}=false" for one in ("shell_tool", "unified_exec", "goals", "multi_agent")]
            fewer += [f"-cinclude_{one}=false" for one in ("environment_context", "permissions_instructions")]
            fewer += ["-cinclude_apps_instructions=false", f"-cmodel_instructions_file={folder}/brief.md"]
            asked = ["exec", "--skip-git-repo-check", "-cweb_search=disabled", *fewer, READY]
            rows += agent("@openai/codex 0.171.0", "codex", asked, folder, file)
        if wanted("claude"):
            asked = ["-p", READY, "--system-prompt", "Be brief.", "--tools", ""]
            rows += agent("@anthropic-ai/claude-code 2.1.332", "claude", asked, folder, file)
        counts = [f"{len(one.passed)} to {side}" for side, one in zip(MODELS, models, strict=True)]
        print(f"requests: {', '.join(counts)}")
        print_identity(front.passed, [one for recorder in models for one in recorder.passed])
        errors = [line for line in (folder / "gateway.log").read_text().splitlines() if "Traceback" in line]
    width = max(len(row.client) for row in rows)
    for row in rows:
        print(f"{row.client:<{width}} | {row.what:<60} | {'ok' if row.ok else 'FAILED'}")
    print(f"{sum(row.ok for row in rows)} of {len(rows)} ok; {len(errors)} tracebacks in the gateway's log")


if __name__ == "__main__":
    main()

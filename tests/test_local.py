"""Real models on loopback, as the demo runs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import ClientSession, ClientTimeout

from demur.config import ModelConfig
from demur.errors import EndpointError, InputError, ModelError
from demur.models import local
from demur.models.doctor import doctor
from demur.models.local import endpoint_of, parse_model, running_endpoint
from demur.models.requests.client import EndpointClient
from demur.records import SamplingSettings
from demur.routing.asked_as import AskedAs


def test_how_models_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    assert parse_model("smollm2-135m") == ModelConfig("smollm2-135m")
    assert parse_model("gpt-4o@https://api.openai.com/v1/").base_url == "https://api.openai.com/v1"
    assert parse_model("gpt-4o@https://api.openai.com/v1").api_key_env == "OPENAI_API_KEY"
    assert parse_model("org/m@http://127.0.0.1:1/v1#MY_KEY").api_key_env == "MY_KEY"
    assert parse_model("m@http://192.0.2.1/v1").api_key_env is None  # OpenAI's key is for OpenAI alone
    assert parse_model("m@https://api.openai.com.example/v1").api_key_env is None
    with pytest.raises(InputError, match="is not a model"):
        parse_model("gpt-4o")
    with pytest.raises(ModelError, match="no such file"):
        endpoint_of(ModelConfig("none.gguf"))


def test_a_local_model_keeps_its_whole_name() -> None:
    endpoint = endpoint_of(ModelConfig("qwen2.5-coder-1.5b"))
    assert endpoint.model == "qwen2.5-coder-1.5b"
    assert endpoint.price is not None
    assert endpoint.price.usd(1000, 1000) == 0


async def test_all_answers_fit_the_context_and_are_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ten answers of 512 tokens and a prompt of 2,048; short ones share 4,096."""
    started: list[tuple[int, int, int]] = []

    @asynccontextmanager
    async def server(path: Path, name: str, sizes: tuple[int, int, int], pooling: str) -> AsyncIterator[str]:
        started.append(sizes)
        yield "http://127.0.0.1:1"

    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(local, "_server", server)
    monkeypatch.setattr(local, "require", lambda *given, **named: None)
    waited = []
    for tokens in (512, 5):
        model = ModelConfig(str(tmp_path / "m.gguf"))
        async with running_endpoint(model, parallel=10, max_tokens=tokens) as endpoint:
            waited.append(endpoint.timeout_seconds)
    assert waited == [10240.0, 120.0]  # 2 s for each of 10 x 512 tokens, and no less than the model's own
    assert started == [(10, 1, 2048 + 5120), (10, 1, 4096)]


@pytest.mark.slow
async def test_the_weak_model_answers_and_its_samples_repeat() -> None:
    settings = SamplingSettings(n=4, max_tokens=8, chat=False, template="The capital of {prompt} is", stop=("\n",))
    async with (
        running_endpoint(ModelConfig("smollm2-135m"), parallel=4) as endpoint,
        EndpointClient(endpoint) as client,
    ):
        samples = await client.complete("France", settings, range(4))
        again = await client.complete("France", settings, range(4))
        cold = await client.complete("France", replace(settings, temperature=0.0), [0])
    assert len({s.text for s in samples}) > 1
    assert [s.text for s in again] == [s.text for s in samples]
    assert "Paris" in cold[0].text
    assert all(s.logprobs and max(s.logprobs) <= 0 for s in samples)
    assert samples[0].prompt_tokens > 3


@pytest.mark.slow
async def test_a_chat_that_is_asked_as_a_plain_completion_ends() -> None:
    """Without a limit of its own: a model that writes on from a template need never end."""
    asked = AskedAs(template="The numbers: 1, 2, 3, 4, 5, 6, 7, 8, 9, {prompt},", plain=True)
    weak = ModelConfig("smollm2-135m")
    async with running_endpoint(weak, parallel=1, chat_template=asked.chat_template) as endpoint:
        body = {"messages": [{"role": "user", "content": "10"}], "temperature": 0.0}
        async with (
            ClientSession(timeout=ClientTimeout(60)) as session,
            session.post(f"{endpoint.base_url}/chat/completions", json=body) as answer,
        ):
            found = await answer.json()
    assert found["choices"][0]["finish_reason"] == "length"
    assert found["usage"]["completion_tokens"] == local.CONTINUED_TOKENS


@pytest.mark.slow
async def test_a_file_that_is_no_model_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(EndpointError, match=r"broken.gguf: the local server ended at once"):
        async with running_endpoint(ModelConfig(str(path)), parallel=2):
            pass


@pytest.mark.slow
def test_doctor_finds_what_llama_cpp_supports() -> None:
    found = doctor("smollm2-135m")
    assert (found.several, found.logprobs, found.streaming) == (True, True, True)
    assert "served on this machine" in found.lines[-1]


@pytest.mark.slow
async def test_the_child_ends_with_us() -> None:
    code = (
        "import asyncio, os\nfrom demur.config import ModelConfig\nfrom demur.models.local import running_endpoint\n"
        "async def main():\n    async with running_endpoint(ModelConfig('smollm2-135m'), parallel=2) as endpoint:\n"
        "        print(endpoint.base_url, flush=True)\n        os.kill(os.getpid(), 9)\nasyncio.run(main())\n"
    )
    import sys

    child = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await child.communicate()
    port = int(out.decode().strip().removesuffix("/v1").rpartition(":")[2])
    for _ in range(50):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return
        writer.close()
        await asyncio.sleep(0.1)
    pytest.fail("the local server outlived us")

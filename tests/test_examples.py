"""The examples do what they say: the plugin in the published LiteLLM, the pipe as Open WebUI calls it."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from gateways import EASY, HARD, gateway
from test_gateway_clients import elsewhere, lines, litellm

EXAMPLES = Path(__file__).parents[1] / "examples"

LITELLM = """
import asyncio, sys
import litellm
sys.path.insert(0, sys.argv[1])
from litellm_plugin import DemurPlugin

async def main():
    given = [{"model_name": "chat", "litellm_params": {"model": f"openai/{name}", "api_base": url, "api_key": "none"}}
             for name, url in (("small", sys.argv[3]), ("large", sys.argv[4]))]
    for demur in (sys.argv[2], "http://127.0.0.1:9"):
        plugin = DemurPlugin(demur, weak="openai/small", strong="openai/large")
        router = litellm.Router(model_list=given, plugins=[plugin])
        for text in sys.argv[5:]:
            answer = await router.acompletion(model="chat", messages=[{"role": "user", "content": text}])
            print("=", answer.choices[0].message.content[:10])

asyncio.run(main())
"""


@elsewhere
async def test_litellm_asks_demur_which_deployment_answers(tmp_path: Path) -> None:
    """Without demur the strong model answers."""
    python = await litellm()
    async with gateway(tmp_path) as found:
        urls = (found.address, found.weak.base_url, found.strong.base_url)
        said = await lines(python, "-c", LITELLM, str(EXAMPLES), *urls, HARD, EASY, LITELLM_LOCAL_MODEL_COST_MAP="True")
    assert [line[2:] for line in said if line.startswith("= ")] == [
        "large says",
        "small says",
        "large says",
        "large says",
    ]


def pipe() -> Any:
    spec = importlib.util.spec_from_file_location("open_webui_pipe", EXAMPLES / "open_webui_pipe.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Pipe()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_chat_of_open_webui_is_one_conversation(tmp_path: Path, stream: bool) -> None:
    pytest.importorskip("pydantic")
    statuses: list[dict[str, Any]] = []

    async def emit(event: dict[str, Any]) -> None:
        statuses.append(event)

    async with gateway(tmp_path, context_characters=0) as found:
        asked = pipe()
        asked.valves.url = f"{found.address}/v1"

        async def say(text: str, chat: str) -> str:
            body = {"model": "demur.demur", "messages": [{"role": "user", "content": text}], "stream": stream}
            return "".join([piece async for piece in asked.pipe(body, {"chat_id": chat}, emit)])

        assert (await say(HARD, "c1")).startswith("large says")
        assert (await say(EASY, "c1")).startswith("large says")
        assert (await say(EASY, "c2")).startswith("small says")
        assert statuses[0]["data"]["description"].startswith("large: score")
        assert json.dumps(statuses)
        asked.valves.model = "nobody"
        assert "404" in await say(EASY, "c3")
    await asyncio.sleep(0)

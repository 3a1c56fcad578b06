"""`demur doctor` on what an endpoint can do, and the settings file that it writes to."""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from typer.testing import CliRunner

from demur.cli.main import app as cli
from demur.errors import InputError
from demur.gateway.settings import read_settings
from demur.gateway.settings_file import write_abilities, write_settings
from demur.models.apis import speaks
from demur.models.doctor import doctor
from demur.testing import on_loopback

REFUSED = {"error": {"message": "not supported"}}


@asynccontextmanager
async def endpoint(
    *, can: bool, spoken: tuple[str, ...], window: dict[str, Any], drops: bool = False
) -> AsyncIterator[str]:
    """An endpoint that can do everything or only answer short texts; yields its base URL."""

    async def answer(request: web.Request) -> web.Response:
        path = request.path.removeprefix("/v1")
        if path not in spoken:
            return web.json_response({"error": "Unexpected endpoint"}, status=404 if can else 200)  # as LM Studio does
        body = await request.json()
        if body == {} and drops and request.transport is not None:
            request.transport.abort()
        if body == {}:
            return web.json_response({"error": {"message": "model is missing"}}, status=400)
        needs = "tools" in body or "response_format" in body or "image_url" in json.dumps(body)
        if needs and not can:
            return web.json_response(REFUSED, status=400)
        text = '{"colour": "red"}' if "response_format" in body else "red"
        choice = {"message": {"content": text}, "finish_reason": "stop"}
        return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})

    async def models(request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "other", "max_model_len": 9}, {"id": "m", **window}]})

    app = web.Application()
    app.router.add_post("/v1/{path:.*}", answer)
    app.router.add_get("/v1/models", models)
    async with on_loopback(app) as address:
        yield f"{address}/v1"


async def test_doctor_finds_what_an_endpoint_can_do() -> None:
    async with endpoint(can=True, spoken=("/chat/completions", "/messages"), window={"max_model_len": 4096}) as url:
        found = (await asyncio.to_thread(doctor, f"m@{url}")).abilities
    assert found.settings == {
        "speaks": ["chat", "messages"],
        "images": True,
        "tools": True,
        "json_schema": True,
        "context_tokens": 4096,
    }


async def test_doctor_finds_what_an_endpoint_cannot_do() -> None:
    async with endpoint(can=False, spoken=("/chat/completions",), window={}) as url:
        report = await asyncio.to_thread(doctor, f"m@{url}")
    assert report.abilities.settings == {"speaks": ["chat"], "images": False, "tools": False, "json_schema": False}
    assert "  images       no: the gateway asks the other model, and answers 400 where neither can" in report.lines
    assert "  context      unknown: refusals will show it" in report.lines


async def test_an_endpoint_that_drops_an_empty_request_still_speaks_chat() -> None:
    """It has answered a chat before; pictures and tools are accepted, which is all that an answer shows."""
    async with endpoint(can=True, spoken=("/chat/completions",), window={}, drops=True) as url:
        lines = (await asyncio.to_thread(doctor, f"m@{url}")).lines
    assert "  speaks       chat" in lines
    assert {"  images       accepted", "  tools        accepted", "  json_schema  yes"} <= set(lines)


async def test_doctor_leaves_open_which_model_a_private_address_has() -> None:
    """Its price of $0 is that of the address alone: a large model may be there."""
    async with endpoint(can=True, spoken=("/chat/completions",), window={}) as url:
        private = (await asyncio.to_thread(CliRunner().invoke, cli, ["doctor", f"m@{url}"])).output
        priced = (await asyncio.to_thread(CliRunner().invoke, cli, ["doctor", f"m@{url}#usd=1/2"])).output
    assert any(re.search(r"^  price +as given, \$1\.00 in and \$2\.00 out per", line) for line in priced.splitlines())
    assert private.splitlines()[-3:] == [
        f"next: demur sample prompts.jsonl --weak m@{url} --strong LARGE_MODEL@URL",
        f"or:   demur sample prompts.jsonl --weak SMALL_MODEL@URL --strong m@{url}   (if it is the large one)",
        f"if it costs: name it m@{url}#usd=IN/OUT, in USD per million tokens",
    ]
    assert priced.rstrip().endswith(f"--weak SMALL_MODEL@URL --strong m@{url}#usd=1/2")


@pytest.mark.parametrize(
    ("status", "body", "spoken"),
    [
        (400, b'{"error": {"message": "model is missing"}}', True),
        (422, b"{}", True),
        (401, b"", True),
        (500, b"", True),
        (404, b'{"detail": "Not Found"}', False),
        (405, b"", False),
        (200, b'{"error": "Unexpected endpoint or method. (POST /v1/messages)"}', False),
        (200, b'{"input_tokens": 0}', True),
    ],
)
def test_what_an_answer_to_an_empty_request_shows(status: int, body: bytes, spoken: bool) -> None:
    assert speaks(status, body) is spoken


FILE = """# ours
port = 8111

[strong] # paid
model = "big"
base_url = "{url}"

[ weak ]
images = true   # we thought so
model = "m"
base_url = "{url}"
[aliases]
"gpt-4o" = "demur"
"""


async def test_doctor_writes_what_it_found_and_leaves_every_other_line(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    async with endpoint(can=False, spoken=("/chat/completions",), window={"max_model_len": 4096}) as url:
        file.write_text(FILE.format(url=url))
        (report,) = await asyncio.to_thread(write_abilities, file, f"m@{url}")
    assert report.model == "m"
    weak = read_settings(file).weak
    assert weak is not None
    assert (weak.speaks, weak.images, weak.tools, weak.json_schema) == (("chat",), False, False, False)
    assert weak.context_tokens == 4096
    lines, before = file.read_text().splitlines(), FILE.format(url=url).splitlines()
    assert [line for line in before if line not in lines] == ["images = true   # we thought so"]
    assert tomllib.loads(file.read_text())["strong"] == {"model": "big", "base_url": url}


async def test_without_a_model_both_are_probed(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    async with endpoint(can=True, spoken=("/chat/completions",), window={}) as url:
        file.write_text(FILE.format(url=url))
        assert len(await asyncio.to_thread(write_abilities, file)) == 2
    assert {one["speaks"][0] for one in (tomllib.loads(file.read_text())[side] for side in ("weak", "strong"))} == {
        "chat"
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('weak = {model = "m"}\n', "must be tables with a line per key"),
        ('weak.model = "m"\n', "must be tables with a line per key"),
    ],
)
def test_a_file_that_is_written_otherwise_is_left(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=says):
        write_settings(file, {"weak": {"images": False}})
    assert file.read_text() == text


def test_what_is_not_in_the_file_is_not_probed(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(FILE.format(url="http://127.0.0.1:9/v1"))
    with pytest.raises(InputError, match=r"neither \[weak\] nor \[strong\] is other@"):
        write_abilities(file, "other@http://127.0.0.1:9/v1")
    with pytest.raises(InputError, match=r"only a \.toml file"):
        write_abilities(tmp_path / "gateway.yaml")
    (tmp_path / "empty.toml").write_text("port = 1\n")
    with pytest.raises(InputError, match=r"no table \[weak\] or \[strong\]"):
        write_abilities(tmp_path / "empty.toml")


# -- members that an endpoint refuses or calls otherwise -------------------------------------------------------------


@asynccontextmanager
async def picky(*, longest: str, refused: tuple[str, ...] = (), ignores: str = "") -> AsyncIterator[str]:
    """An endpoint that knows the longest answer by one name, refuses or ignores the other, and refuses some members."""

    async def answer(request: web.Request) -> web.Response:
        body = await request.json()
        if body == {}:
            return web.json_response({"error": {"message": "model is missing"}}, status=400)
        other = ({"max_tokens", "max_completion_tokens"} - {longest}).pop()
        for name in (*refused, *([other] if ignores != other else [])):
            if name in body:
                said = f"Unsupported parameter: '{name}' is not supported with this model."
                return web.json_response({"error": {"message": said, "param": name}}, status=400)
        count = min(body.get(longest, 99), 40)
        choice = {"message": {"content": "red " * count}, "finish_reason": "stop"}
        return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": count}})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    async with on_loopback(app) as address:
        yield f"{address}/v1"


@pytest.mark.parametrize(
    ("longest", "ignores", "rename"),
    [
        ("max_completion_tokens", "", {"max_tokens": "max_completion_tokens"}),
        ("max_tokens", "", {"max_completion_tokens": "max_tokens"}),
        ("max_tokens", "max_completion_tokens", {"max_completion_tokens": "max_tokens"}),  # it answers at length
    ],
)
async def test_doctor_writes_what_an_endpoint_refuses_or_calls_otherwise(
    tmp_path: Path, longest: str, ignores: str, rename: dict[str, str]
) -> None:
    file = tmp_path / "gateway.toml"
    async with picky(longest=longest, ignores=ignores, refused=("temperature", "seed")) as url:
        file.write_text(
            f'[weak]\nmodel = "m"\nbase_url = "{url}"\ndrop = ["user"]\n[strong]\nmodel = "x"\nbase_url = "{url}"\n'
        )
        found = await asyncio.to_thread(write_abilities, file, f"m@{url}")
    written = read_settings(file).weak
    assert written is not None
    assert written.drop == ("user", "temperature", "seed")
    assert written.rename == rename
    lines = found[0].lines
    assert "  refuses      temperature, seed: the gateway leaves it out (drop)" in lines
    assert any(line.startswith("  takes ") for line in lines)


async def test_doctor_writes_nothing_of_an_endpoint_that_takes_all(tmp_path: Path) -> None:
    async with endpoint(can=True, spoken=("/chat/completions",), window={}) as url:
        found = await asyncio.to_thread(doctor, f"m@{url}")
    assert not found.abilities.drop
    assert not found.abilities.rename

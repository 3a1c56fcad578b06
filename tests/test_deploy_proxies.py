"""The recipes for proxies in deploy/, each with the real proxy in front of a gateway."""

from __future__ import annotations

import asyncio
import io
import json
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from socket import socket

import aiohttp
import pytest
from aiohttp import web

from conftest import missing
from demur.gateway.clients.keys import new_key
from gateways import EASY, HARD, Running, gateway, upstream

pytestmark = pytest.mark.slow
DEPLOY = Path(__file__).parents[1] / "deploy"
EVENT = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'


def free_port() -> int:
    with socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def nginx(recipe: str, folder: Path) -> list[str]:
    """conf.d is a part of a file that Debian brings: here it is as small as can be."""
    paths = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole = f"pid {folder}/pid; user root; events {{}} http {{ access_log off; {paths} {recipe} }}"
    (folder / "nginx.conf").write_text(whole)
    return ["nginx", "-p", str(folder), "-c", "nginx.conf", "-e", "stderr", "-g", "daemon off;"]


def haproxy(recipe: str, folder: Path) -> list[str]:
    (folder / "haproxy.cfg").write_text(recipe)
    return ["haproxy", "-db", "-f", str(folder / "haproxy.cfg")]


def caddy(recipe: str, folder: Path) -> list[str]:
    (folder / "Caddyfile").write_text("{\n\tadmin off\n}\n" + recipe)
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


PROXIES = {"nginx.conf": nginx, "haproxy.cfg": haproxy, "Caddyfile": caddy}


@pytest.fixture(params=PROXIES)
def recipe(request: pytest.FixtureRequest) -> Iterator[str]:
    name = PROXIES[request.param].__name__
    if shutil.which(name) is None and not Path(f"/usr/sbin/{name}").exists():
        missing(name)
    yield request.param


@asynccontextmanager
async def behind(recipe: str, folder: Path, found: Running) -> AsyncIterator[str]:
    """The address of a proxy before a gateway, as its recipe sets it up but for the ports."""
    port, folder = free_port(), folder / "proxy"
    folder.mkdir()
    text = (DEPLOY / recipe).read_text(encoding="utf-8")
    text = text.replace("127.0.0.1:8111", found.address.removeprefix("http://"))
    text = re.sub(r"listen 80;", f"listen {port};", text)
    text = re.sub(r"bind :80\b", f"bind 127.0.0.1:{port}", text)
    text = re.sub(r"^:80 ", f"http://127.0.0.1:{port}, http://api.example:{port} ", text, flags=re.M)
    command = PROXIES[recipe](text, folder)
    home = {"HOME": str(folder), "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
    child = await asyncio.create_subprocess_exec(*command, env=home, stdout=-1, stderr=asyncio.subprocess.STDOUT)
    try:
        for _ in range(500):  # until it has found the gateway well, too: before, it answers for itself
            try:
                async with found.session.get(f"http://127.0.0.1:{port}/health") as health:
                    if health.status == 200:
                        break
            except OSError:
                assert child.returncode is None, (await child.communicate())[0].decode()
            await asyncio.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        if child.returncode is None:
            child.terminate()
        await child.communicate()


async def ask(found: Running, address: str, text: str = EASY, **more: object) -> tuple[int, dict[str, object]]:
    headers = more.pop("headers", {})
    body = {"model": "demur", "messages": [{"role": "user", "content": text}], **more}
    url = f"{address}/v1/chat/completions"
    data = io.BytesIO(json.dumps(body).encode())
    async with found.session.post(url, data=data, headers=headers) as answer:  # type: ignore[arg-type]
        text = await answer.text()
        return answer.status, json.loads(text) if "json" in answer.content_type else {"text": text}


async def test_a_proxy_passes_the_service_and_nothing_of_the_operators(tmp_path: Path, recipe: str) -> None:
    key = new_key(tmp_path / "keys.json", "ann")
    held = {"Authorization": f"Bearer {key}"}
    async with gateway(tmp_path, keys=str(tmp_path / "keys.json")) as found, behind(recipe, tmp_path, found) as address:
        assert (await ask(found, address))[0] == 401
        status, answer = await ask(found, address, headers=held)
        assert (status, answer["model"]) == (200, "small")
        for method, path in (("GET", "/"), ("GET", "/metrics"), ("GET", "/admin/stats"), ("POST", "/admin/reload")):
            async with found.session.request(method, address + path, headers=held) as refused:
                assert refused.status == 404, path
        async with found.session.get(f"{address}/health") as health:
            assert health.status == 200
        assert (await ask(found, address, "a" * 5_000_000, headers=held))[0] == 200
        assert (await ask(found, address, "a" * 21_000_000, headers=held))[0] == 413


async def test_without_keys_a_public_host_is_refused_behind_a_proxy(tmp_path: Path, recipe: str) -> None:
    async with gateway(tmp_path) as found, behind(recipe, tmp_path, found) as address:
        port = address.rpartition(":")[2]
        assert (await ask(found, address, headers={"Host": f"api.example:{port}"}))[0] == 403
        assert not found.weak.requests


async def test_a_stream_passes_a_proxy_piece_by_piece(tmp_path: Path, recipe: str) -> None:
    seen = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(EVENT)
        await asyncio.wait_for(seen.wait(), 5)  # the client has had it
        await response.write(b"data: [DONE]\n\n")
        return response

    body = {"model": "demur", "stream": True, "messages": [{"role": "user", "content": EASY}]}
    async with (
        gateway(tmp_path) as found,
        upstream(slow, found),
        behind(recipe, tmp_path, found) as address,
        found.session.post(f"{address}/v1/chat/completions", json=body) as answer,
    ):
        assert await answer.content.readany() == EVENT
        seen.set()
        assert await answer.content.read() == b"data: [DONE]\n\n"


async def test_who_hangs_up_before_a_proxy_hangs_up_on_the_model(tmp_path: Path, recipe: str) -> None:
    async with gateway(tmp_path) as found, behind(recipe, tmp_path, found) as address:
        found.weak.hang_seconds = 4.0
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ask(found, address), 0.3)
        for _ in range(100):
            if not found.gateway.in_flight:
                break
            await asyncio.sleep(0.02)
        assert found.gateway.in_flight == 0
        assert found.gateway.metrics.recent[-1].outcome == "client_gone"


async def test_a_proxy_repeats_no_request_that_may_have_been_paid_for(tmp_path: Path, recipe: str) -> None:
    async with gateway(tmp_path, retries=0, fallback=False) as found, behind(recipe, tmp_path, found) as address:
        found.strong.refusal = lambda body: (500, "{}")
        assert (await ask(found, address, HARD))[0] == 500
        assert len(found.strong.requests) == 1


async def test_a_pause_as_long_as_a_model_thinks_passes_a_proxy(tmp_path: Path, recipe: str) -> None:
    """Every recipe waits five minutes; here it is only seen that none has a limit of seconds."""
    waits = re.findall(r"(?:proxy_read_timeout|timeout server|read_timeout) (\d+)s", (DEPLOY / recipe).read_text())
    assert waits == ["300"]
    async with gateway(tmp_path) as found, behind(recipe, tmp_path, found) as address:
        found.weak.hang_seconds = 2.0
        async with aiohttp.ClientSession() as session:
            body = {"model": "demur", "messages": [{"role": "user", "content": EASY}]}
            async with session.post(f"{address}/v1/chat/completions", json=body) as answer:
                assert answer.status == 200

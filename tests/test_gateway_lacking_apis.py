"""An endpoint that lacks an API, or whose model may not use it, is asked for the others as before."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from demur.models.apis import speaks
from gateways import EASY, Running, gateway, upstream

COMPLETION, EMBEDDING = {"prompt": EASY}, {"input": [EASY]}
BARE = {"detail": "Not Found"}


async def ask(found: Running, path: str, **body: object) -> tuple[int, str]:
    """(status, the error's message, or the body) of a request."""
    async with found.session.post(f"{found.address}/v1{path}", json={"model": "demur", **body}) as answer:
        value = await answer.json()
        return answer.status, str(value["error"]["message"]) if "error" in value else json.dumps(value)


def chat_alone(
    status: int, said: object, *, empty: int | None = None
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Answers chat completions, and any other API with this status; an empty request there with ``empty``."""

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/v1/chat/completions":
            choice = {"message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}
            return web.json_response({"choices": [choice]})
        is_probe = await request.read() == b"{}"
        return web.json_response(said, status=empty if empty and is_probe else status)

    return answer


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_an_api_that_no_endpoint_has(tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int) -> None:
    async with gateway(tmp_path) as found, upstream(chat_alone(status, BARE), found):
        for _ in range(6):  # more than open a breaker
            completed, embedded = (
                await ask(found, "/completions", **COMPLETION),
                await ask(found, "/embeddings", **EMBEDDING),
            )
        assert (await found.ask())[0] == 200
        upstreams = found.gateway.upstreams.values()
        assert [(one.problem, one.healthy) for one in upstreams] == [("", True), ("", True)]
    assert (completed[0], embedded[0]) == (400, 400)
    assert "the endpoint of small lacks /v1/completions" in completed[1]
    assert "use /v1/chat/completions" in completed[1]
    assert "the endpoint of large lacks /v1/embeddings" in embedded[1]
    assert "chat" not in embedded[1]  # nothing that embeds
    assert "look at its key" not in capsys.readouterr().err


async def test_what_one_endpoint_lacks_goes_to_the_other(tmp_path: Path) -> None:
    named = ("embedder",)
    async with (
        gateway(tmp_path, embedding_models=named) as found,
        upstream(chat_alone(404, BARE), found, ("weak",)),
    ):
        assert (await ask(found, "/completions", **COMPLETION))[0] == 200
        assert (await ask(found, "/embeddings", **EMBEDDING))[0] == 200
        for name in ("small", *named):
            status, said = await ask(found, "/embeddings", model=name, **EMBEDDING)
            assert status == 400
            assert "the endpoint of small lacks /v1/embeddings; ask for demur, or for the other model" in said
        assert len(found.strong.requests) == 2  # completions: an empty one, and that of the client


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_an_api_that_a_request_shows_to_be_lacking(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    async with gateway(tmp_path) as found, upstream(chat_alone(status, BARE, empty=400), found):
        for _ in range(6):
            found_status, said = await ask(found, "/embeddings", **EMBEDDING)
        assert (found_status, said) == (
            400,
            f"The endpoint of small lacks /v1/embeddings ({status}); name a model whose endpoint has it.",
        )
        assert found.gateway.upstreams["weak"].healthy
        assert not found.gateway.upstreams["weak"].problem
    logged = capsys.readouterr().err
    assert logged.count(f"answers {status} to POST /embeddings; its endpoint lacks this API") == 1
    assert "look at its key" not in logged


@pytest.mark.parametrize(
    ("status", "said", "told"),
    [
        (
            404,
            "This is a chat model, not one for completions.",
            (404, "This is a chat model, not one for completions."),
        ),
        (403, "You may not, sk-12", (502, "the gateway's own key or the model may not use /v1/completions (403)")),
    ],
)
async def test_what_a_model_that_answers_chat_refuses_elsewhere_is_not_its_account(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int, said: str, told: tuple[int, str]
) -> None:
    refusal = {"error": {"message": said}}
    async with gateway(tmp_path) as found, upstream(chat_alone(status, refusal, empty=400), found):
        await ask(found, "/completions", **COMPLETION)
        assert found.gateway.upstreams["weak"].problem  # for all that is known, its name or key is wrong
        assert (await found.ask())[0] == 200
        answered, message = await ask(found, "/completions", **COMPLETION)
        assert not found.gateway.upstreams["weak"].problem
    assert answered == told[0]
    assert told[1] in message
    assert "sk-12" not in message
    assert capsys.readouterr().err.count("look at its key") == 1


def test_a_404_that_speaks_of_a_model_is_of_an_api_that_is_there() -> None:
    assert speaks(404, b'{"error": {"message": "model \'\' not found"}}')
    assert not speaks(404, b'{"error": {"message": "File Not Found"}}')

"""A gateway whose router looks at pictures: the same words about another picture go to another model, in three APIs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from apis import speaking
from demur.gate.router import Router
from demur.measure.threshold import Calibration
from demur.models.encoders.encoder import LetterEncoder, load_encoder
from gateways import Running, gateway
from test_images import BLUE, RED, picture, trained, url_of, vision_model

WORDS = "Which colour is it?"


@asynccontextmanager
async def looking(tmp_path: Path, *, images: bool = True, **settings: Any) -> AsyncIterator[Running]:
    """Blue pictures need the strong model, red ones do not."""
    encoder: Any = load_encoder(f"letters+images={vision_model(tmp_path / 'vision')}") if images else LetterEncoder()
    router = replace(trained(tmp_path / "r", encoder), calibration=Calibration(0.5, 0.5, 28, "strong share 50%"))
    folder = tmp_path / "looking"
    Router(router).save(folder)
    async with gateway(tmp_path, router=str(folder), anyway=not images, **settings) as found, speaking(found):
        yield found


def body(api: str, *pictures: str, words: str = WORDS) -> tuple[str, dict[str, Any]]:
    """The path and the body of a request with these pictures."""
    text = [{"type": "text", "text": words}] if words else []
    if api == "chat":
        parts = [*text, *({"type": "image_url", "image_url": {"url": one}} for one in pictures)]
        return "/v1/chat/completions", {"model": "demur", "messages": [{"role": "user", "content": parts}]}
    if api == "messages":
        sources = (
            {"type": "base64", "media_type": "image/png", "data": one.partition(",")[2]}
            if one.startswith("data:")
            else {"type": "url", "url": one}
            for one in pictures
        )
        parts = [*text, *({"type": "image", "source": one} for one in sources)]
        return "/v1/messages", {"model": "demur", "max_tokens": 9, "messages": [{"role": "user", "content": parts}]}
    said = [{"type": "input_text", "text": words}] if words else []
    parts = [*said, *({"type": "input_image", "image_url": one} for one in pictures)]
    return "/v1/responses", {"model": "demur", "input": [{"role": "user", "content": parts}]}


async def decided(found: Running, api: str, *pictures: str, words: str = WORDS) -> dict[str, str]:
    path, given = body(api, *pictures, words=words)
    async with found.session.post(f"{found.address}{path}", json=given) as answer:
        await answer.read()
        return dict(answer.headers)


@pytest.mark.parametrize("api", ["chat", "messages", "responses"])
async def test_the_same_words_about_another_picture_have_another_score(tmp_path: Path, api: str) -> None:
    async with looking(tmp_path) as found:
        red, blue = await decided(found, api, RED), await decided(found, api, BLUE)
        assert (red["x-demur-model"], blue["x-demur-model"]) == ("small", "large")
        assert float(red["x-demur-score"]) == pytest.approx(0, abs=1e-4)
        assert float(blue["x-demur-score"]) == pytest.approx(1, abs=1e-4)
        assert "pictures" not in red["x-demur-reason"]
        alone = await decided(found, api, BLUE, words="")
        assert alone["x-demur-model"] == "large"
        assert "score" in alone["x-demur-reason"]


@pytest.mark.parametrize("api", ["chat", "messages", "responses"])
async def test_without_an_image_encoder_the_words_decide_and_the_reason_says_so(tmp_path: Path, api: str) -> None:
    async with looking(tmp_path, images=False) as found:
        red, blue = await decided(found, api, RED), await decided(found, api, BLUE)
        assert red["x-demur-score"] == blue["x-demur-score"]
        assert "routed by its text and that it has pictures, which were not looked at" in blue["x-demur-reason"]
        assert "no text to route" in (await decided(found, api, BLUE, words=""))["x-demur-reason"]


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("http://127.0.0.1:9/secret.png", "is not fetched"),
        ("data:image/png;base64,AAAA", "cannot be opened"),
    ],
)
async def test_a_picture_that_cannot_be_looked_at_stops_no_request(tmp_path: Path, address: str, named: str) -> None:
    async with looking(tmp_path) as found:
        found.gateway.decider.alone = lambda: False
        headers = await decided(found, "chat", address)
        assert "routed by its text and that it has pictures, which were not looked at" in headers["x-demur-reason"]
        assert named in headers["x-demur-reason"]
        assert (await decided(found, "chat", BLUE))["x-demur-model"] == "large"


async def test_a_broken_picture_does_not_spoil_the_batch_that_it_is_in(tmp_path: Path) -> None:
    import asyncio

    async with looking(tmp_path) as found:
        every = [RED, BLUE, url_of(b"broken"), BLUE, RED, url_of(picture((0, 0, 222)))]
        roles = [one["x-demur-model"] for one in await asyncio.gather(*(decided(found, "chat", u) for u in every))]
        assert [roles[0], roles[1], *roles[3:]] == ["small", "large", "large", "small", "large"]


async def test_a_later_question_is_about_the_last_picture(tmp_path: Path) -> None:
    async with looking(tmp_path, sticky=False) as found:
        said = [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": BLUE}}]},
            {"role": "assistant", "content": "a picture"},
            {"role": "user", "content": WORDS},
        ]
        _, headers, _ = await found.ask(messages=said)
        assert headers["x-demur-model"] == "large"


@pytest.mark.parametrize("api", ["chat", "messages", "responses"])
async def test_the_same_words_about_another_picture_are_another_conversation(tmp_path: Path, api: str) -> None:
    """The strong model's answer about one picture holds no question about another; the same again is another try."""
    async with looking(tmp_path) as found:
        models = [(await decided(found, api, one))["x-demur-model"] for one in (BLUE, RED, BLUE, RED)]
        assert models == ["large", "small", "large", "small"]
        first = await decided(found, api, RED, words="Which colour is it, of the three that I like the most?")
        assert first["x-demur-model"] == "small"

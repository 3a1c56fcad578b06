"""Prompts with pictures: both models see them, semantic entropy tells where, and the router says that it does not."""

from __future__ import annotations

import base64
import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import demur
from demur.errors import InputError
from demur.prompts import read_prompts
from demur.prompts.pictures import (
    LARGEST_BYTES,
    ShownText,
    count_pictures,
    has_pictures,
    pictures_in,
    shows_pictures,
    text_with_pictures,
    words_of,
)
from demur.statistics import auroc
from gateways import EASY, gateway
from pairs import running_pair


def png(noisy: bool, number: int) -> bytes:
    """A plain picture of one grey, or noise."""
    drawn = random.Random(number)
    picture = Image.new("L", (16, 16), 10 + number)
    if noisy:
        picture.putdata([drawn.randrange(256) for _ in range(256)])
    kept = io.BytesIO()
    picture.save(kept, "PNG")
    return kept.getvalue()


def url_of(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_entropy_tells_the_pictures_that_the_weak_model_cannot_read(tmp_path: Path) -> None:
    """Questions alike but for a number, forty pictures: the weak model guesses at noise, whatever the text."""
    rows: list[dict[str, Any]] = []
    noisy: list[bool] = []
    for i in range(40):
        data, hard = png(i % 2 == 1, i), i % 2 == 1
        (tmp_path / f"{i}.png").write_bytes(data)
        noisy.append(hard)
        rows.append({"id": f"p{i}", "prompt": f"Which grey is in {i}?", "images": str(tmp_path / f"{i}.png")})
    by_url = {url_of(png(hard, i)): i for i, hard in enumerate(noisy)}
    seen: dict[str, Any] = {}

    def shown(who: str) -> int:
        (part,) = [p for p in seen[who].requests[-1]["messages"][0]["content"] if p["type"] == "image_url"]
        return by_url[part["image_url"]["url"]]

    def strong(prompt: str, seed: int) -> str:
        return f"grey {shown('strong')}"

    def weak(prompt: str, seed: int) -> str:
        number = shown("weak")
        return f"grey {random.Random(seed).randrange(1000) if noisy[number] else number}"

    with running_pair(answers=(weak, strong)) as pair:
        seen |= {"weak": pair.weak, "strong": pair.strong}
        run = str(tmp_path / "run")
        demur.sample(write(tmp_path / "prompts.jsonl", rows), **pair.names, run=run, n=4)
        found = demur.label(run=run, entailment="exact", kind="margin")
    bad = np.array([noisy[int(row.id.removeprefix("p"))] for row in found.preferences], dtype=float)
    assert auroc(np.array([row.entropy_a or 0.0 for row in found.preferences]), 1 - bad) == 1.0
    targets = np.array([row.target for row in found.preferences])
    assert targets[bad == 1].min() > targets[bad == 0].max()
    (unseen,) = [note for note in found.notes if "the router does not see the pictures of 40 prompts" in note]
    assert "`demur train --encoder " in unseen


def test_messages_with_pictures_are_asked_whole(tmp_path: Path) -> None:
    content = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": url_of(png(True, 1))}},
    ]
    (prompt,) = read_prompts(write(tmp_path / "p.jsonl", [{"messages": [{"role": "user", "content": content}]}]))
    assert words_of(prompt.text) == "What is it?"
    assert isinstance(prompt.text, ShownText)
    assert prompt.text.pictures == (url_of(png(True, 1)),)
    assert has_pictures(prompt)
    assert prompt.request is not None
    assert json.loads(prompt.request.body)["messages"][0]["content"] == content


@pytest.mark.parametrize(
    ("images", "named"),
    [
        ("missing.png", "2: the picture 'missing.png' cannot be read"),
        ("text.png", "is not a PNG, JPEG, GIF or WebP picture"),
        ("huge.png", "has 50 MiB, at most 20 are sent"),
        ([], "field 'images' must hold paths"),
        ([3], "field 'images' must hold paths"),
        ("cut.png", r"2: the picture 'cut.png' is cut off"),
        ("cut.jpg", r"2: the picture 'cut.jpg' is cut off"),
        ("cut.webp", r"2: the picture 'cut.webp' is cut off"),
        ("data:image/png;base64,@@@", "2: the picture 'data:image/png;base64,@@@' is not a data URL in base64"),
        (url_of(b"no picture"), "2: 'data:image/png;base64,.*' is not a PNG"),
        (url_of(png(False, 1)[:40]), "2: the picture 'data:image/png;base64,.*' is cut off"),
        (url_of(bytes(21 * 2**20)), "2: the picture 'data:image/png;base64,.*' has 21 MiB, at most 20 are sent"),
    ],
)
def test_pictures_that_do_not_load_are_named_with_their_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: Any, named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.png").write_text("no picture")
    for kind in ("png", "jpg", "webp"):
        Image.new("RGB", (16, 16)).save(f"whole.{kind}")
        whole = Path(f"whole.{kind}").read_bytes()
        assert count_pictures(text_with_pictures("?", f"whole.{kind}")) == 1
        Path(f"cut.{kind}").write_bytes(whole[: len(whole) - 12])
    with Path("huge.png").open("wb") as stream:
        stream.truncate(50 * 2**20)
    assert LARGEST_BYTES < 50 * 2**20
    rows = [{"prompt": "What?", "images": [url_of(png(False, 1))]}, {"prompt": "And this?", "images": images}]
    with pytest.raises(InputError, match=named):
        read_prompts(write(Path("p.jsonl"), rows))


def test_a_broken_picture_in_a_message_is_named_with_its_row(tmp_path: Path) -> None:
    picture = {"type": "image_url", "image_url": {"url": url_of(png(True, 1)[:40])}}
    content = [{"type": "text", "text": "What is it?"}, picture]
    rows = [{"messages": [{"role": "user", "content": content}]}]
    with pytest.raises(InputError, match=r"p\.jsonl:1: the picture .* is cut off"):
        read_prompts(write(tmp_path / "p.jsonl", rows))


async def test_the_gateway_says_that_pictures_were_not_looked_at(tmp_path: Path) -> None:
    content = [{"type": "text", "text": EASY}, {"type": "image_url", "image_url": {"url": url_of(png(True, 1))}}]
    async with gateway(tmp_path) as found:
        _, headers, _ = await found.ask(messages=[{"role": "user", "content": content}])
        said = "routed by its text and that it has pictures, which were not looked at"
        assert said in headers["x-demur-reason"]
        assert "pictures" not in (await found.ask(EASY))[1]["x-demur-reason"]


def test_a_part_of_an_odd_type_is_no_picture_and_an_address_may_hold_half_a_sign() -> None:
    """Clients send what they like: a list as a type, and half of a surrogate pair, as JSON can spell it."""
    odd = [{"role": "user", "content": [{"type": ["image"]}, {"type": {"a": 1}}, {"type": None}, 7, None]}]
    assert pictures_in(odd) == () and not shows_pictures(odd)
    half = json.loads('"data:\\ud83d"')
    assert count_pictures(ShownText.of("look", [half])) == 1

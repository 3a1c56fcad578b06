"""Pictures that come with a prompt: files, URLs or data, as parts of the chat request that both models are asked.

Both models see them, their answers are texts like any other. The router does not see them: it routes by the text.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from demur.errors import InputError
from demur.records import ChatRequest, Prompt

LARGEST_BYTES = 20 * 2**20  # of one picture: what OpenAI takes
_PARTS = frozenset({"image_url", "input_image", "image"})
_KINDS = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif"}
_WEBP = (b"RIFF", b"WEBP")


def shows_pictures(messages: Sequence[Any]) -> bool:
    """Whether a part of a conversation's messages is a picture."""
    return any(
        isinstance(part, Mapping) and part.get("type") in _PARTS
        for message in messages
        if isinstance(message, Mapping) and isinstance(message.get("content"), list)
        for part in message["content"]
    )


def has_pictures(prompt: Prompt) -> bool:
    """Whether a prompt is asked with pictures."""
    return prompt.request is not None and shows_pictures(json.loads(prompt.request.body).get("messages", ()))


def pictured_request(text: str, images: Any, where: str) -> ChatRequest:
    """The request that asks ``text`` about ``images``: paths, http(s) URLs or data URLs. Raises InputError."""
    given = [images] if isinstance(images, str) else images
    if not isinstance(given, list) or not given or not all(isinstance(one, str) and one for one in given):
        raise InputError(f"{where}: field 'images' must hold paths, URLs or data URLs, found {repr(images)[:80]}")
    parts = [{"type": "image_url", "image_url": {"url": _address(one, where)}} for one in given]
    content = [{"type": "text", "text": text}, *parts]
    return ChatRequest(json.dumps({"messages": [{"role": "user", "content": content}]}, ensure_ascii=False))


def _address(image: str, where: str) -> str:
    """A URL as it is; a file as a data URL."""
    if image.startswith(("http://", "https://", "data:image/")):
        return image
    path = Path(image)
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= LARGEST_BYTES and path.is_file() else b""
    except OSError as error:
        raise InputError(f"{where}: the picture {image[:80]!r} cannot be read ({error.strerror})") from None
    if size > LARGEST_BYTES:
        raise InputError(
            f"{where}: the picture {image[:80]!r} has {size / 2**20:.0f} MiB, at most {LARGEST_BYTES >> 20} are sent; "
            "make it smaller"
        )
    kind = next((name for magic, name in _KINDS.items() if data.startswith(magic)), "")
    kind = "webp" if data[:4] == _WEBP[0] and data[8:12] == _WEBP[1] else kind
    if not kind:
        raise InputError(f"{where}: {image[:80]!r} is no PNG, JPEG, GIF or WebP picture")
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"

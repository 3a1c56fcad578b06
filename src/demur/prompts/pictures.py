"""Pictures that come with a prompt: files, URLs or data, as parts of the chat request that both models are asked.

Both models see them, their answers are texts like any other. What is routed is a `ShownText`: the words, and a line for
each picture, so that the same question about another picture is another prompt. An encoder of pictures looks at them;
any other reads that there are some.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from demur.errors import InputError
from demur.records import ChatRequest, Prompt

LARGEST_BYTES = 20 * 2**20  # of one picture: what OpenAI takes
_PARTS = frozenset({"image_url", "input_image", "image"})
_KINDS = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif"}
_WEBP = (b"RIFF", b"WEBP")
_ENDS = {"png": b"IEND", "jpeg": b"\xff\xd9", "gif": b";"}  # what stands at the end of a whole one
_LOOKED_AT = tuple(f"data:image/{kind}" for kind in ("png", "jpeg", "jpg", "gif", "webp"))
_LINE = re.compile(r"\[image [0-9a-f]{16}\]")


class ShownText(str):
    """A text and the pictures that come with it. As a string it is the words, then a line ``[image HASH]`` a picture.

    Whatever keeps texts keeps the lines; the pictures themselves are in this process only.
    """

    pictures: tuple[str, ...]  # addresses: data URLs, or http(s) URLs, which nobody here fetches
    where: str  # file and line that it was read from; empty: it was not

    def __new__(cls, value: str, pictures: Sequence[str] = (), where: str = "") -> Self:
        found = super().__new__(cls, value)
        found.pictures, found.where = tuple(pictures), where
        return found

    @classmethod
    def of(cls, words: str, pictures: Sequence[str], where: str = "") -> Self:
        """The text of words with these pictures."""
        lines = (f"[image {hashlib.sha256(one.encode(errors='surrogatepass')).hexdigest()[:16]}]" for one in pictures)
        return cls("\n".join(filter(None, [words, *lines])), pictures, where)


def text_with_pictures(words: str, images: str | Sequence[str]) -> ShownText:
    """A prompt with pictures for `demur.Router`: paths, http(s) URLs or data URLs. Raises InputError."""
    return ShownText.of(words, _addresses(images, "the prompt"))


def words_of(text: str) -> str:
    """A text without the lines of its pictures; empty of pictures alone."""
    return _LINE.sub("", text).strip() if "[image " in text else text


def told_of(text: str) -> str:
    """A text as an encoder of texts reads it: each picture is ``[image]``, whichever it is."""
    return _LINE.sub("[image]", text) if "[image " in text else text


def count_pictures(text: str) -> int:
    """How many pictures a text came with."""
    return len(_LINE.findall(text)) if "[image " in text else 0


def pictures_in(messages: Any) -> tuple[str, ...]:
    """Addresses of the pictures of the last message that has any, in a conversation in the form of a chat completion's.

    Blocks of Anthropic's and parts of Responses are read as well. A picture without an address, such as an uploaded
    file's number, is an address of its own that nobody can open.
    """
    said = [one for one in messages if isinstance(one, Mapping)] if isinstance(messages, list) else []
    for message in reversed(said):
        content = message.get("content")
        parts = content if isinstance(content, list) else []
        found = [_address_in(one) for one in parts if _is_picture(one)]
        if found:
            return tuple(found)
    return ()


def _is_picture(part: Any) -> bool:
    kind = part.get("type") if isinstance(part, Mapping) else None
    return isinstance(kind, str) and kind in _PARTS  # a client may send a list, which is not hashable


def _address_in(part: Mapping[str, Any]) -> str:
    source = part.get("source")
    if isinstance(source, Mapping):  # Anthropic's
        if isinstance(source.get("data"), str):
            return f"data:{source.get('media_type')};base64,{source['data']}"
        return str(source.get("url") or source.get("file_id"))
    given = part.get("image_url")
    return str((given.get("url") if isinstance(given, Mapping) else given) or part.get("file_id"))


def shows_pictures(messages: Sequence[Any]) -> bool:
    """Whether a part of a conversation's messages is a picture."""
    return any(
        _is_picture(part)
        for message in messages
        if isinstance(message, Mapping) and isinstance(message.get("content"), list)
        for part in message["content"]
    )


def has_pictures(prompt: Prompt) -> bool:
    """Whether a prompt is asked with pictures."""
    return prompt.request is not None and shows_pictures(json.loads(prompt.request.body).get("messages", ()))


def pictured_request(text: str, images: Any, where: str) -> ChatRequest:
    """The request that asks ``text`` about ``images``: paths, http(s) URLs or data URLs. Raises InputError."""
    parts = [{"type": "image_url", "image_url": {"url": one}} for one in _addresses(images, where)]
    content = [{"type": "text", "text": text}, *parts]
    return ChatRequest(json.dumps({"messages": [{"role": "user", "content": content}]}, ensure_ascii=False))


def with_pictures(text: str, request: ChatRequest | None, where: str) -> str:
    """The text that is routed of what is asked so, with its pictures, if any. Raises InputError for a data URL without
    a whole picture."""
    found = pictures_in(json.loads(request.body).get("messages")) if request else ()
    for one in found:
        check_data_url(one, where)
    return ShownText.of(text, found, where) if found else text


def _addresses(images: Any, where: str) -> list[str]:
    given = [images] if isinstance(images, str) else images
    if not isinstance(given, list | tuple) or not given or not all(isinstance(one, str) and one for one in given):
        raise InputError(f"{where}: field 'images' must hold paths, URLs or data URLs, found {repr(images)[:80]}")
    return [_address(one, where) for one in given]


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
        raise InputError(_too_large(repr(image[:80]), size, where))
    return f"data:image/{_kind_of_whole(data, image, where)};base64,{base64.b64encode(data).decode()}"


def _too_large(named: str, size: int, where: str) -> str:
    return (
        f"{where}: the picture {named} has {size / 2**20:.0f} MiB, at most {LARGEST_BYTES >> 20} are sent; make it "
        "smaller"
    )


def check_data_url(address: str, where: str) -> None:
    """Raise InputError for a data URL that holds no whole picture; other addresses are not looked at."""
    if not address.startswith("data:"):
        return
    head, _, text = address.partition(",")
    if len(text) * 3 // 4 > LARGEST_BYTES:
        raise InputError(_too_large(repr(address[:40]), len(text) * 3 // 4, where))
    try:
        data = base64.b64decode(text, validate=True) if head.endswith(";base64") else b""
    except ValueError:
        data = b""
    if not data:
        raise InputError(f"{where}: the picture {address[:40]!r} is not a data URL in base64")
    if head.startswith(_LOOKED_AT):  # an endpoint may know others
        _kind_of_whole(data, address, where)


def _kind_of_whole(data: bytes, named: str, where: str) -> str:
    """What a picture's bytes are. Raises InputError for other bytes, and for a picture that is cut off."""
    kind = next((name for magic, name in _KINDS.items() if data.startswith(magic)), "")
    kind = "webp" if data[:4] == _WEBP[0] and data[8:12] == _WEBP[1] else kind
    if not kind:
        raise InputError(f"{where}: {named[:80]!r} is not a PNG, JPEG, GIF or WebP picture")
    end = _ENDS.get(kind, b"")
    if end not in data[12:] or (kind == "webp" and len(data) < 8 + int.from_bytes(data[4:8], "little")):
        raise InputError(f"{where}: the picture {named[:80]!r} is cut off: its end is missing; save it again")
    return kind

"""What an endpoint can do beside short texts: the APIs that it speaks, images, tools, JSON schemas, its context.

Each is asked for once, in the shortest request that needs it; what is not clear from the answer stays unknown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from demur.models.apis import API_HEADERS, API_PATHS, EMPTY, Api, speaks
from demur.models.endpoint import Endpoint, authorization
from demur.records import Fact

_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
_IMAGE = [
    {"type": "text", "text": "Which colour is it?"},
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_PIXEL}"}},
]
_COLOUR = {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}
_ASK = "Name a colour."
_NEEDS: Mapping[str, dict[str, Any]] = {
    "images": {"messages": [{"role": "user", "content": _IMAGE}], "max_tokens": 1},
    "tools": {
        "messages": [{"role": "user", "content": _ASK}],
        "max_tokens": 16,
        "tools": [{"type": "function", "function": {"name": "paint", "parameters": _COLOUR}}],
    },
    "json_schema": {
        "messages": [{"role": "user", "content": f"{_ASK} Answer in JSON."}],
        "max_tokens": 64,
        "response_format": {"type": "json_schema", "json_schema": {"name": "colour", "schema": _COLOUR}},
    },
}
_PLAIN: dict[str, Any] = {"messages": [{"role": "user", "content": _ASK}], "max_tokens": 1}
NOT_ABLE = "no: the gateway asks the other model, and answers 400 where neither can"
FEW_TOKENS = 16
_COUNT = [{"role": "user", "content": "Count from 1 to 40 in words."}]
_LONGEST = ("max_tokens", "max_completion_tokens")  # names of the longest answer, in tokens
_SENT: Mapping[str, Any] = {"temperature": 0.5, "top_p": 0.5, "stop": ["zzz"], "seed": 1}  # that clients often send
_Reply = tuple[int, bytes]  # status and body
_REFUSALS = frozenset({400, 415, 422, 500, 501})
_CONTEXTS = ("max_model_len", "loaded_context_length", "context_length", "context_window", "max_context_length")


@dataclass(frozen=True, slots=True)
class EndpointAbilities:
    """What an endpoint can do; None: the answers do not show it."""

    speaks: tuple[Api, ...]
    images: bool | None = None
    tools: bool | None = None
    json_schema: bool | None = None
    context_tokens: int | None = None  # of one request with its answer
    drop: tuple[str, ...] = ()  # members that clients send and it refuses
    rename: Mapping[str, str] = field(default_factory=dict)  # and those that it takes under another name

    @property
    def facts(self) -> tuple[Fact, ...]:
        """One each, with what follows for the gateway. Images and tools are accepted: whether they were heeded, an
        answer does not show.
        """
        words = {None: "unknown: refusals will show it", True: "yes", False: NOT_ABLE}
        accepted = {"images": self.images, "tools": self.tools}
        context = f"{self.context_tokens:,} tokens" if self.context_tokens else "unknown: refusals will show it"
        return (
            ("speaks", ", ".join(self.speaks) or "none of the APIs that demur knows"),
            *((name, words[able] if able is not True else "accepted") for name, able in accepted.items()),
            ("json_schema", words[self.json_schema]),
            ("context", context),
            *([("refuses", f"{', '.join(self.drop)}: the gateway leaves it out (drop)")] if self.drop else []),
            *(("takes", f"{new} in place of {old} (rename)") for old, new in self.rename.items()),
        )

    @property
    def settings(self) -> dict[str, object]:
        """What is known, as the gateway's settings have it."""
        found: dict[str, object] = {"speaks": list(self.speaks)} if self.speaks else {}
        rest = {name: getattr(self, name) for name in ("images", "tools", "json_schema", "context_tokens")}
        fitted = {"drop": list(self.drop), "rename": dict(self.rename)}
        known = {name: value for name, value in rest.items() if value is not None}
        return found | known | {name: value for name, value in fitted.items() if value}


async def probe_abilities(endpoint: Endpoint, fit: Callable[[Mapping[str, Any]], dict[str, Any]]) -> EndpointAbilities:
    """Find out what an endpoint can do; it must be running. ``fit`` leaves out the fields that it does not take."""
    timeout = aiohttp.ClientTimeout(total=endpoint.timeout_seconds)
    async with aiohttp.ClientSession(timeout=timeout, headers=authorization(endpoint)) as session:
        # the model has just answered a chat, whatever becomes of an empty one
        spoken = [api for api in API_PATHS if api == "chat" or await _speaks(session, endpoint, api)]
        plain = await _ask(session, endpoint, fit(_PLAIN)) if "chat" in spoken else None
        asked = _NEEDS if plain and plain[0] == 200 else {}  # else a refusal would say nothing
        found = {name: _can(name, await _ask(session, endpoint, fit(need))) for name, need in asked.items()}
        context = await _context(session, endpoint)
        if not asked:
            return EndpointAbilities(tuple(spoken), context_tokens=context)
        rename = await _renamed_fields(session, endpoint)
        drop = [name for name in _SENT if await _refuses(session, endpoint, name, rename)]
        return EndpointAbilities(tuple(spoken), **found, context_tokens=context, drop=tuple(drop), rename=rename)


async def _renamed_fields(session: aiohttp.ClientSession, endpoint: Endpoint) -> dict[str, str]:
    """Which of the two names of the longest answer it refuses, or does not heed, where it takes the other one."""
    heeds = {name: await _heeds(session, endpoint, name) for name in _LONGEST}
    return {
        name: other for name, other in zip(_LONGEST, _LONGEST[::-1], strict=True) if heeds[other] and not heeds[name]
    }


async def _heeds(session: aiohttp.ClientSession, endpoint: Endpoint, name: str) -> bool:
    """Whether an answer is no longer than a member of this name says."""
    reply = await _ask(session, endpoint, {"messages": _COUNT, name: FEW_TOKENS})
    if reply is None or reply[0] != 200:
        return False
    try:
        counted = json.loads(reply[1])["usage"]["completion_tokens"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return True  # it took the member, and does not count
    return not isinstance(counted, int) or counted <= FEW_TOKENS


async def _refuses(session: aiohttp.ClientSession, endpoint: Endpoint, name: str, rename: Mapping[str, str]) -> bool:
    """Whether it refuses a request for this member, which it answers without it."""
    longest = rename.get(_LONGEST[0], _LONGEST[0])
    reply = await _ask(session, endpoint, {"messages": _COUNT, longest: FEW_TOKENS, name: _SENT[name]})
    return reply is not None and reply[0] in (400, 422) and name.encode() in reply[1]


async def _speaks(session: aiohttp.ClientSession, endpoint: Endpoint, api: Api) -> bool:
    answer = await _post(session, endpoint, api, EMPTY)
    return answer is not None and speaks(*answer)


async def _ask(session: aiohttp.ClientSession, endpoint: Endpoint, need: Mapping[str, Any]) -> _Reply | None:
    return await _post(session, endpoint, "chat", json.dumps({"model": endpoint.model, **need}).encode())


def _can(need: str, reply: _Reply | None) -> bool | None:
    """Whether an endpoint that answers plain requests can answer one that needs this, by its reply."""
    if reply is None or (reply[0] != 200 and reply[0] not in _REFUSALS):
        return None
    if reply[0] != 200:
        return False
    return _is_colour(reply[1]) if need == "json_schema" else b'"error"' not in reply[1]


def _is_colour(body: bytes) -> bool:
    """Whether a completion's text is JSON of the schema that was asked for, rather than words about it."""
    try:
        value = json.loads(json.loads(body)["choices"][0]["message"]["content"])
    except (ValueError, TypeError, LookupError, RecursionError):
        return False
    return isinstance(value, dict) and isinstance(value.get("colour"), str)


async def _context(session: aiohttp.ClientSession, endpoint: Endpoint) -> int | None:
    """As `/models` says (vLLM, SGLang, LM Studio and others), or llama.cpp's `/props`."""
    listed = await _get(session, f"{endpoint.base_url}/models")
    rows = listed.get("data") if isinstance(listed, dict) else None
    own = [one for one in rows if isinstance(one, dict)] if isinstance(rows, list) else []
    row = next((one for one in own if one.get("id") == endpoint.model), {})
    props = await _get(session, f"{endpoint.base_url.removesuffix('/v1')}/props")
    given = props.get("default_generation_settings") if isinstance(props, dict) else None
    counts = [*(row.get(name) for name in _CONTEXTS), given.get("n_ctx") if isinstance(given, dict) else None]
    return next((count for count in counts if type(count) is int and count > 0), None)


async def _post(session: aiohttp.ClientSession, endpoint: Endpoint, api: Api, body: bytes) -> _Reply | None:
    url = endpoint.base_url + API_PATHS[api]
    try:
        async with session.post(url, data=body, headers=API_HEADERS[api], allow_redirects=False) as response:
            return response.status, await response.read()
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None


async def _get(session: aiohttp.ClientSession, url: str) -> Any:
    try:
        async with session.get(url, allow_redirects=False) as response:
            return json.loads(await response.read()) if response.status == 200 else None
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError):
        return None

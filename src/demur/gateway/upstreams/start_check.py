"""What keeps a model from answering, found out when the gateway starts: its key, its address, its name.

The gateway starts all the same, since the other model can answer. Some endpoints name their models to everybody, and
some keys may not list models: an empty request decides about the key. A name that is not listed may be an alias: an
ordinary request decides about it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from demur.gateway.protocols.openai import CHAT
from demur.gateway.settings import GatewaySettings
from demur.gateway.upstreams.upstream import BROKEN, Upstream, UpstreamDown
from demur.models.endpoint import Endpoint, is_loopback
from demur.records import Role

SECONDS = 2.5  # until a model that says nothing is taken for well
REFUSALS = (401, 403)
SHOWN = 4  # names of other models


async def check_start(upstreams: Mapping[Role, Upstream], settings: GatewaySettings, *, say: bool = True) -> None:
    """Find what keeps each model from answering, keep it as its `Upstream.problem`, and say it on stderr."""

    async def check(role: Role, upstream: Upstream) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(SECONDS):
                upstream.problem = await start_problem(role, upstream, settings)

    await asyncio.gather(*(check(*one) for one in upstreams.items()))
    for role, upstream in upstreams.items():
        endpoint = upstream.endpoint
        elsewhere = not endpoint.api_key_env and not is_loopback(endpoint.base_url)
        unkeyed = without_key(role, endpoint, settings) if elsewhere else ""
        for line in dict.fromkeys(filter(None, (unkeyed, upstream.problem))) if say else ():
            print(f"demur: {line}", file=sys.stderr)


async def start_problem(role: Role, upstream: Upstream, settings: GatewaySettings) -> str:
    """What keeps one model from answering, and what to do; "" where nothing is seen to."""
    endpoint = upstream.endpoint
    cannot, at = f"the {role} model cannot answer", f"{endpoint.model} at {endpoint.base_url}"
    try:
        status, listed = await upstream.list_models()
        found = await upstream.probe(CHAT) if status < 400 or status in REFUSALS else None
        asked = status if found is None or found[0] == 404 else found[0]
        if asked in REFUSALS:
            if not endpoint.api_key_env:
                return without_key(role, endpoint, settings)
            said = f"{at} refuses the key in {endpoint.api_key_env} ({asked})"
            return f"{cannot}: {said}; export one that it takes, and start again"
        names = _names(listed) if status < 400 else []
        if names and not _is_listed(endpoint.model, names) and await _is_unknown(upstream):
            some = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
            return f"{cannot}: {at} has no model of this name; it has {some}: name one of them, and start again"
    except (*BROKEN, UpstreamDown) as error:
        why = upstream.explain(error)
        return f"{cannot}: {at} {why}; look at the address, and whether it runs (each request asks it again)"
    return ""


def without_key(role: Role, endpoint: Endpoint, settings: GatewaySettings) -> str:
    """What the start says of a model, on another machine or seen to want a key, that is asked without one."""
    table, url = "[[models]]" if settings.between else f"[{role}]", endpoint.base_url
    advice = f'name its variable, by api_key_env = "VARIABLE" in {table}, or MODEL@URL#VARIABLE of --{role}'
    if settings.served_model(role) is None:
        advice = f"name its variable: --allow-endpoint {urlsplit(url).netloc}#VARIABLE"
    return f"{endpoint.model} at {url} is asked without a key; unless it takes none, it will answer 401: {advice}"


def _names(listed: bytes) -> list[str]:
    """The ids in an endpoint's list of models; none where it cannot be read."""
    try:
        rows: object = json.loads(listed)["data"]
    except (ValueError, KeyError, TypeError):
        return []
    return [str(one["id"]) for one in rows if isinstance(one, dict) and "id" in one] if isinstance(rows, list) else []


def _is_listed(name: str, names: Iterable[str]) -> bool:
    """Whether a name is listed, with or without a tag (`:latest`) or a folder (`models/`)."""
    return any(name == one or one.startswith(f"{name}:") or one.endswith(f"/{name}") for one in names)


async def _is_unknown(upstream: Upstream) -> bool:
    """Whether an ordinary request is answered by 404 because of the model."""
    answer = await upstream.ask_ordinary(CHAT, CHAT.path)
    answer.close()
    return answer.status == 404 and b"model" in (answer.whole or b"").lower()

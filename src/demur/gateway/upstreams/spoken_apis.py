"""Which APIs each model's endpoint speaks: as the settings state it, else as its answer to an empty request shows.

An empty request costs nothing: whoever serves the path refuses it, whoever does not says that there is no such path.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from demur.gateway.http.openai_bodies import ApiError
from demur.gateway.protocols.openai import CHAT
from demur.gateway.protocols.protocol import Protocol
from demur.gateway.settings import ServedModel
from demur.gateway.upstreams.upstream import Upstream
from demur.models.apis import speaks
from demur.records import Role

HELD_SECONDS = 600.0  # an endpoint is asked again after so long: it may have been updated


class SpokenApis:
    """Both models' APIs."""

    def __init__(self, stated: Mapping[Role, ServedModel | None], upstreams: Mapping[Role, Upstream]) -> None:
        self._stated, self._upstreams = stated, upstreams
        self._any_stated = any(model and model.speaks for model in stated.values())
        self._found: dict[tuple[Role, str], tuple[bool, float]] = {}  # and until when, of time.monotonic

    async def models_without(self, protocol: Protocol) -> dict[Role, str]:
        """The models that do not speak an API, each with words that say so. Raises ApiError if no model does."""
        if protocol is CHAT and not self._any_stated:
            return {}
        path = f"/v1{protocol.path}"
        found = {role: f"the endpoint of {up.endpoint.model} lacks {path}" for role, up in self._upstreams.items()}
        lacks = {role: said for role, said in found.items() if not await self._speaks(role, protocol)}
        if len(lacks) == len(self._upstreams):
            raise ApiError(400, f"No model can answer this request: {no_one(lacks, protocol)}", code="unsupported_api")
        return lacks

    async def _speaks(self, role: Role, protocol: Protocol) -> bool:
        stated = self._stated.get(role)
        if stated is not None and stated.speaks:
            return protocol.name in stated.speaks
        if protocol is CHAT:
            return True
        known, until = self._found.get((role, protocol.name), (True, 0.0))
        if time.monotonic() >= until:
            answer = await self._upstreams[role].probe(protocol)
            if answer is None:  # it is down: the request finds out
                return known
            known = speaks(*answer)
            self._found[role, protocol.name] = known, time.monotonic() + HELD_SECONDS
        return known


def no_one(lacks: Mapping[Role, str], protocol: Protocol) -> str:
    """What to do where no model speaks an API."""
    advice = f"use /v1{CHAT.path}, or serve" if protocol.writes else "serve"
    where = "`demur doctor` lists what an endpoint speaks, `speaks` in [weak] and [strong] overrules"
    return f"{'; '.join(lacks.values())}; {advice} a model whose endpoint has it ({where})."

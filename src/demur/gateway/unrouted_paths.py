"""Routes that ask no model: the names that are served, and whether the process and the models answer."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

from demur.gateway.app import Gateway
from demur.gateway.decision.aliases import DEMUR, plain_aliases
from demur.gateway.decision.choose_model import unknown_model
from demur.gateway.http.openai_bodies import model_entry, model_list


async def models(gateway: Gateway, request: web.Request) -> web.Response:
    """GET /v1/models."""
    gateway.admit_reader(request)
    names = dict.fromkeys([DEMUR, *gateway.chooser.direct, *plain_aliases(gateway.settings.aliases)])
    return web.Response(body=model_list(list(names), int(time.time())), content_type="application/json")


async def model(gateway: Gateway, request: web.Request) -> web.Response:
    """GET /v1/models/NAME."""
    gateway.admit_reader(request)
    name = request.match_info["name"]
    if not gateway.chooser.knows(name):
        raise unknown_model(name, gateway.chooser.direct)
    return web.json_response(model_entry(name, int(time.time())))


async def live(gateway: Gateway, request: web.Request) -> web.Response:
    """GET /health: the process answers."""
    return web.json_response(
        {"status": "draining" if gateway.leaving else "ok"}, status=503 if gateway.leaving else 200
    )


async def ready(gateway: Gateway, request: web.Request) -> web.Response:
    """GET /health/ready: both upstreams' state; 200 as long as one of them answers."""
    states = await asyncio.gather(*(up.alive() for up in gateway.upstreams.values()))
    found = {
        role: {"model": up.endpoint.model, "alive": state, "circuit": "open" if up.breaker.open else "closed"}
        for (role, up), state in zip(gateway.upstreams.items(), states, strict=True)
    }
    return web.json_response(found, status=200 if any(states) and not gateway.leaving else 503)

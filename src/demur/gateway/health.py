"""GET /health and /health/ready: does the process answer, and do the models?"""

from __future__ import annotations

import asyncio

from aiohttp import web

from demur.gateway.app import Gateway


async def live(gateway: Gateway, request: web.Request) -> web.Response:
    """GET /health: the process answers."""
    return web.json_response(
        {"status": "draining" if gateway.draining else "ok"}, status=503 if gateway.draining else 200
    )


async def ready(gateway: Gateway, request: web.Request) -> web.Response:
    """GET /health/ready: both upstreams' state; 200 as long as one of them answers."""
    states = await asyncio.gather(*(up.alive() for up in gateway.upstreams.values()))
    found = {
        role: {"model": up.endpoint.model, "alive": state, "circuit": "open" if up.breaker.open else "closed"}
        for (role, up), state in zip(gateway.upstreams.items(), states, strict=True)
    }
    return web.json_response(found, status=200 if any(states) and not gateway.draining else 503)

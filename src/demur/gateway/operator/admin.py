"""The operator's routes (dashboard, metrics, reload), and the check that a request is the operator's."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable

from aiohttp import web

from demur.errors import DemurError
from demur.gateway.app import Gateway
from demur.gateway.clients.keys import bearer
from demur.gateway.http.openai_bodies import ApiError
from demur.gateway.http.origins import host_name, is_loopback, is_own
from demur.gateway.ledger.export import bill_page
from demur.gateway.ledger.read import read_decision
from demur.gateway.operator.dashboard import FILES, metrics_text, over_time, page, page_file, statistics
from demur.gateway.operator.decision_page import decision_page
from demur.gateway.settings import GatewaySettings
from demur.gateway.workers.shared_state import Board
from demur.models.endpoint import secret

FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'; img-src data:; style-src 'self'; "
    "script-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
OPERATOR_ROUTES = "GET / (the dashboard), /metrics, /admin/stats, /admin/series, /admin/bills, POST /admin/reload"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def add_admin(
    app: web.Application, gateway: Gateway, board: Board | None, reload: Callable[[str], Awaitable[float]]
) -> None:
    """Routes of the operator. ``reload`` takes over what is new, on behalf of somebody, and returns the threshold."""
    routes = AdminRoutes(gateway, board, reload)
    for path, handler in (
        ("/metrics", routes.metrics),
        ("/", routes.page),
        ("/dashboard/{name}", routes.file),
        ("/decisions/{id}", routes.decision),
        ("/admin/stats", routes.stats),
        ("/admin/series", routes.series),
        ("/admin/bills", routes.bills),
    ):
        app.router.add_get(path, routes.for_operator(handler))
    app.router.add_post("/admin/reload", routes.for_operator(routes.reload))


class AdminRoutes:
    """What the operator may ask of a gateway; each of the public coroutines answers one route."""

    def __init__(self, gateway: Gateway, board: Board | None, reload: Callable[[str], Awaitable[float]]) -> None:
        self._gateway, self._board, self._reload = gateway, board, reload

    def for_operator(self, handler: Handler) -> Handler:
        """The same handler for the operator alone; others get an error of the API."""

        async def check_request(request: web.Request) -> web.StreamResponse:
            try:
                admit(self._gateway.settings, request)
            except ApiError as error:
                self._gateway.metrics.refuse(error.status)
                asks = {"WWW-Authenticate": 'Basic realm="demur"'} if error.status == 401 else {}
                return web.Response(body=error.body, status=error.status, headers=asks, content_type="application/json")
            return await handler(request)

        return check_request

    async def metrics(self, request: web.Request) -> web.Response:
        """Counters and histograms in Prometheus' text format."""
        return web.Response(text=metrics_text(self._gateway, self._board), content_type="text/plain")

    async def page(self, request: web.Request) -> web.Response:
        """The dashboard."""
        return web.Response(text=page(self._gateway), content_type="text/html", headers=PAGE_HEADERS)

    async def file(self, request: web.Request) -> web.Response:
        """A file of the dashboard, such as its script."""
        name = request.match_info["name"]
        if name not in FILES:
            raise web.HTTPNotFound
        return web.Response(text=page_file(name), content_type=FILES[name], headers=PAGE_HEADERS)

    async def decision(self, request: web.Request) -> web.Response:
        """A request's record, the decision on it, and training prompts like it."""
        name = request.match_info["id"]
        record = await asyncio.to_thread(read_decision, self._ledger(), name)
        if record is None:
            raise ApiError(404, f"The ledger has no decision {name[:40]!r}; it is written half a second later.")
        text = await asyncio.to_thread(decision_page, record, self._gateway.decider.router)
        return web.Response(text=text, content_type="text/html", headers=PAGE_HEADERS)

    async def stats(self, request: web.Request) -> web.Response:
        """The dashboard's figures: now and in the last hour."""
        return web.json_response(statistics(self._gateway, self._board))

    async def series(self, request: web.Request) -> web.Response:
        """What was done over ?period=hour, day or week, of one ?key= or ?model=."""
        asked = request.query
        self._ledger()
        try:
            found = await asyncio.to_thread(
                over_time, self._gateway, asked.get("period", "hour"), asked.get("key"), asked.get("model")
            )
        except DemurError as error:
            raise ApiError(400, str(error)) from None
        return web.json_response(found)

    async def bills(self, request: web.Request) -> web.Response:
        """What was paid and saved by ?by=key, conversation, model, day or threshold, ?since=2026-11-28, 30m or 24h."""
        url = self._ledger()
        by, since = request.query.get("by", "day"), request.query.get("since")
        try:
            found = await asyncio.to_thread(bill_page, url, by, since=since)
        except DemurError as error:
            raise ApiError(400, str(error)) from None
        return web.json_response({"bills": [one.as_dict() for one in found.bills], "whole": found.whole.as_dict()})

    async def reload(self, request: web.Request) -> web.Response:
        """Take over what is new of the router and the settings."""
        try:
            own, target = await self._reload(f"POST {request.path} from {request.remote}"), self._gateway.target
            held = {"target": target.target.text, "target_threshold": target.threshold_now} if target else {}
            return web.json_response({"threshold": own, "router": self._gateway.settings.router, **held})
        except DemurError as error:
            raise ApiError(409, f"What is new is refused, the old stays: {error}") from None

    def _ledger(self) -> str:
        """The ledger; raises ApiError where there is none."""
        if not self._gateway.settings.ledger:
            raise ApiError(404, "There is no ledger; name one in the settings.")
        return self._gateway.settings.ledger


def admit(settings: GatewaySettings, request: web.Request) -> None:
    """Admit the operator: by the admin key if one is set, otherwise from this machine only. Raises ApiError.

    Without a key a page of another site must not reach it through the operator's own browser, nor anybody through a
    proxy on this machine: the host that was asked for is this one, nothing was forwarded, no other origin asks.
    """
    origin = request.headers.get("Origin")
    if origin and not is_own(origin, request.host):
        raise ApiError(403, "A page of another origin may not do this.")
    if settings.admin_key_env:
        wanted = secret(settings.admin_key_env) or ""
        if not wanted or not hmac.compare_digest(
            _given_key(request).encode("utf-8", "surrogateescape"), wanted.encode()
        ):
            raise ApiError(401, "The admin key is wrong.", code="invalid_api_key")
        return
    if request.remote not in ("127.0.0.1", "::1"):
        raise ApiError(403, "Only from this machine; set admin_key_env to allow it with a key.")
    if any(name in request.headers for name in FORWARDED):
        raise ApiError(403, "Not through a proxy; set admin_key_env to allow it with a key.")
    asked = host_name(request.host)
    if not is_loopback(asked) and asked not in {settings.host, settings.admin_host}:
        raise ApiError(403, "Not under this host name; set admin_key_env to allow it with a key.")


def is_operator(settings: GatewaySettings, request: web.Request) -> bool:
    """Whether `admit` lets a request in."""
    try:
        admit(settings, request)
    except ApiError:
        return False
    return True


def _given_key(request: web.Request) -> str:
    """The key of a request: as a bearer token, or as the password that a browser asks for."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.casefold() != "basic":
        return bearer(request.headers)
    try:
        return base64.b64decode(given, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""

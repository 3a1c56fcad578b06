"""The gateway's routes and middlewares: errors as JSON, shutdown, headers for browsers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from demur.gateway.app import Gateway
from demur.gateway.http.connections import Connection
from demur.gateway.http.failures import failures
from demur.gateway.http.openai_bodies import ApiError
from demur.gateway.http.origins import cors_headers, is_allowed, preflight_headers
from demur.gateway.learning.feedback import take_feedback
from demur.gateway.operator.admin import OPERATOR_ROUTES, add_admin, is_operator
from demur.gateway.protocols.served_protocols import PROTOCOLS, ROUTES, protocol_of
from demur.gateway.unrouted_paths import live, model, models, ready
from demur.gateway.workers.shared_state import Board

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Reload = Callable[[str], Awaitable[float]]  # by whom
SERVED = web.AppKey("served", str)  # the paths of a port, in words
OTHER_PORT = web.AppKey("other_port", tuple[web.Application, str])  # the application of the other one, and its address


def application(gateway: Gateway, board: Board | None, reload: Reload, *, admin: bool) -> web.Application:
    """The routes of a gateway; ``admin`` adds dashboard, metrics and reload."""
    app = web.Application(middlewares=[errors_as_json(gateway), attend_to_end(gateway)])
    for prefix in ("/v1", ""):
        for protocol in PROTOCOLS:
            handler = partial(gateway.respond, protocol)
            app.router.add_post(f"{prefix}{protocol.path}", handler, expect_handler=answer_expect)
        app.router.add_post(f"{prefix}/decide", gateway.decide, expect_handler=answer_expect)
        app.router.add_get(f"{prefix}/models", partial(models, gateway))
        app.router.add_get(f"{prefix}/models/{{name:.+}}", partial(model, gateway))
        for path in (*(protocol.path for protocol in PROTOCOLS), "/decide", "/models", "/models/{name:.+}"):
            app.router.add_options(f"{prefix}{path}", preflight(gateway))
    app.router.add_post("/v1/feedback", partial(take_feedback, gateway), expect_handler=answer_expect)
    app.router.add_get("/health", partial(live, gateway))
    app.router.add_get("/health/ready", partial(ready, gateway))
    app[SERVED] = ROUTES
    if admin:
        add_admin(app, gateway, board, reload)
        app[SERVED] = f"{ROUTES}; for the operator {OPERATOR_ROUTES}"
    app.on_response_prepare.append(add_headers(gateway))
    return app


async def answer_expect(request: web.Request) -> web.StreamResponse | None:
    """A request's ``Expect``: aiohttp's own answer to an unknown one would quote it."""
    if request.headers.get(hdrs.EXPECT, "").lower() != "100-continue":
        return _error(request, ApiError(417, "Expect can be 100-continue."))
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # it is not part of the answer
    return None


def admin_application(gateway: Gateway, board: Board | None, reload: Reload) -> web.Application:
    """Dashboard, metrics and reload alone."""
    app = web.Application(middlewares=[errors_as_json(gateway), attend_to_end(gateway)])
    add_admin(app, gateway, board, reload)
    app[SERVED] = OPERATOR_ROUTES
    return app


def introduce(service: web.Application, operator: web.Application, addresses: tuple[str, str]) -> None:
    """Let each of two ports name the other's address for a path that is served there."""
    service[OTHER_PORT], operator[OTHER_PORT] = (operator, addresses[1]), (service, addresses[0])


def errors_as_json(gateway: Gateway) -> Middleware:
    """Every error of ours in the format of the API that was asked, and no traceback to a client.

    What never was a request is counted.
    """

    @web.middleware
    async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except ApiError as error:
            return _error(request, error)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            if request.match_info.http_exception is not None:
                gateway.metrics.refuse(error.status)
            said = await _not_found(gateway, request) if error.status == 404 else _as_api_error(request, error)
            return _error(request, said, allow=error.headers.get(hdrs.ALLOW))
        except ConnectionError:  # the client's own: there is no one to answer
            raise
        except Exception as error:
            failures.say("a request failed", error)
            return _error(
                request, ApiError(500, "The gateway failed at this request.", "server_error", "internal_error")
            )

    return answer_errors


async def _not_found(gateway: Gateway, request: web.Request) -> ApiError:
    """The error of a path that this port lacks; where the operator's port is, is told to the operator alone."""
    said, app = f"{_request_line(request)} is not served here", request.app
    if OTHER_PORT in app:
        other, address = app[OTHER_PORT]
        found = [await resource.resolve(request) for resource in other.router.resources()]
        may_know = other[SERVED] != OPERATOR_ROUTES or is_operator(gateway.settings, request)
        if may_know and any(match or allowed for match, allowed in found):
            return ApiError(404, f"{said}, but on {address}; what is here: {app[SERVED]}.", code="unknown_url")
    hint = " Your client adds /v1 to its base URL: leave it out there." if "/v1/v1/" in request.path else ""
    return ApiError(404, f"{said}; what is: {app[SERVED]}.{hint}", code="unknown_url")


def _request_line(request: web.Request) -> str:
    return f"{request.method[:20]} {request.path[:200]}"


def _as_api_error(request: web.Request, error: web.HTTPException) -> ApiError:
    if error.status == 405:
        allowed = error.headers.get(hdrs.ALLOW, "another method")
        return ApiError(405, f"{_request_line(request)}: this path takes {allowed}.")
    return ApiError(error.status, error.reason or "error")


def _error(request: web.Request, error: ApiError, *, allow: str | None = None) -> web.Response:
    headers = {hdrs.RETRY_AFTER: str(error.retry_after)} if error.retry_after else {}
    headers |= {hdrs.ALLOW: allow} if allow else {}
    body = protocol_of(request.path, request.headers).error_body(error)
    response = web.Response(body=body, status=error.status, headers=headers, content_type="application/json")
    if request.content.exception() is not None:  # where the next request would begin is not known
        request.content.feed_eof()
        response.force_close()
    return response


def attend_to_end(gateway: Gateway) -> Middleware:
    """Marks a connection's request as received; during shutdown requests are answered 503."""

    @web.middleware
    async def attend(request: web.Request, handler: Handler) -> web.StreamResponse:
        if isinstance(request.protocol, Connection):
            request.protocol.header_read()
        if gateway.draining and request.method == "POST":
            said = "The gateway is shutting down; try again on another connection."
            response: web.StreamResponse = _error(
                request, ApiError(503, said, "overloaded", "overloaded", retry_after=1)
            )
        else:
            response = await handler(request)
        if gateway.leaving and not response.prepared:
            response.force_close()
        return response

    return attend


def preflight(gateway: Gateway) -> Handler:
    """OPTIONS: what a browser asks before it sends what a page of another origin wants to send."""

    async def answer(request: web.Request) -> web.Response:
        if not is_allowed(request.headers.get("Origin", ""), gateway.settings.allowed_origins):
            raise ApiError(403, "Pages of this origin may not ask; name it in allowed_origins.")
        return web.Response(status=204, headers=preflight_headers(request.headers))

    return answer


def add_headers(gateway: Gateway) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Headers of every response: for browsers, and for proxies that would hold a stream back."""

    async def add(request: web.Request, response: web.StreamResponse) -> None:
        response.headers[hdrs.SERVER] = "demur"
        response.headers.update(cors_headers(request.headers, gateway.settings.allowed_origins))
        if "text/event-stream" in response.headers.get(hdrs.CONTENT_TYPE, ""):
            response.headers["X-Accel-Buffering"] = "no"

    return add

"""Running the gateway: routes, local models, signals, reload, several processes behind one port."""

from __future__ import annotations

import asyncio
import gc
import hmac
import importlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from aiohttp import web

from demur.config import ModelConfig, build
from demur.errors import ArtifactError, DemurError, InputError
from demur.gateway.app import UNHEARD, Gateway, as_json, errors_as_openai
from demur.gateway.dashboard import page, recent_decisions
from demur.gateway.decisions import Decider
from demur.gateway.keys import Doorkeeper, read_keys
from demur.gateway.ledger import Ledger, open_backend
from demur.gateway.settings import GatewaySettings, read_settings
from demur.gateway.tracing import tracer
from demur.gateway.upstreams import Upstream
from demur.gateway.wire import ApiError
from demur.local import endpoint_of, opened
from demur.policy import Policy
from demur.records import Role
from demur.router import Router

LARGEST_HEADER = 16 * 1024
KEEPALIVE_SECONDS = 75.0  # a connection may be idle, or in the middle of its next header, this long
ROLES: tuple[Role, Role] = ("weak", "strong")


def serve(
    router: str | None = None,
    *,
    config: str | None = None,
    host: str | None = None,
    port: int | None = None,
    workers: int = 1,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve a saved router until SIGTERM or Ctrl-C; ``ready`` is called with the address.

    ``config`` is a file of `GatewaySettings`; the other arguments go over it. Raises InputError, ArtifactError.
    """

    def read() -> GatewaySettings:
        return read_settings(config, router=router, host=host, port=port)

    read()  # a wrong file is said before anything is started
    if workers > 1:
        return _serve_workers(read, workers, ready)
    return _run(_serve(read, ready, shared_port=False))


def _run(main: Any) -> None:
    """asyncio.run, on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def _serve_workers(read: Callable[[], GatewaySettings], workers: int, ready: Callable[[str], None] | None) -> None:
    """So many processes on one port; when one ends, all end. A local model would be loaded once a process."""
    children = []
    for number in range(workers):
        pid = os.fork()
        if pid == 0:
            try:
                _run(_serve(read, ready if number == 0 else None, shared_port=True))
            finally:
                os._exit(0)
        children.append(pid)

    def forward(number: int, frame: object) -> None:
        for pid in children:
            with suppress(ProcessLookupError):  # one that has ended already
                os.kill(pid, number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, forward)
    os.wait()
    forward(signal.SIGTERM, None)
    for _ in children[1:]:
        os.wait()


async def _serve(
    read: Callable[[], GatewaySettings], ready: Callable[[str], None] | None, *, shared_port: bool
) -> None:
    stop, loop, settings = asyncio.Event(), asyncio.get_running_loop(), read()
    async with running(settings, shared_port=shared_port) as (gateway, address):
        gateway.read_again = read
        gc.freeze()  # router and modules stay: the collector need not look through them under load
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: _reload_and_say(gateway))
        if ready:
            ready(address)
        await stop.wait()
        gateway.draining = True
        for _ in range(int(settings.drain_seconds * 20)):
            if not gateway.in_flight:
                break
            await asyncio.sleep(0.05)


@asynccontextmanager
async def running(settings: GatewaySettings, *, shared_port: bool = False) -> AsyncIterator[tuple[Gateway, str]]:
    """A gateway that listens as long as the block runs; yields it and its address."""
    policy = Policy.load(settings.router)
    router = policy.router
    warning = router.check_serving(template="{prompt}", system="")  # a gateway passes prompts as they are
    if warning:
        print(f"demur: {warning}", file=sys.stderr)
    async with AsyncExitStack() as stack:
        upstreams = {role: await _upstream(role, settings, router, stack) for role in ROLES}
        ledger = Ledger(open_backend(settings.ledger)) if settings.ledger else None
        if ledger:
            stack.callback(ledger.close)
        decider = Decider(policy)
        stack.callback(decider.close)
        doorkeeper = Doorkeeper(read_keys(settings.keys) if settings.keys else [])
        gateway = Gateway(
            settings,
            decider,
            upstreams,
            doorkeeper,
            ledger,
            redact=_function(settings.redact) if settings.redact else str,
            trace=tracer() if settings.otel else None,
        )
        listen = partial(_listen, stack=stack, shared=shared_port, seconds=settings.body_seconds)
        if settings.admin_port:
            await listen(admin_application(gateway), "127.0.0.1", settings.admin_port)
        app = application(gateway, admin=not settings.admin_port)
        port = await listen(app, settings.host, settings.port)
        yield gateway, f"http://{settings.host}:{port}"


async def _listen(
    app: web.Application, host: str, port: int, stack: AsyncExitStack, *, shared: bool, seconds: float
) -> int:
    """Serve an application until the stack unwinds; returns its port. Raises InputError."""
    runner = web.AppRunner(
        app,
        handler_cancellation=True,  # client gone = upstream cancelled
        access_log=None,
        keepalive_timeout=KEEPALIVE_SECONDS,
        max_line_size=LARGEST_HEADER,
        max_field_size=LARGEST_HEADER,
        shutdown_timeout=1.0,
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    loop = asyncio.get_running_loop()
    try:
        listening = await loop.create_server(
            partial(_connection, runner, seconds), host, port, reuse_port=shared or None, backlog=2048
        )
    except OSError as error:
        raise InputError(f"{host}:{port} cannot be listened on: {error.strerror}") from None
    stack.callback(listening.close)
    return int(listening.sockets[0].getsockname()[1])


def _connection(runner: web.AppRunner, seconds: float) -> web.RequestHandler:
    """The protocol of a new connection, which is cut when it has sent no whole header by then; aiohttp would wait."""
    assert runner.server is not None
    made = runner.server()
    UNHEARD.add(made)

    def cut() -> None:
        if made in UNHEARD:
            UNHEARD.discard(made)
            if made.transport is not None:
                made.transport.abort()

    asyncio.get_running_loop().call_later(seconds, cut)
    return made


async def _upstream(role: Role, settings: GatewaySettings, router: Router, stack: AsyncExitStack) -> Upstream:
    """One side of the pair, from the settings or as the router was trained; a local model is started."""
    config: ModelConfig | None = getattr(settings, role)
    if config is None:
        trained = router.record.get("models", {}).get(role)
        if not trained:
            raise InputError(f"{settings.router} does not say where its {role} model is; give [{role}] in the config")
        config = build(ModelConfig, trained, where=settings.router)
    endpoint = await stack.enter_async_context(opened(config, parallel=settings.local_slots))
    upstream = Upstream(replace(endpoint, model=endpoint_of(config).model), settings)
    await upstream.open()
    stack.push_async_callback(upstream.close)
    return upstream


def application(gateway: Gateway, *, admin: bool = True) -> web.Application:
    """The routes of a gateway; ``admin`` adds dashboard, metrics and reload."""
    app = web.Application(middlewares=[errors_as_openai], client_max_size=gateway.settings.max_body_bytes)
    for prefix in ("/v1", ""):
        app.router.add_post(f"{prefix}/chat/completions", gateway.complete)
        app.router.add_post(f"{prefix}/completions", gateway.complete)
        app.router.add_post(f"{prefix}/embeddings", gateway.pass_on)
        app.router.add_get(f"{prefix}/models", gateway.models)
        app.router.add_get(f"{prefix}/models/{{name:.+}}", gateway.model)
    app.router.add_get("/health", gateway.live)
    app.router.add_get("/health/ready", gateway.ready)
    if admin:
        _add_admin(app, gateway)
    return app


def admin_application(gateway: Gateway) -> web.Application:
    """Dashboard, metrics and reload alone."""
    app = web.Application(middlewares=[errors_as_openai])
    _add_admin(app, gateway)
    return app


def _add_admin(app: web.Application, gateway: Gateway) -> None:
    def admin(handler: Callable[[web.Request], Any]) -> Callable[[web.Request], Any]:
        async def checked(request: web.Request) -> web.StreamResponse:
            _admit_admin(gateway.settings, request)
            found: web.StreamResponse = await handler(request)
            return found

        return checked

    async def show(request: web.Request) -> web.Response:
        return web.Response(text=page(gateway), content_type="text/html", headers=PAGE_HEADERS)

    async def stats(request: web.Request) -> web.Response:
        found = gateway.metrics.last_hour() | {"threshold": gateway.decider.policy.router.threshold}
        return as_json(found | {"recent": recent_decisions(gateway.metrics.recent), "in_flight": gateway.in_flight})

    async def reload(request: web.Request) -> web.Response:
        try:
            return as_json({"threshold": reload_all(gateway), "router": gateway.settings.router})
        except DemurError as error:
            raise ApiError(409, f"What is new is refused, the old stays: {error}") from None

    app.router.add_get("/metrics", admin(gateway.metrics_text))
    app.router.add_get("/", admin(show))
    app.router.add_get("/admin/stats", admin(stats))
    app.router.add_post("/admin/reload", admin(reload))


PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'",
    "X-Frame-Options": "DENY",
}


def _admit_admin(settings: GatewaySettings, request: web.Request) -> None:
    """Dashboard, metrics and reload: their own key where one is set, else loopback only. Raises ApiError."""
    if not settings.admin_key_env:
        if request.remote not in ("127.0.0.1", "::1"):
            raise ApiError(403, "Only from this machine; set admin_key_env to allow it with a key.")
        return
    wanted = os.environ.get(settings.admin_key_env, "")
    given = request.headers.get("Authorization", "").removeprefix("Bearer ") or request.query.get("key", "")
    if not wanted or not hmac.compare_digest(given.encode(), wanted.encode()):
        raise ApiError(401, "The admin key is wrong.", code="invalid_api_key")


FIXED = (
    "router",
    "host",
    "port",
    "weak",
    "strong",
    "ledger",
    "admin_port",
    "max_body_bytes",
    "local_slots",
    "redact",
    "otel",
)


def reload_all(gateway: Gateway) -> float:
    """Read settings, keys and router anew and use them from now on; returns the threshold.

    On any error all of the old stays. Raises ArtifactError, or InputError for what only a restart can change.
    """
    settings = gateway.read_again() if gateway.read_again else gateway.settings
    changed = [name for name in FIXED if getattr(settings, name) != getattr(gateway.settings, name)]
    if changed:
        raise InputError(f"{changed[0]} has changed, and only a restart can change it")
    policy, held = Policy.load(settings.router), gateway.decider.policy.router
    fresh = policy.router
    if (fresh.weak, fresh.strong) != (held.weak, held.strong):
        raise ArtifactError(
            f"it routes between {fresh.weak} and {fresh.strong}, this gateway serves {held.weak} and {held.strong}"
        )
    keys = read_keys(settings.keys) if settings.keys else []
    gateway.settings, gateway.decider.policy = settings, policy
    gateway.doorkeeper.keys = keys
    return fresh.threshold


def _reload_and_say(gateway: Gateway) -> None:
    try:
        print(f"demur: reloaded, threshold {reload_all(gateway):.4f}", file=sys.stderr)
    except DemurError as error:
        print(f"demur: what is new is refused, the old stays: {error}", file=sys.stderr)


def _function(name: str) -> Callable[[str], str]:
    """``module:function``; raises InputError."""
    module, _, attribute = name.partition(":")
    try:
        found: Callable[[str], str] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"redact: {name!r} cannot be imported ({error}); give module:function") from None
    return found

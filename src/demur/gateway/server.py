"""Running the gateway: routes, local models, signals, reload, several processes behind one port."""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import replace
from pathlib import Path
from socket import socket
from tempfile import TemporaryDirectory
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Middleware

from demur.config import ModelConfig, from_mapping
from demur.errors import DemurError, InputError
from demur.gate.router import Router
from demur.gateway.app import Gateway, Handler, errors_as_openai
from demur.gateway.decision.decider import Decider
from demur.gateway.http.connections import Connection, Listener, bound, port_of
from demur.gateway.http.openai_bodies import ApiError
from demur.gateway.keys import Doorkeeper, check_budgets, read_keys
from demur.gateway.ledger.ledger import Ledger, open_backend
from demur.gateway.operator.admin import add_admin
from demur.gateway.operator.dashboard import count_with_noun
from demur.gateway.operator.last_hour import BYTES, Hour
from demur.gateway.operator.metrics import Metrics
from demur.gateway.operator.tracing import Tracer
from demur.gateway.reload import reload_all, usable_policy
from demur.gateway.settings import GatewaySettings, read_settings
from demur.gateway.upstreams.upstream import Upstream, unpriced
from demur.gateway.workers.processes import Workers
from demur.gateway.workers.shared_state import Board, map_file
from demur.models.allowed import AllowedEndpoints
from demur.models.endpoint import authorization
from demur.models.local import endpoint_of, running_endpoint
from demur.records import Role
from demur.routing.prompt_router import PromptRouter

ROLES: tuple[Role, Role] = ("weak", "strong")
TOLD_SECONDS = 1.0  # so much of what a worker has counted may be missing when it is killed
GRACE_SECONDS = 30.0  # after the drain: the ledger's last records, the end of local models

# A worker's sockets: of the service, and of the operator where that has its own.
Doors = tuple[socket, socket | None]


def serve(
    router: str | None = None,
    *,
    config: str | None = None,
    host: str | None = None,
    port: int | None = None,
    workers: int = 1,
    record_prompts: bool | None = None,
    allow_endpoints: Sequence[str] | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve a saved router until SIGTERM or Ctrl-C; ``ready`` is called with the address.

    ``config`` is a file of `GatewaySettings`; the other arguments go over it. Raises InputError, ArtifactError.
    """

    def read() -> GatewaySettings:
        given = {"router": router, "host": host, "port": port, "record_prompts": record_prompts}
        return read_settings(config, **given, allow_endpoints=list(allow_endpoints) if allow_endpoints else None)

    read()  # a wrong file is said before anything is started
    if workers < 1:
        raise InputError(f"workers is {workers}; at least one process serves")
    if workers > 1:
        return _serve_workers(read, workers, ready)
    return _run(_serve(read, ready))


def _run(main: Any) -> None:
    """asyncio.run, on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def _serve_workers(read: Callable[[], GatewaySettings], count: int, ready: Callable[[str], None] | None) -> None:
    """So many processes on one port. A local model would be loaded once a process."""
    settings = read()
    if not settings.ledger and settings.keys and any(key.usd is not None for key in read_keys(settings.keys)):
        raise InputError("budgets of several workers are added up in the ledger; name one, or serve with one worker")
    doors = _doors(settings, count)  # held by the parent: who knocks while a worker is started again waits for it
    port = port_of(doors[0][0])
    with TemporaryDirectory(prefix="demur-") as folder:

        def work(number: int, tell: Callable[[], None], lifeline: int) -> None:
            _shut([others for i, others in enumerate(doors) if i != number])
            board = Board(Path(folder), number)
            _run(_serve(read, lambda address: tell(), sockets=doors[number], board=board, lifeline=lifeline))

        patience = settings.drain_seconds + GRACE_SECONDS
        workers = Workers(count, work, end_seconds=patience, ending=lambda: _shut(doors))
        workers.run(lambda: ready(f"http://{settings.host}:{port}") if ready else None)


def _doors(settings: GatewaySettings, count: int) -> list[Doors]:
    """The sockets of each worker, bound once: a port that is taken is said before anything is started."""
    main, admin = settings.port, settings.admin_port
    with closing(bound(settings.host, main)) as probe:  # alone: sockets that share a port cannot tell that it is taken
        main = port_of(probe)
    if admin:
        bound(settings.admin_host, admin).close()
    return [
        (
            bound(settings.host, main, shared=True),
            bound(settings.admin_host, admin, shared=True) if admin else None,
        )
        for _ in range(count)
    ]


def _shut(doors: Sequence[Doors]) -> None:
    """Close sockets here: who knocks is refused once every process that holds them has closed them."""
    for door in (door for both in doors for door in both if door):
        door.close()


async def _serve(
    read: Callable[[], GatewaySettings],
    ready: Callable[[str], None] | None,
    *,
    sockets: Doors | None = None,
    board: Board | None = None,
    lifeline: int | None = None,
) -> None:
    stop, loop, settings = asyncio.Event(), asyncio.get_running_loop(), read()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if lifeline is not None:

        def end_with_parent() -> None:
            loop.remove_reader(lifeline)
            stop.set()

        loop.add_reader(lifeline, end_with_parent)
    async with running(settings, read_again=read, sockets=sockets, board=board) as (gateway, address):
        gc.freeze()  # router and modules stay: the collector need not look through them under load
        reloads: set[asyncio.Task[None]] = set()  # a task that nobody holds may be collected

        def reload() -> None:
            task = loop.create_task(_reload_and_say(gateway))
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        loop.add_signal_handler(signal.SIGHUP, reload)
        if ready:
            ready(address)
        await stop.wait()


@asynccontextmanager
async def running(
    settings: GatewaySettings,
    *,
    read_again: Callable[[], GatewaySettings] | None = None,
    sockets: Doors | None = None,
    board: Board | None = None,
) -> AsyncIterator[tuple[Gateway, str]]:
    """A gateway that listens as long as the block runs; yields it and its address. At its end answers are finished."""
    _allow_files()
    doors = sockets or (
        bound(settings.host, settings.port),
        bound(settings.admin_host, settings.admin_port) if settings.admin_port else None,
    )
    async with AsyncExitStack() as stack:
        for door in filter(None, doors):
            stack.callback(door.close)
        policy = await asyncio.to_thread(usable_policy, settings, starting=True)
        gateway = await _gateway(settings, policy, stack, board)
        gateway.read_again = read_again

        def patience() -> float:
            return gateway.settings.body_seconds

        async def take_over() -> float:
            found = await reload_all(gateway)
            if board:
                os.kill(os.getppid(), signal.SIGHUP)  # the parent tells all workers
            return found

        main = Listener(application(gateway, board, take_over, admin=doors[1] is None), patience)
        listeners = [main]
        if doors[1]:
            listeners.append(Listener(admin_application(gateway, board, take_over), patience))
        for listener, door in zip(listeners, filter(None, doors), strict=True):
            await listener.open(door)
            stack.push_async_callback(listener.close)
        stack.push_async_callback(_drain, gateway, listeners)
        yield gateway, f"http://{settings.host}:{port_of(doors[0])}"


async def _gateway(settings: GatewaySettings, policy: Router, stack: AsyncExitStack, board: Board | None) -> Gateway:
    """A gateway with all that it holds; what must be closed is closed with the stack."""
    warning = policy.prompt_router.check_serving(template="{prompt}", system="")  # a gateway passes prompts as they are
    if warning:
        print(f"demur: {warning}", file=sys.stderr)
    upstreams = {role: await _upstream(role, settings, policy.prompt_router, stack) for role in ROLES}
    keys = read_keys(settings.keys) if settings.keys else None
    check_budgets(keys, unpriced(upstreams.values()))
    doorkeeper = Doorkeeper(keys, board.buckets.take if board else None)
    ledger = Ledger(open_backend(settings.ledger), doorkeeper) if settings.ledger else None
    if ledger:
        stack.callback(ledger.close)
    decider = Decider(policy, settings.decide_seconds)
    stack.callback(decider.close)
    trace = Tracer() if settings.otel else None
    if trace:
        stack.callback(trace.close)
    gateway = Gateway(
        settings,
        decider,
        upstreams,
        doorkeeper,
        ledger,
        redact=_function(settings.redact) if settings.redact else str,
        trace=trace,
    )
    if board:
        before = board.before() or {"series": {}}
        gateway.metrics = Metrics(Hour(map_file(board.hour_file(), BYTES)), before["series"])
        told = asyncio.ensure_future(_keep_told(gateway, board))
        stack.callback(told.cancel)
    return gateway


async def _keep_told(gateway: Gateway, board: Board) -> None:
    """Write down what this worker has counted, as often as it may be missed."""
    while True:
        with suppress(OSError):  # the disk is full: older figures are shown
            board.put(count_with_noun(gateway))
        await asyncio.sleep(TOLD_SECONDS)


async def _drain(gateway: Gateway, listeners: Sequence[Listener]) -> None:
    """Let nobody else in, and running answers end."""
    gateway.draining = True
    for listener in listeners:
        listener.refuse_more()
    last = time.monotonic() + gateway.settings.drain_seconds
    while time.monotonic() < last:
        if not any(listener.busy for listener in listeners):
            return
        await asyncio.sleep(0.02)


def _allow_files() -> None:
    """As many open files as the system allows: each request holds two connections."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _upstream(role: Role, settings: GatewaySettings, router: PromptRouter, stack: AsyncExitStack) -> Upstream:
    """One side of the pair, from the settings or as the router was trained; a local model is started."""
    config: ModelConfig | None = getattr(settings, role)
    if config is None:
        trained = router.record.get("models", {}).get(role)
        if not trained:
            raise InputError(f"{settings.router} does not say where its {role} model is; give [{role}] in the config")
        recorded = from_mapping(ModelConfig, trained, where=settings.router)
        config = AllowedEndpoints.named(settings.endpoints).model(recorded, settings.router)
    endpoint = await stack.enter_async_context(running_endpoint(config, parallel=settings.local_slots))
    upstream = Upstream(replace(endpoint, model=endpoint_of(config).model), settings)
    authorization(upstream.endpoint)  # a key that is not there is said now, not to every client
    await upstream.open()
    stack.push_async_callback(upstream.close)
    return upstream


def application(
    gateway: Gateway, board: Board | None, reload: Callable[[], Awaitable[float]], *, admin: bool
) -> web.Application:
    """The routes of a gateway; ``admin`` adds dashboard, metrics and reload."""
    app = web.Application(
        middlewares=[errors_as_openai, attend_to_end(gateway)], client_max_size=gateway.settings.max_body_bytes
    )
    for prefix in ("/v1", ""):
        app.router.add_post(f"{prefix}/chat/completions", gateway.complete)
        app.router.add_post(f"{prefix}/completions", gateway.complete)
        app.router.add_post(f"{prefix}/embeddings", gateway.pass_on)
        app.router.add_get(f"{prefix}/models", gateway.models)
        app.router.add_get(f"{prefix}/models/{{name:.+}}", gateway.model)
    app.router.add_get("/health", gateway.live)
    app.router.add_get("/health/ready", gateway.ready)
    if admin:
        add_admin(app, gateway, board, reload)
    return app


def admin_application(gateway: Gateway, board: Board | None, reload: Callable[[], Awaitable[float]]) -> web.Application:
    """Dashboard, metrics and reload alone."""
    app = web.Application(middlewares=[errors_as_openai, attend_to_end(gateway)])
    add_admin(app, gateway, board, reload)
    return app


def attend_to_end(gateway: Gateway) -> Middleware:
    """Connections know that they are heard; once the gateway is ending, they are sent elsewhere."""

    @web.middleware
    async def attend(request: web.Request, handler: Handler) -> web.StreamResponse:
        if isinstance(request.protocol, Connection):
            request.protocol.heard()
        if gateway.draining and request.method == "POST":
            error = ApiError(
                503, "The gateway is ending; ask again, on another connection.", "overloaded", "overloaded"
            )
            response: web.StreamResponse = web.Response(
                body=error.body, status=503, headers={"Retry-After": "1"}, content_type="application/json"
            )
        else:
            response = await handler(request)
        if gateway.draining and not response.prepared:
            response.force_close()
        return response

    return attend


async def _reload_and_say(gateway: Gateway) -> None:
    try:
        print(f"demur: reloaded, threshold {await reload_all(gateway):.4f}", file=sys.stderr)
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

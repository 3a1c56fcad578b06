"""Runs the gateway: sockets, local models, signals, reload, several processes behind one port."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from socket import socket
from typing import Any

from demur.config import ModelConfig, tier_name
from demur.config.store_url import SCHEMES
from demur.errors import DemurError, InputError
from demur.gate.router import Router
from demur.gateway.app import Gateway
from demur.gateway.clients.keys import Admission, check_budgets, read_keys
from demur.gateway.decision.batch_error import measure_batch_error
from demur.gateway.decision.decider import Decider
from demur.gateway.http.connections import Listener, allow_files, bind_socket, port_of
from demur.gateway.learning.cold_start import SERVING, check_learning, linked_files, router_in_force, version_of
from demur.gateway.ledger.held_conversations import ConversationRecords, open_table
from demur.gateway.ledger.ledger import Ledger, open_backend
from demur.gateway.operator.dashboard import own_counts
from demur.gateway.operator.last_hour import BYTES, Hour
from demur.gateway.operator.metrics import Metrics
from demur.gateway.operator.tracing import Tracer
from demur.gateway.operator.webhook import check_webhook
from demur.gateway.reload import reload_all, take_canary, usable_router
from demur.gateway.replicas.join import follow, join
from demur.gateway.routes import admin_application, application, introduce
from demur.gateway.settings import GatewaySettings, import_object, read_settings
from demur.gateway.target.begin import begin_target
from demur.gateway.upstreams.start_check import check_start
from demur.gateway.upstreams.upstream import Upstream, unpriced_models
from demur.gateway.workers.processes import Workers
from demur.gateway.workers.shared_state import SLOTS, Board, beats_of, map_file, shared_folder
from demur.gateway.workers.streams import lossy_output
from demur.limits import from_mapping
from demur.meaning.rules.languages import load_detector
from demur.methods.fit.threads import one_thread
from demur.models.allowed_endpoints import AllowedEndpoints
from demur.models.endpoint import authorization
from demur.models.local import endpoint_of, running_endpoint
from demur.models.prices import PRIVATE, UNPRICED
from demur.records import Role
from demur.routing.prompt_router import PromptRouter
from demur.routing.recorded_models import recorded_model
from demur.serving_file import serving_file

ROLES: tuple[Role, Role] = ("weak", "strong")
TOLD_SECONDS = 1.0  # so much of what a worker has counted may be missing when it is killed
FOLLOWED_SECONDS = 1.0  # between two looks where the links to routers lead
BY_SIGNAL, BY_PARENT = "SIGHUP", "SIGHUP or POST /admin/reload"  # who asks for a reload; workers cannot tell
GRACE_SECONDS = 30.0  # after the drain: the ledger's last records, the end of local models

# A worker's sockets: of the service, and of the operator where that has its own.
Sockets = tuple[socket, socket | None]
# (address of the service, address of the operator's routes)
Ready = Callable[[str, str, bool], None]  # addresses of the service and the operator; whether clients need a key
# What runs as long as the gateway does, from its settings.
Beside = Callable[[GatewaySettings], AbstractContextManager[Any]]


def serve(
    router: str | None = None,
    *,
    config: str | None = None,
    workers: int = 1,
    beside: Beside = nullcontext,
    ready: Ready | None = None,
    **settings: object,
) -> None:
    """Serve a saved router until SIGTERM or Ctrl-C; ``ready`` is called with the address of
    the service, that of the operator's routes, and whether clients need a key.

    With settings that learn no router is needed: the strong model answers until one is learned, by what runs
    ``beside``.

    A router that was not shown to beat random is refused unless ``anyway``. ``config`` is a file of `GatewaySettings`,
    ``settings`` are those that override it, None for none. Raises InputError, ArtifactError.
    """

    def read() -> GatewaySettings:
        return read_settings(config, router=router, **settings)

    first = read()  # an invalid file is reported before anything is started
    check_learning(first)
    check_webhook(first)
    if workers < 1:
        raise InputError(f"workers is {workers}; at least one process serves")
    with lossy_output(), beside(first) if first.learn else nullcontext():
        if workers > 1:
            _serve_workers(read, workers, ready, config or "")
        else:
            _run(_serve(read, ready, config=config or ""))


def _run(main: Any) -> None:
    """asyncio.run, on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def _serve_workers(read: Callable[[], GatewaySettings], count: int, ready: Ready | None, config: str) -> None:
    """Runs ``count`` processes on one port. A local model would be loaded once per process."""
    settings = read()
    keys = len(read_keys(settings.keys)) if settings.keys else 0
    if keys > SLOTS:
        raise InputError(
            f"{settings.keys}: {keys} keys, and several workers share {SLOTS} at most; serve with one worker"
        )
    every = _bind_all(settings, count)  # held by the parent: who connects while a worker is started again waits for it
    with shared_folder() as folder:

        def work(number: int, tell: Callable[[], None], lifeline: int) -> None:
            _close([others for i, others in enumerate(every) if i != number])
            board = Board(folder, number, count)
            own: Any = {"sockets": every[number], "board": board, "lifeline": lifeline, "config": config}
            _run(_serve(read, lambda *addresses: tell(), **own))

        end_seconds = settings.notice_seconds + settings.drain_seconds + GRACE_SECONDS
        workers = Workers(
            count, work, end_seconds=end_seconds, ending=lambda: _close(every), beat=beats_of(folder).last
        )
        workers.run(lambda: ready(*_addresses(settings, every[0]), bool(settings.keys)) if ready else None)


def _bind(settings: GatewaySettings, *, shared: bool = False, ports: tuple[int, int | None] | None = None) -> Sockets:
    """The sockets of the service and, where it has its own, of the operator. Raises InputError."""
    main = bind_socket(settings.host, ports[0] if ports else settings.port, shared=shared)
    admin = ports[1] if ports else settings.operator_port(port_of(main))
    if admin is None:
        return main, None
    return main, bind_socket(settings.admin_host, admin, shared=shared, option="admin_port in the settings")


def _bind_all(settings: GatewaySettings, count: int) -> list[Sockets]:
    """The sockets of each worker, bound once: a port that is taken is said before anything is started."""
    probe = _bind(settings)  # alone: sockets that share a port cannot tell that it is taken
    ports = port_of(probe[0]), None if probe[1] is None else port_of(probe[1])
    _close([probe])
    return [_bind(settings, shared=True, ports=ports) for _ in range(count)]


def _addresses(settings: GatewaySettings, sockets: Sockets) -> tuple[str, str]:
    """Addresses of the service and of the operator's routes."""
    main = f"http://{settings.host}:{port_of(sockets[0])}"
    return main, f"http://{settings.admin_host}:{port_of(sockets[1])}" if sockets[1] else main


def _close(every: Sequence[Sockets]) -> None:
    """Close sockets here: who connects is refused once every process that holds them has closed them."""
    for one in (one for both in every for one in both if one):
        one.close()


async def _serve(
    read: Callable[[], GatewaySettings],
    ready: Ready | None,
    *,
    sockets: Sockets | None = None,
    board: Board | None = None,
    lifeline: int | None = None,
    config: str = "",
) -> None:
    stop, loop, settings = asyncio.Event(), asyncio.get_running_loop(), read()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if lifeline is not None:

        def end_with_parent() -> None:
            loop.remove_reader(lifeline)
            stop.set()

        loop.add_reader(lifeline, end_with_parent)
    async with running(settings, read_again=read, sockets=sockets, board=board, config=config) as (gateway, *addresses):
        gc.freeze()  # router and modules stay: the collector need not look through them under load
        reloads: set[asyncio.Task[None]] = set()  # a task without a reference may be collected

        def reload() -> None:
            task = loop.create_task(_try_reload(gateway, BY_SIGNAL if board is None else BY_PARENT, board))
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        loop.add_signal_handler(signal.SIGHUP, reload)
        if ready:
            ready(addresses[0], addresses[1], bool(settings.keys))
        await stop.wait()


@asynccontextmanager
async def running(
    settings: GatewaySettings,
    *,
    read_again: Callable[[], GatewaySettings] | None = None,
    sockets: Sockets | None = None,
    board: Board | None = None,
    config: str = "",
) -> AsyncIterator[tuple[Gateway, str, str]]:
    """A gateway that listens as long as the block runs; yields it, its address and that of the
    operator's routes. At its end running answers are finished."""
    allow_files()
    sockets = sockets or _bind(settings)
    async with AsyncExitStack() as stack:
        stack.enter_context(one_thread())  # a product shared with a busy core waits for it: 24 ms, not 20 us
        stack.callback(_close, [sockets])
        held = linked_files(settings)  # before they are read: what is promoted meanwhile is taken over, too
        router = await asyncio.to_thread(usable_router, settings, starting=True)
        gateway = await _gateway(settings, router, stack, board)
        gateway.read_again = read_again

        def slow_seconds() -> float:
            return gateway.settings.body_seconds

        async def take_over(by: str) -> float:
            found = await reload_all(gateway, by, say=board is None)
            if board:
                os.kill(os.getppid(), signal.SIGHUP)  # the parent forwards it to all workers
            return found

        addresses = _addresses(settings, sockets)
        applications = [application(gateway, board, take_over, admin=sockets[1] is None)]
        if sockets[1]:
            applications.append(admin_application(gateway, board, take_over))
            introduce(applications[0], applications[1], addresses)
        listeners = [Listener(one, slow_seconds) for one in applications]
        for listener, one in zip(listeners, filter(None, sockets), strict=True):
            await listener.open(one)
            stack.push_async_callback(listener.close)
        stack.push_async_callback(_drain, gateway, listeners)
        stack.callback(asyncio.ensure_future(_follow_links(gateway, held, board)).cancel)
        if board is None or board.first:
            pid = os.getppid() if board else os.getpid()
            gateway.loaded = stack.enter_context(_serving_mark(gateway, addresses, pid, config))
        yield gateway, *addresses


def _serving_mark(
    gateway: Gateway, addresses: tuple[str, str], pid: int, config: str
) -> AbstractContextManager[Callable[[], None]]:
    """The file by which `demur status` sees that a run is served."""
    settings, (address, operator) = gateway.settings, addresses  # of a reload: the same router
    folder, usual = Path(settings.router).parent, settings.router
    ledger = "" if settings.ledger.startswith(SCHEMES) else settings.ledger
    where = (folder, address, lambda: Path(router_in_force(settings) or usual), pid)
    learn = settings.learn.folder if settings.learn else ""
    what = (ledger, config, learn, lambda: gateway.settings.keys)
    return serving_file(
        *where, *what, lambda: gateway.settings.anyway, operator=operator, port=settings.port, target=settings.target
    )


async def _gateway(settings: GatewaySettings, router: Router, stack: AsyncExitStack, board: Board | None) -> Gateway:
    """A gateway with all that it holds; what must be closed is closed with the stack."""
    if router.prompt_router.asked_otherwise:
        print(f"demur: {router.prompt_router.asked_otherwise}", file=sys.stderr)
    if router.prompt_router.other_pair:
        advice = "label and train on this pair, or serve with --pair-changed-anyway"
        print(f"demur: {router.prompt_router.other_pair}; {advice}", file=sys.stderr)
    roles = roles_of(settings, router.prompt_router)
    upstreams = {role: await _upstream(role, settings, router.prompt_router, stack) for role in roles}
    if (settings.learn or settings.target) and (board is None or board.first):
        for one in upstreams.values():
            if one.price is None or one.price.source == PRIVATE:
                print(f"demur: {one.endpoint.model}: {PRIVATE if one.price else UNPRICED}", file=sys.stderr)
    keys = read_keys(settings.keys) if settings.keys else None
    check_budgets(keys, unpriced_models(upstreams.values()))
    admission = Admission(keys, board.buckets.take, board.accounts) if board else Admission(keys)
    ledger = Ledger(open_backend(settings.ledger), admission) if settings.ledger else None
    if ledger:
        stack.callback(ledger.close)
    conversations = ConversationRecords(
        open_table(settings.ledger, board.folder if board else None),
        alone=board is None and not settings.ledger.startswith(SCHEMES),
    )
    stack.callback(conversations.close)
    load_detector()  # else the first prompt in another language waits for it
    decider = Decider(router, settings.decide_seconds, measure_batch_error(router.prompt_router))
    stack.callback(decider.close)
    trace = Tracer() if settings.otel else None
    if trace:
        stack.callback(trace.close)
    target = begin_target(settings, router, admission.accounts, unpriced_models(upstreams.values()), board)
    replicas = join(settings.ledger, admission, target)
    if replicas:
        stack.callback(replicas.close)
    following = follow(replicas, board, upstreams.values())
    if following:
        stack.callback(following.cancel)
    gateway = Gateway(
        settings,
        decider,
        upstreams,
        admission,
        ledger,
        conversations,
        redact=import_object(settings.redact, "redact") if settings.redact else str,
        begin_trace=trace.begin if trace else None,
        lessons=board.lessons if board else None,
        target=target,
        replicas=replicas,
    )
    await check_start(upstreams, settings, say=board is None or board.first)
    gateway.routers.set_version(version_of(settings, SERVING))
    await take_canary(gateway)
    stack.callback(gateway.routers.end_canary)
    if board:
        before = board.before() or {"series": {}}
        gateway.metrics = Metrics(Hour(map_file(board.hour_file(), BYTES)), before["series"])
        told = asyncio.ensure_future(_keep_told(gateway, board))
        stack.callback(told.cancel)
    return gateway


async def _keep_told(gateway: Gateway, board: Board) -> None:
    """Write this worker's counts to the shared state at regular intervals."""
    while True:
        board.beat()
        with suppress(OSError):  # the disk is full: older figures are shown
            board.put(own_counts(gateway))
        await asyncio.sleep(TOLD_SECONDS)


async def _drain(gateway: Gateway, listeners: Sequence[Listener]) -> None:
    """Give notice, then refuse further requests and let running answers end."""
    gateway.leaving = True
    await asyncio.sleep(gateway.settings.notice_seconds)
    gateway.draining = True
    for listener in listeners:
        listener.refuse_more()
    last = time.monotonic() + gateway.settings.drain_seconds
    while time.monotonic() < last:
        if not any(listener.busy for listener in listeners):
            return
        await asyncio.sleep(0.02)


def roles_of(settings: GatewaySettings, router: PromptRouter) -> tuple[Role, ...]:
    """The models that a router chooses among, by rising price. Raises InputError where the settings name others."""
    roles = router.tiers.roles if router.tiers else ROLES
    named = tuple(tier_name(one) for one in settings.between)
    if named and named != roles[1:-1]:
        raise InputError(
            f"the settings name {', '.join(named)} between the weak and the strong model, the router was trained with "
            f"{', '.join(roles[1:-1]) or 'none'}; name the same, or train again"
        )
    if router.tiers and (settings.target or settings.learn):
        held = "target" if settings.target else "learn"
        raise InputError(f"{held} is of two models, and this router chooses among {len(roles)}; leave it out")
    return roles


async def _upstream(role: Role, settings: GatewaySettings, router: PromptRouter, stack: AsyncExitStack) -> Upstream:
    """One side of the pair, from the settings or as the router was trained; a local model is started."""
    config: ModelConfig | None = settings.served_model(role)
    if config is None:
        trained = recorded_model(router.record, role)
        if not trained:
            raise InputError(f"{settings.router} does not say where its {role} model is; give [{role}] in the config")
        recorded = from_mapping(ModelConfig, trained, where=settings.router)
        config = AllowedEndpoints.parse(settings.endpoints).model(recorded, settings.router)
    chat_template = router.served_as.chat_template if router.served_as else ""
    started = running_endpoint(config, parallel=settings.local_slots, chat_template=chat_template)
    endpoint = await stack.enter_async_context(started)
    upstream = Upstream(replace(endpoint, model=endpoint_of(config).model), settings, settings.served_model(role))
    authorization(upstream.endpoint)  # a missing key is reported now, not to every client
    if router.tiers:
        upstream.tier, upstream.votes = router.tiers.name_of(role), config.votes
    await upstream.open()
    stack.push_async_callback(upstream.close)
    return upstream


async def _follow_links(gateway: Gateway, held: tuple[str, str, str], board: Board | None) -> None:
    """Take over every router that a link names anew, also those that learning promotes or tries; ``held``: in use."""
    while True:
        await asyncio.sleep(FOLLOWED_SECONDS)
        found = await asyncio.to_thread(linked_files, gateway.settings)  # a volume may be far away
        if found != held:
            by = "learning" if found[1:] != held[1:] else f"a link, which leads to {found[0]} now"
            held = found
            await _try_reload(gateway, by, board)


async def _try_reload(gateway: Gateway, by: str, board: Board | None) -> None:
    """Reload; what is refused is said. Of several workers, each of which reloads, the first says what has changed."""
    with suppress(DemurError):
        await reload_all(gateway, by, say=board is None or board.first)

"""The gateway's commands: serve, launch, ledger, key; each calls public functions of the gateway."""

from __future__ import annotations

import shlex
import time
from dataclasses import asdict
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from demur.cli import printing
from demur.cli.commands.inspect import Anyway, AsJson, Force
from demur.cli.options import with_options
from demur.cli.progress import progress_bar
from demur.cli.promise import promise_lines, promise_of, promises_by_threshold
from demur.config import A_MODEL
from demur.config.store_url import SCHEMES
from demur.errors import InputError
from demur.files import read_mapping
from demur.gateway.settings import USUAL_KEYS, GatewaySettings, read_settings
from demur.runs.steps import is_router, start_command
from demur.serving_file import request_command, serving_gateways


class Recorded(StrEnum):
    """Which part of a request the ledger may keep beside its figures."""

    PROMPTS = "prompts"


def add_commands(app: typer.Typer) -> None:
    """Add the gateway's commands to the command line."""
    for command in (serve, launch, ledger):
        app.command()(command)
    app.add_typer(keys_app, name="key")


@with_options(GatewaySettings, over_file=True)
def serve(
    router: Annotated[str | None, typer.Argument(help="Folder of a saved router.  [default: run/router]")] = None,
    config: Annotated[str | None, typer.Option(help="Settings file; docs/gateway.md shows every key.")] = None,
    workers: Annotated[int, typer.Option(help="Processes behind the port.")] = 1,
    record: Annotated[
        Recorded | None, typer.Option(help="Keep the prompts in the ledger; by default none are kept.")
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Serve the demo's two local models and its router.")] = False,
    learn: Annotated[
        bool,
        typer.Option(
            "--learn", help="Learn from the traffic: begin without a router, and send everything to the strong model."
        ),
    ] = False,
    weak: Annotated[str | None, typer.Option(help=f"The weak model: {A_MODEL}.")] = None,
    strong: Annotated[str | None, typer.Option(help="The strong model, likewise.")] = None,
    **given: Any,
) -> None:
    """Serve a router as an OpenAI-compatible endpoint."""
    from demur.gateway.clients.keys import key_command
    from demur.gateway.server import serve
    from demur.learning.process import learning_beside
    from demur.models.local import parse_model
    from demur.quickstart import EXAMPLES, STRONG, WEAK, demo_router

    shown: dict[str, Any] = {}
    if demo and learn:
        weak, strong = weak or WEAK, strong or STRONG
    elif demo:
        with progress_bar() as progress:
            router = demo_router(progress=progress)
        given |= {"anyway": True, "as_labelled": True}
        shown = {"question": EXAMPLES[0]}  # its models answer in a few words
    given |= {"record_prompts": True if record else None, "learn": learning_table(config) if learn else None}
    given |= {role: asdict(parse_model(name)) for role, name in (("weak", weak), ("strong", strong)) if name}
    settings = read_settings(config, router=router, **given)
    printing.outdated_stages_of(Path(settings.router).parent, target=settings.target)
    shown["add_key"] = key_command("add NAME", settings.keys)
    shown["ledger"] = "" if settings.ledger.startswith(SCHEMES) else settings.ledger  # a URL may hold a password
    serve(
        router,
        config=config,
        workers=workers,
        beside=learning_beside,
        ready=partial(show_serving, **shown),
        **given,
    )


def show_serving(
    address: str,
    operator: str,
    keyed: bool = False,
    *,
    add_key: str = "demur key add NAME",
    ledger: str = "",
    question: str = "Why is the sky blue?",
) -> None:
    """Where the gateway listens, and how to ask it; ``keyed``: clients need a key, which is nowhere printed.

    ``add_key``: the command that makes one; ``ledger``: its file, empty where it is none; ``question``: one that the
    served models can answer.
    """
    printing.out.print(f"demur serves {address}/v1 (dashboard: {operator}/)", markup=False)
    printing.out.print(f"  {request_command(address, keyed=keyed, question=question)}", markup=False)
    if keyed:
        printing.out.print(f"  YOUR_KEY: one that `{add_key}` has printed", markup=False)
    if ledger:
        printing.out.print(f"  demur ledger {shlex.quote(ledger)}", markup=False)


def launch(
    client: Annotated[str, typer.Argument(help="claude, codex or aider.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="The client's own arguments, after --.")] = None,
    router: Annotated[str | None, typer.Option(help="Folder of a saved router.  [default: run/router]")] = None,
    config: Annotated[str | None, typer.Option(help="Settings file of the gateway.")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="With the demo's two local models and its router.")] = False,
    anyway: Anyway = False,
) -> None:
    """Run a coding agent against the gateway.

    The gateway is started for it where none runs; what the agent cost and saved is printed at the end. Where the
    gateway has client keys, the client's is read from DEMUR_KEY.
    """
    from demur.gateway.launch import launch
    from demur.quickstart import demo_router

    if demo:
        with progress_bar() as progress:
            router = demo_router(progress=progress)
    done = launch(client, arguments or (), router=router, config=config, anyway=True if anyway or demo else None)
    for line in done.lines:
        typer.echo(f"demur: {line}", err=True)
    raise typer.Exit(done.status)


def learning_table(config: str | None) -> dict[str, Any]:
    """What a settings file says of learning, so that --learn switches it on as the file wants it; else the defaults."""
    return dict(read_mapping(Path(config), "settings file").get("learn") or {}) if config else {}


def ledger(
    url: Annotated[str, typer.Argument(help="SQLite file or postgresql:// URL.")] = "run/ledger.sqlite",
    last: Annotated[
        int | None, typer.Option(help="How many records, newest first.  [default: 20; all with --export]")
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="Write the records to a .csv, .jsonl or .parquet file instead.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(help="Add up what was paid and saved by key, conversation, model, day or threshold instead."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="With --by: from a day (2026-11-28, UTC) on, or 30m, 24h, 7d.")
    ] = None,
    force: Force = False,
    json: AsJson = False,
) -> None:
    """Print or export the gateway's decisions, costs and savings."""
    from demur.gateway.ledger.export import bill_page, holds_prompts, ledger
    from demur.gateway.ledger.totals.bills import parse_since

    replayed = f"demur ledger {shlex.quote(url)} --export ledger.jsonl, then demur replay ledger.jsonl"
    if by is not None:
        page = bill_page(url, by, since=since)
        start = parse_since(since, now=time.time()) if since else 0.0
        promise, apart = promise_of(url, since=start), by == "threshold"
        promises = promises_by_threshold(url, since=start) if apart else ()
        if json:
            more = {"promises": promises} if apart else {}
            return printing.as_json({**printing.plain(page), "promise": promise, **more})
        printing.lines((*page.lines, *promise_lines(promise, promises)))
        if page.recorded:
            return printing.next_step(replayed)
        if promise and promise.broken:
            _no_prompts(replayed)
        return None
    if since is not None:
        raise InputError("--since belongs to --by; give --by key, conversation, model, day or threshold")
    found = ledger(url, last=last, export=export, force=force)
    promise = None if export else promise_of(url)
    if json:
        return printing.as_json({**printing.plain(found), "promise": promise})
    printing.lines((*found.lines, *promise_lines(promise)))
    if found.records and not export and not holds_prompts(url):
        _no_prompts(replayed)
    return printing.next_step(f"demur ledger {shlex.quote(url)} --by day")


def _no_prompts(replayed: str) -> None:
    printing.explanation(
        "these requests hold no prompts; add --record prompts to the command that starts the gateway, and later: "
        f"{replayed}"
    )


KeyFile = Annotated[Path, typer.Option(help="File of hashed keys.")]
PerMinute = Annotated[int | None, typer.Option(help="Rate limit.")]
Usd = Annotated[float | None, typer.Option(help="Budget, counted over the whole ledger.")]
UsdPerDay = Annotated[
    float | None,
    typer.Option(help="Budget per day (UTC); from 90 % of it on, fewer requests go to the strong model."),
]
UsdPerMonth = Annotated[float | None, typer.Option(help="Budget per month (UTC), likewise.")]
keys_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make, change, list or remove client keys.")


@keys_app.command("add")
def add_key(
    name: Annotated[str, typer.Argument(help="Name of the client that gets the key.")],
    file: KeyFile = USUAL_KEYS,
    requests_per_minute: PerMinute = None,
    usd: Usd = None,
    usd_per_day: UsdPerDay = None,
    usd_per_month: UsdPerMonth = None,
) -> None:
    """Make a client key for the gateway. It is shown once and stored as a hash."""
    from demur.gateway.clients.keys import new_key

    limits = {"usd": usd, "usd_per_day": usd_per_day, "usd_per_month": usd_per_month}
    typer.echo(new_key(file, name, requests_per_minute=requests_per_minute, **limits))
    printing.err.print(f"demur: kept as a hash in {file}", markup=False)
    printing.err.print("demur: clients send it as the header Authorization: Bearer KEY (an OpenAI client's api_key)")
    start, keys = start_command(_run_of(file)), f" --keys {shlex.quote(str(file))}"
    _next_of_keys(file, "does not take the key", start if keys in start else start + keys)


@keys_app.command("set")
def set_limits(
    name: Annotated[str, typer.Argument(help="Name of the key.")],
    file: KeyFile = USUAL_KEYS,
    requests_per_minute: PerMinute = None,
    usd: Usd = None,
    usd_per_day: UsdPerDay = None,
    usd_per_month: UsdPerMonth = None,
) -> None:
    """Change a key's limits and keep the key. Limits that are not named stay; what was spent counts."""
    from demur.gateway.clients.keys import key_command, set_limits

    limits = {"usd": usd, "usd_per_day": usd_per_day, "usd_per_month": usd_per_month}
    now = set_limits(file, name, requests_per_minute=requests_per_minute, **limits)
    printing.table([{limit: value for limit, value in asdict(now).items() if limit != "sha256"}])
    _next_of_keys(file, "keeps the earlier limits", key_command("spend", file))


def _next_of_keys(file: Path, until_told: str, otherwise: str) -> None:
    """The command that has the gateways which ask for keys read the file, and what each does ``until_told``; that which
    comes next where there is none."""
    gateways = [one for one in serving_gateways(_run_of(file)) if one.keyed]
    for one in gateways:
        printing.explanation(f"the gateway on {one.address} {until_told} until it is told:")
    steps = [one.reload for one in gateways] or [otherwise]
    printing.next_step(steps[0], others=steps[1:])


def _run_of(file: Path) -> Path:
    """The folder of the run whose gateway a file of keys is for: that of the file, if there is a router, or the usual
    one."""
    return file.parent if is_router(file.parent / "router") else USUAL_KEYS.parent


@keys_app.command("list")
def list_keys(file: KeyFile = USUAL_KEYS, json: AsJson = False) -> None:
    """List the keys' names and limits."""
    from demur.gateway.clients.keys import key_command, read_keys

    keys = read_keys(file) if file.exists() else []
    limits: list[dict[str, object]] = [
        {name: getattr(key, name) for name in ("name", "requests_per_minute", "usd", "usd_per_day", "usd_per_month")}
        for key in keys
    ]
    if json:
        return printing.as_json(limits)
    if not keys:
        printing.lines([f"{file}: no key was made yet"])
        return printing.next_step(key_command("add NAME", file))
    printing.table(limits)
    return printing.next_step(key_command("spend", file))


@keys_app.command("remove")
def remove_key(
    name: Annotated[str, typer.Argument(help="Name of the key.")],
    file: KeyFile = USUAL_KEYS,
) -> None:
    """Remove a key from the file. A running gateway accepts it until it is reloaded."""
    from demur.gateway.clients.keys import remove_key

    remove_key(file, name)
    typer.echo(f"{file}: {name} is removed")
    _next_of_keys(
        file, "takes the key", "kill -HUP PID, or POST /admin/reload: a running gateway takes the key until then"
    )


@keys_app.command("spend")
def key_spend(
    name: Annotated[str | None, typer.Argument(help="One key; all of them by default.")] = None,
    file: KeyFile = USUAL_KEYS,
    ledger: Annotated[str, typer.Option(help="SQLite file or postgresql:// URL.")] = "run/ledger.sqlite",
    json: AsJson = False,
) -> None:
    """Show what keys have spent, beside their budgets. Today, this month (UTC) and in all."""
    from demur.gateway.ledger.totals.key_spend import key_spend

    found = key_spend(file, ledger, name=name)
    if json:
        return printing.as_json([one.as_dict() for one in found])
    printing.table([one.shown for one in found])
    return printing.next_step(f"demur ledger {shlex.quote(ledger)} --by key")

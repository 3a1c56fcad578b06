"""The commands about a saved router: calibrate, route, explain, replay; each is one public function."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from demur import printing
from demur.errors import InputError

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
RouterFolder = Annotated[str, typer.Option(help="Folder of a saved router.")]


def add_commands(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (calibrate, route, explain, replay):
        app.command()(command)


def calibrate(
    prompts: Annotated[str, typer.Argument(help="Your own prompts; for --risk graded ones, such as run/graded.jsonl.")],
    router: RouterFolder = "run/router",
    strong_share: Annotated[float | None, typer.Option(help="Fraction of calls for the strong model.")] = None,
    usd_per_1k: Annotated[float | None, typer.Option(help="Most USD that 1,000 such prompts may cost.")] = None,
    keep_quality: Annotated[
        float | None, typer.Option(help="Fraction of the strong model's quality, estimated without labels.")
    ] = None,
    risk: Annotated[float | None, typer.Option(help="Promise: at most this loss against always-strong ...")] = None,
    confidence: Annotated[float, typer.Option(help="... with this confidence.")] = 0.95,
    loss: Annotated[
        str, typer.Option(help="missed (a better answer was missed) or difference (in quality).")
    ] = "missed",
    json: AsJson = False,
) -> None:
    """Set a saved router's threshold, by share, by budget (no labels needed), or with a promise about quality."""
    from demur.pipeline import calibrate

    if loss not in ("missed", "difference"):
        raise InputError(f"loss {loss!r} is neither missed nor difference")
    calibration = calibrate(
        prompts,
        router=router,
        strong_share=strong_share,
        usd_per_1k=usd_per_1k,
        keep_quality=keep_quality,
        risk=risk,
        confidence=confidence,
        loss=loss,  # type: ignore[arg-type]  # checked above
    )
    if json:
        return printing.as_json(calibration)
    return printing.calibration(calibration, router)


def route(
    prompt: Annotated[str, typer.Argument(help="The prompt, or - to read it from standard input.")],
    router: RouterFolder = "run/router",
    json: AsJson = False,
) -> None:
    """Say which model should answer a prompt, and why."""
    from demur.pipeline import route

    text = _piped(prompt)
    decision = route(text, router=router)
    if json:
        return printing.as_json(decision)
    return printing.decision(text, decision)


def explain(
    prompt: Annotated[str, typer.Argument(help="The prompt, or - to read it from standard input.")],
    router: RouterFolder = "run/router",
    json: AsJson = False,
) -> None:
    """Say why a prompt goes where it goes, what would flip it, what it costs, and what it is like."""
    from demur.explaining import explain

    found = explain(_piped(prompt), router=router)
    return printing.as_json(found) if json else printing.lines(found.lines)


def replay(
    file: Annotated[Path, typer.Argument(help="A day's prompts (JSONL or CSV); graded ones show quality as well.")],
    router: RouterFolder = "run/router",
    threshold: Annotated[float | None, typer.Option(help="Another threshold than the router's own.")] = None,
    json: AsJson = False,
) -> None:
    """What a file of prompts would have cost under a router, against always weak and always strong."""
    from demur.replaying import replay

    found = replay(file, router=router, threshold=threshold)
    return printing.as_json(found) if json else printing.lines(found.lines)


def _piped(prompt: str) -> str:
    """The prompt, or standard input for "-"."""
    if prompt != "-":
        return prompt
    data = sys.stdin.buffer.read()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"standard input: byte {data[error.start]:#04x} is not UTF-8; convert it (iconv)") from None

"""The paper's commands: reproduce, overhead, simulate, judge, signals; each calls one public function."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from demur.cli import printing
from demur.cli.commands.inspect import AllowEndpoint, AsJson, Force
from demur.cli.progress import NOTHING_KEPT, progress_bar
from demur.config import A_MODEL, LabelConfig
from demur.config.named_run import run_option
from demur.config.names import ENCODERS
from demur.errors import InputError
from demur.runs.steps import share_command

REPLIES_KEPT = (
    "embeddings and a judge's replies are kept, other figures are computed anew by the same command; --only names "
    "single parts and rows, which --list shows"
)
RunFolder = Annotated[str, typer.Option(help="Folder of the run.")]


def add_commands(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (reproduce, overhead, simulate, judge, signals, tau):
        app.command()(command)


def reproduce(
    source: Annotated[
        str, typer.Option("--from", help="Folder with outcomes/, samples/, questions/, preferences/.")
    ] = "",
    run: Annotated[str, typer.Option(help="Folder of a run with test sets of its own, in place of --from.")] = "",
    out: Annotated[
        str, typer.Option(help="Folder of the page and the pictures.  [default: run/reproduce, or reproduce in --run]")
    ] = "",
    weak: Annotated[str, typer.Option(help="--from: the small model's name in its rows.")] = "",
    strong: Annotated[str, typer.Option(help="--from: the large model's name in its rows.")] = "",
    only: Annotated[str, typer.Option(help="Comma-separated parts and rows; --list names them.")] = "",
    list_: Annotated[bool, typer.Option("--list", help="List every part and row, and stop.")] = False,
    encoder: Annotated[str, typer.Option(help=f"{ENCODERS}, or MODEL@BASE_URL.")] = "bge-small-6",
    judge: Annotated[str, typer.Option(help=f"Table 3's judge: {A_MODEL}.")] = "qwen2.5-coder-1.5b",
    judged: Annotated[int, typer.Option(help="Questions that the judge is asked about at each CPT.")] = 30,
    arena: Annotated[
        str, typer.Option(help="File of battles with lmsys's fields: RouteLLM's rows learn from it, as theirs do.")
    ] = "",
    arena_models: Annotated[
        str, typer.Option(help="WEAK,STRONG as that file names them.  [default: the pair's own names]")
    ] = "",
    allow_endpoint: AllowEndpoint = None,
    json: AsJson = False,
) -> None:
    """Compute the paper's tables and figures, beside its own. Every system has a row."""
    from demur.paper.listing import listing
    from demur.paper.reproduction import reproduce, reproduce_run

    if list_:
        return printing.lines(listing())
    if bool(source) == bool(run):
        raise InputError(
            "give --from, a folder with outcomes/, samples/, questions/ and preferences/, or --run, a run with [test] "
            f"sets{', not both' if run else ' (or --list)'}"
        )
    names = tuple(name.strip() for name in only.split(",") if name.strip())
    options: dict[str, Any] = {"only": names, "judge_model": judge, "judged": judged, "arena": arena}
    options |= {"arena_models": tuple(name.strip() for name in arena_models.split(",") if name.strip())}
    with progress_bar(REPLIES_KEPT) as progress:
        if run:
            found = reproduce_run(run, out=out, allow_endpoints=allow_endpoint or (), progress=progress, **options)
        else:
            options |= {"out": out, "encoder": encoder, "weak": weak, "strong": strong}
            found = reproduce(source, progress=progress, **options)
    if json:
        return printing.as_json(found)
    printing.lines(found.lines)
    if run:
        return printing.next_in(run)
    return printing.next_step("demur reproduce --run RUN, the same of a run of your own with [test] sets")


def overhead(
    n: Annotated[
        int,
        typer.Option("--n", help="Largest number of training prompts; 1,000 and 12,000 are measured too, if smaller."),
    ] = 12_000,
    dimension: Annotated[int, typer.Option(help="Width of an embedding.")] = 384,
    seconds: Annotated[float, typer.Option(help="Longest time for one fit, in seconds.")] = 60.0,
    encoder: Annotated[str, typer.Option(help=f"Encoders to time: {ENCODERS}, MODEL@BASE_URL.")] = "bge-small-6",
    run: Annotated[str, typer.Option(help="Folder of a run with graded test prompts: APGR and USD too.")] = "",
    source: Annotated[str, typer.Option("--from", help="Folder of stored outcomes, as of reproduce: APGR too.")] = "",
    usd_per_hour: Annotated[float, typer.Option(help="Price of one processor core, USD per hour.")] = 0.05,
    picture: Annotated[str, typer.Option(help="PNG or SVG file: quality, or fit, against a decision's time.")] = "",
    force: Force = False,
    allow_endpoint: AllowEndpoint = None,
    json: AsJson = False,
) -> None:
    """Measure what each router costs to fit, decide and keep. It also measures how that grows with the prompts."""
    from demur.config import list_names
    from demur.paper.overhead.report import SLOW_FROM, overhead

    if n >= SLOW_FROM:
        printing.err.print(f"--n {n:,}: slow fits; each is ended, or not begun, beyond {seconds:g} s", markup=False)
    with progress_bar(NOTHING_KEPT) as progress:
        found = overhead(
            n=n,
            dimension=dimension,
            seconds=seconds,
            encoders=list_names(encoder),
            run=run,
            source=source,
            usd_per_hour=usd_per_hour,
            picture=picture,
            force=force,
            allow_endpoints=allow_endpoint or (),
            progress=progress,
        )
    if json:
        return printing.as_json(found)
    printing.lines(found.lines)
    option = f" --run {shlex.quote(run)}" if run else ""
    return printing.next_step(f"demur train{option} --serve NAME, with the router whose time and quality suit you")


def simulate(
    folder: Annotated[str, typer.Argument(metavar="RUN", help="Folder of the run; --run names it as well.")] = "",
    run: RunFolder = "run",
    arrivals: Annotated[
        str, typer.Option(help="poisson:RATE/s, or a file of times in seconds, one per line.")
    ] = "poisson:1/s",
    requests: Annotated[int, typer.Option(help="Number of requests of a Poisson process.", min=2)] = 20_000,
    edge: Annotated[
        str,
        typer.Option(
            help="The device: tokens_per_s=40,prompt_tokens_per_s=400,slots=2,joules_per_token=0.5, or some of them."
        ),
    ] = "",
    cloud: Annotated[
        str,
        typer.Option(help="The cloud: ttft=0.4,tokens_per_s=80,rtt=0.06,bandwidth=1e6 (seconds, bytes per second)."),
    ] = "",
    p95: Annotated[
        float | None,
        typer.Option(help="Name the cheapest threshold with a 95th percentile of latency up to this many seconds."),
    ] = None,
    longest_wait: Annotated[
        float | None,
        typer.Option(help="Send a prompt to the cloud if it would wait longer for the device, in seconds."),
    ] = None,
    longest_queue: Annotated[
        int | None,
        typer.Option(help="Requests at the device from which new ones go to the cloud (weak_at_most of serve).", min=1),
    ] = None,
    picture: Annotated[str, typer.Option(help="PNG or SVG file: quality and USD against p95.")] = "",
    force: Force = False,
    json: AsJson = False,
) -> None:
    """Simulate a run's router on a device beside a cloud.

    Latency, queue, energy, USD and quality at every share of calls to the cloud.
    """
    import math

    from demur.evaluation.device.simulate_run import simulate

    run = folder or run
    found = simulate(
        run,
        arrivals=arrivals,
        requests=requests,
        edge=edge,
        cloud=cloud,
        p95=p95,
        longest_wait=math.inf if longest_wait is None else longest_wait,
        longest_queue=math.inf if longest_queue is None else longest_queue,
        picture=picture,
        force=force,
    )
    if json:
        return printing.as_json(found)
    printing.lines(found.lines)
    if found.chosen is None:
        return printing.next_step(f"demur simulate {shlex.quote(run)} --p95 SECONDS, the longest that users may wait")
    return printing.next_step(share_command(Path(run), found.chosen.routed_share), Path(run) / "router")


def judge(
    file: Annotated[Path, typer.Argument(help="JSONL with question, reference, responses {router: answer}.")],
    judge: Annotated[str, typer.Option(help=f"The judging model: {A_MODEL}.")],
    store: Annotated[str, typer.Option(help="SQLite file in which the replies are kept.")] = "run/judge.sqlite",
    task: Annotated[str, typer.Option(help="The task, as named in the judge's prompt.")] = "math problem solutions",
    max_usd: Annotated[float | None, typer.Option(help="Stop before judging costs more than this many USD.")] = None,
    max_tokens: Annotated[
        int, typer.Option(help="Longest reply, thinking included; a reasoning judge such as o1 needs 2000.", min=1)
    ] = 24,
    temperature: Annotated[float, typer.Option(help="Of the judge; left out where it refuses it.", min=0)] = 0.0,
    reasoning_effort: Annotated[str, typer.Option(help="Of a judge that thinks first, such as low.")] = "",
    json: AsJson = False,
) -> None:
    """Have a model judge several routers' answers.

    Printed are scores with intervals, the judge's position bias, and its agreement with gold answers.
    """
    from demur.labels.beliefs.unknown import judge_command
    from demur.labels.judge.judge import judge as run_judge

    with progress_bar() as progress:
        found = run_judge(
            *(file, judge),
            store=store,
            task=task,
            max_usd=max_usd,
            max_tokens=max_tokens,
            temperature=temperature,
            reasoning_effort=reasoning_effort,
            progress=progress,
        )
    if json:
        return printing.as_json(found)
    printing.lines(found.lines)
    tokens = "" if max_tokens == LabelConfig().judge_tokens else f" --judge-tokens {max_tokens}"
    return printing.next_step(f"{judge_command(judge)}{tokens}, to label a run by this judge")


def signals(
    run: RunFolder = "run",
    ask: Annotated[bool, typer.Option("--ask", help="Also ask both models about their own answers.")] = False,
    max_usd: Annotated[
        float | None, typer.Option(help="Stop before the questions cost more than this many USD.")
    ] = None,
    allow_endpoint: AllowEndpoint = None,
    json: AsJson = False,
) -> None:
    """Measure which definition of uncertainty finds wrong answers. Each model and set of the run has its table."""
    from demur.evaluation.signals import signals

    with progress_bar() as progress:
        found = signals(run=run, ask=ask, max_usd=max_usd, allow_endpoints=allow_endpoint or (), progress=progress)
    printing.outdated_stages_of(Path(run))
    if json:
        return printing.as_json(found)
    printing.lines(found.lines)
    commands = [f"demur label --definition {one}{run_option(Path(run))}" for one in found.definitions]
    return printing.next_step(commands[0], others=commands[1:]) if commands else printing.next_in(run)


def tau(
    run: RunFolder = "run",
    taus: Annotated[str, typer.Option(help="Comma-separated values to try.  [default: 0 to 2]")] = "",
    allow_endpoint: AllowEndpoint = None,
    json: AsJson = False,
) -> None:
    """Try values of tau, the width of a tie in the paper's labels.

    For each: ties, balance of the labels, and APGR on graded test prompts.
    """
    from demur.evaluation.experiment.tau_sweep import TAUS, tau_sweep

    with progress_bar() as progress:
        wanted = tuple(_number(text) for text in taus.split(",")) if taus else TAUS
        found = tau_sweep(run=run, taus=wanted, allow_endpoints=allow_endpoint or (), progress=progress)
    printing.outdated_stages_of(Path(run))
    if json:
        return printing.as_json(found)
    printing.lines(found.lines)
    tau = f"{found.best.tau:g}" if found.best else "TAU"
    return printing.next_step(f"demur label --kind hard --tau {tau}{run_option(Path(run))}")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--taus holds {text!r}; give numbers separated by commas, such as 0.05,0.1,0.5") from None

"""Commands that inspect a saved router, the catalogue, an endpoint, or two answers; each calls one public function."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from demur.cli import printing
from demur.cli.advice import after_replay_with_others
from demur.cli.options import Images, PromptArgument, read_prompt
from demur.cli.past_decision import check_prompt, decided_as_dict, decided_lines, find_decision, may_be_id
from demur.cli.progress import FILES_KEPT, NOTHING_KEPT, progress_bar
from demur.config import A_MODEL, ANYWAY
from demur.config.named_run import of_router, router_option
from demur.errors import InputError
from demur.models.allowed_endpoints import ALLOW_HELP
from demur.runs.steps import command_after_one_prompt
from demur.serving_file import restart_note

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
AllowEndpoint = Annotated[
    list[str] | None,
    typer.Option(help=ALLOW_HELP),
]

USES = {  # task of a model of the catalogue -> the command that uses it
    "chat": "demur sample prompts.jsonl --weak {name} --strong MODEL@URL",
    "encoder": "demur train --encoder {name}",
    "entailment": "demur label",
}
USUAL_ROUTER = "run/router"
RouterFolder = Annotated[str, typer.Option(help="Folder of a saved router.")]
RunOfRouter = Annotated[str | None, typer.Option(help="Folder of the run; its router is RUN/router.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")]
Anyway = Annotated[bool, typer.Option("--anyway", help=ANYWAY)]


def router_of(run: str | None, router: str) -> str:
    """The folder of a router, which --run or --router names."""
    if run is not None and router != USUAL_ROUTER:
        raise InputError(f"--run {run} and --router {router} both name a router; give one of them")
    return router if run is None else str(Path(run) / "router")


def add_commands(app: typer.Typer) -> None:
    """Add them to the command line."""
    app.add_typer(models_app, name="models")
    for command in (route, explain, replay, doctor, entail, pairs):
        app.command()(command)


def route(
    prompt: PromptArgument,
    router: RouterFolder = USUAL_ROUTER,
    run: RunOfRouter = None,
    image: Images = None,
    allow_endpoint: AllowEndpoint = None,
    json: AsJson = False,
) -> None:
    """Show which model should answer a prompt, and why."""
    from demur.gate.router import Router

    text, router = read_prompt(prompt, image), router_of(run, router)
    check_prompt(text, router)
    printing.outdated_stages_of(Path(router).parent)
    decision = Router.load(router, allow_endpoints=allow_endpoint or ()).route(text)
    if json:
        return printing.as_json(decision)
    printing.decision(text, replace(decision, reason=of_router(decision.reason, Path(router))))
    as_prompt = "--prompt " if may_be_id(text) else ""
    return printing.next_step(f"demur explain {as_prompt}{shlex.quote(text[:200])}{router_option(Path(router))}")


def explain(
    prompt: PromptArgument,
    router: RouterFolder = USUAL_ROUTER,
    run: RunOfRouter = None,
    image: Images = None,
    as_prompt: Annotated[
        bool, typer.Option("--prompt", help="Take it for a prompt, even if it looks like the id of a decision.")
    ] = False,
    allow_endpoint: AllowEndpoint = None,
    json: AsJson = False,
) -> None:
    """Explain a decision: score, costs, similar training prompts. Also shown: the shares at which it changes.

    In place of a prompt, the x-demur-decision-id of a gateway's answer: what the ledger keeps of that decision.
    """
    from demur.gate.router import Router

    text, router = read_prompt(prompt, image), router_of(run, router)
    if may_be_id(text) and not as_prompt:
        return _explain_decided(text, router, json=json)
    printing.outdated_stages_of(Path(router).parent)
    found = Router.load(router, allow_endpoints=allow_endpoint or ()).explain(text)
    if json:
        return printing.as_json(found)
    printing.lines(of_router(line, Path(router)) for line in found.lines)
    return printing.next_step(command_after_one_prompt(Path(router)), Path(router))


def _explain_decided(name: str, router: str, *, json: bool) -> None:
    record, ledger = find_decision(name, router)
    if json:
        return printing.as_json(decided_as_dict(record, router))
    printing.lines(decided_lines(record, router, ledger))
    return printing.next_step(f"demur ledger {shlex.quote(ledger)}")


def replay(
    file: Annotated[
        Path,
        typer.Argument(help="A day's prompts; graded ones (run/graded.jsonl, run/grades.jsonl) show quality as well."),
    ],
    router: RouterFolder = USUAL_ROUTER,
    run: RunOfRouter = None,
    threshold: Annotated[float | None, typer.Option(help="Threshold to use instead of the router's.")] = None,
    allow_endpoint: AllowEndpoint = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Also print what else is known of the prompts.")] = False,
    json: AsJson = False,
) -> None:
    """Show what a file of prompts would have cost with a router. Always weak and always strong are shown beside it."""
    from demur.evaluation.replay import replay

    router = router_of(run, router)
    printing.outdated_stages_of(Path(router).parent)
    with progress_bar(NOTHING_KEPT) as progress:
        found = replay(
            file, router=router, threshold=threshold, allow_endpoints=allow_endpoint or (), progress=progress
        )
    if json:
        return printing.as_json(found)
    printing.lines((*found.block.of_router(Path(router)).lines, *(found.details if verbose else ())))
    line = found.headline
    command, why, others = after_replay_with_others(str(file), Path(router), line, tried=threshold is not None)
    if why:
        printing.explanation(why)
    return printing.next_step(command, Path(router), others=others)


models_app = typer.Typer(
    no_args_is_help=False, rich_markup_mode=None, help="List or fetch the models of the catalogue."
)


@models_app.callback(invoke_without_command=True)
def models(context: typer.Context, json: AsJson = False) -> None:
    """List the models that demur can fetch and run by itself."""
    if context.invoked_subcommand:
        return None
    from demur.models.catalogue import catalogue

    if json:
        return printing.as_json(catalogue())
    printing.models(catalogue())
    return printing.next_step("demur models fetch NAME")


@models_app.command("fetch")
def fetch(
    name: Annotated[str, typer.Argument(help="A name from `demur models`.")],
    json: AsJson = False,
) -> None:
    """Fetch a model, unless it is here already. Its content hash is verified."""
    from demur.models.catalogue import fetch, model

    with progress_bar(FILES_KEPT) as progress:
        path = fetch(name, progress=progress)
    if json:
        return printing.as_json({"path": path})
    typer.echo(path)
    return printing.next_step(USES.get(model(name).task, "demur models").format(name=name))


def doctor(
    endpoint: Annotated[
        str | None, typer.Argument(help=f"What to probe: {A_MODEL}. Left out with --write: both models of that file.")
    ] = None,
    write: Annotated[
        Path | None, typer.Option(help="The gateway's settings file (.toml): write there what its models can do.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Probe an endpoint: what it supports, and what it lacks. It also shows what demur does instead."""
    from demur.gateway.settings_file import dearer_weak_model, write_abilities
    from demur.models.doctor import doctor

    if write is not None:
        found = write_abilities(write, endpoint)
    elif endpoint is not None:
        found = [doctor(endpoint)]
    else:
        raise InputError("nothing to probe: name a model, or the gateway's settings file with --write")
    if json:
        return printing.as_json(found[0] if write is None else found)
    printing.lines([line for one in found for line in one.lines])
    if write is not None:
        printing.lines(filter(None, [dearer_weak_model(write)]))
        again = f"demur serve --config {shlex.quote(str(write))}"
        return printing.next_step(f"{again}{restart_note(write)}")
    as_weak = f"demur sample prompts.jsonl --weak {endpoint} --strong LARGE_MODEL@URL"
    as_strong = f"demur sample prompts.jsonl --weak SMALL_MODEL@URL --strong {endpoint}"
    if not found[0].private:
        return printing.next_step(as_weak if found[0].free else as_strong)
    printing.next_step(as_weak, others=[f"{as_strong}   (if it is the large one)"])
    return printing.explanation(f"if it costs: name it {endpoint}#usd=IN/OUT, in USD per million tokens")


def entail(
    question: Annotated[str, typer.Argument(help='The question; "" for none.')],
    answer_a: Annotated[str, typer.Argument(help="One answer.")],
    answer_b: Annotated[str, typer.Argument(help="The other.")],
    entailment: Annotated[
        str | None,
        typer.Option(help="What decides: exact, shipped (the default), a folder, FILE.onnx, hub:NAME, llm:MODEL."),
    ] = None,
    rules: Annotated[bool, typer.Option(help="Decide numbers, dates and units by rule first.")] = True,
    store: Annotated[str | None, typer.Option(help="File in which entailment scores are kept.")] = None,
    json: AsJson = False,
) -> None:
    """Decide whether two answers to a question mean the same.

    The rule or model that decided is shown. The decision is about these two answers alone; if a labelling run would
    decide otherwise on sampled answers, this is shown, too.
    """
    from demur.meaning.compare import entail

    found = entail(question, answer_a, answer_b, entailment=entailment, rules=rules, store=store)
    if json:
        return printing.as_json(found)
    printing.lines(found.lines)
    return printing.next_step(f"demur label --entailment {entailment or 'shipped'}")


def pairs(
    runs: Annotated[list[str], typer.Argument(help="Folders of runs on the same prompts, sampled with other models.")],
    usd_per_1k: Annotated[float, typer.Option(help="Largest cost of 1,000 such prompts, in USD.")],
    strongest: Annotated[
        str | None, typer.Option(help="The model whose samples are believed.  [default: the dearest]")
    ] = None,
    allow_endpoint: AllowEndpoint = None,
    json: AsJson = False,
) -> None:
    """Rank sampled models and their pairs by what a budget buys. So are sets of three; no labels are needed."""
    from demur.evaluation.pairs import pairs

    with progress_bar() as progress:
        found = pairs(runs, usd_per_1k, strongest=strongest, allow_endpoints=allow_endpoint or (), progress=progress)
    if json:
        return printing.as_json(found)
    printing.lines(found.lines)
    best = found.best_pair
    names = [found.models[i] for i in best.models] if best else ["MODEL", "MODEL"]
    return printing.next_step(f"demur sample prompts.jsonl --weak {names[0]}@URL --strong {names[1]}@URL")

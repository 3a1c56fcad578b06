"""What a gateway's ledger keeps of a decision, where a prompt was to be given and its id was."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demur.config.named_run import of_router, run_folder_of
from demur.errors import InputError, StoreError
from demur.records import Fact, fact_lines
from demur.serving_file import serving_gateways

if TYPE_CHECKING:
    from demur.gate.explanation import Explanation
    from demur.gateway.ledger.record import LedgerRecord

# The x-demur-decision-id that gateways give: twenty characters of a random UUID, of which two are fixed in part, and a
# count. A hash that somebody asks about is not taken for one, but where a decision may be meant.
_ID = re.compile(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{3}0{4}[0-9a-f]{8}")
_LIKE_AN_ID = re.compile(r"[0-9a-f]{32}")


def is_decision_id(text: str) -> bool:
    """Whether a text is the id of a gateway's decision."""
    return bool(_ID.fullmatch(text.strip()))


def may_be_id(text: str) -> bool:
    """Whether a text looks like the id of a decision, as one that was mistyped does."""
    return bool(_LIKE_AN_ID.fullmatch(text.strip()))


def check_prompt(text: str, router: str) -> None:
    """Raise InputError for the id of a decision, which is no prompt."""
    if is_decision_id(text):
        explain = of_router(f"`demur explain {text.strip()}`", Path(router))
        raise InputError(f"{text.strip()} is the id of a gateway's decision, not a prompt: {explain} looks it up")


def find_decision(text: str, router: str) -> tuple[LedgerRecord, str]:
    """The record of the decision with this id and the ledger that has it, of those of the run that a saved router is
    of, and of the gateways that serve it. Raises InputError where none has it."""
    from demur.gateway.ledger.read import read_decision

    name, folder = text.strip(), run_folder_of(Path(router))
    gateways = serving_gateways(folder)
    ledgers = dict.fromkeys([*(one.ledger for one in gateways if one.ledger), str(folder / "ledger.sqlite")])
    readable = list[str]()
    for ledger in ledgers:
        with suppress(StoreError):
            if found := read_decision(ledger, name):
                return found, ledger
            readable.append(ledger)
    searched = " or ".join(one if one in readable else f"{one} ({_fault(one)})" for one in ledgers)
    lists = " or ".join(f"`demur ledger {shlex.quote(one)} --json`" for one in readable)
    newest = f"{lists} lists the ids of the newest, and where" if readable else "where"
    pages = [f"{one.operator}/decisions/{name}" for one in gateways if one.operator]
    page = " or ".join(pages) or f"the page /decisions/{name} of its dashboard"
    explain = of_router(f"`demur explain --prompt {name}`", Path(router))
    prompt = "" if is_decision_id(name) else f"; to explain it as a prompt: {explain}"
    raise InputError(
        f"no decision with the id {name} is in {searched}: {newest} its gateway keeps another ledger, "
        f"{page} shows it; it is written half a second after the answer{prompt}"
    )


def _fault(ledger: str) -> str:
    """Why a ledger was not searched."""
    return "which cannot be read" if Path(ledger).exists() else "which is not there"


def decided_lines(record: LedgerRecord, router: str, ledger: str) -> Iterator[str]:
    """Why a model answered a request, what its gate did, what it cost, what was asked, where the time went and which
    training prompts are most like it, as its page says it."""
    from demur.gateway.operator import decision_page as page

    explained = _explanation_of(record, router)
    yield f"{record.role}: {record.model or 'no model'}"
    reasons: list[Fact] = [("" if at else "why", line) for at, line in enumerate(page.why(record, explained))]
    gate, cost = page.gate_sentence(record, explained), page.money_sentence(record)
    own = [("gate", gate), ("cost", cost), *page.facts(record)]
    spent = [("" if at else "time spent", f"{took} {stage}") for at, (stage, took) in enumerate(page.times(record))]
    unlike = [] if explained else [("prompts like it", page.why_not_near(record))]
    yield from fact_lines([*reasons, *own, *spent, *unlike, ("ledger", ledger)])
    yield from explained.near_lines if explained else ()


def decided_as_dict(record: LedgerRecord, router: str) -> dict[str, Any]:
    """The same as JSON has it: the record, its times among it, and the training prompts that are most like it; null
    where they cannot be named."""
    explained = _explanation_of(record, router)
    made = explained.decision if explained else None
    near = {"neighbours": made and made.neighbours, "unknown_neighbour": made and made.unknown_neighbour}
    return {**asdict(record), **near}


def _explanation_of(record: LedgerRecord, router: str) -> Explanation | None:
    from demur.gate.router import Router
    from demur.gateway.operator.decision_page import explain_record

    return explain_record(record, Router.load(router)) if record.prompt else None

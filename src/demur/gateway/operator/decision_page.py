"""The page of one decision: its record, why this model answered, what the gate did, and training prompts like it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape

from demur.errors import DemurError
from demur.gate.explanation import Explanation
from demur.gate.router import Router
from demur.gateway.latencies import SHORTEST
from demur.gateway.ledger.record import LedgerRecord
from demur.gateway.ledger.totals.bills import bill_of
from demur.gateway.operator.last_hour import stages_of
from demur.labels.targets import need_in_words
from demur.records import Role, count_of, dollars, on_one_line
from demur.routing.decision import Neighbour, UnknownNeighbour

SAME = 5e-4  # scores that differ by less are of one router: prompts that arrive together are embedded together

Fact = tuple[str, str]


def decision_page(record: LedgerRecord, router: Router) -> str:
    """The page; the router explains prompts that the ledger keeps. Every text of another's is escaped."""
    explanation = explain_record(record, router)
    title = f"{record.model or 'no model'} answered" if record.status < 400 else f"error {record.status}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p><a href="/">dashboard</a> <span class="faint">decision {escape(record.id)}</span></p>',
        _section("Why", [f"<p>{escape(line)}</p>" for line in why(record, explanation)]),
        _section("The gate", [f"<p>{escape(gate_sentence(record, explanation))}</p>"]),
        _section("Training prompts like it", _near(record, explanation)),
        _section("Money", [f"<p>{escape(money_sentence(record))}</p>"]),
        _section("The request", [_facts(facts(record))]),
        _section("Where the time went", [_facts(times(record))]),
    ]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>demur: {escape(title)}</title><link rel="icon" href="data:,">'
        f'<link rel="stylesheet" href="/dashboard/dashboard.css"></head>\n<body><main>\n{body}\n</main></body></html>\n'
    )


def explain_record(record: LedgerRecord, router: Router) -> Explanation | None:
    """What the router that serves now says of the prompt; None where the ledger has no prompt, or it cannot say."""
    if not record.prompt:
        return None
    try:
        return router.explain(record.prompt)
    except DemurError:  # an encoder behind an endpoint may be away
        return None


def why(record: LedgerRecord, explanation: Explanation | None) -> list[str]:
    """Why this model answered, and at which strong shares another would have."""
    found = [record.reason or "No model was chosen: the request was refused before that."]
    if record.score is not None and record.threshold is not None:
        side = "at or above" if record.score >= record.threshold else "below"
        found.append(f"In full, the score is {record.score:.6f}, {side} the threshold of {record.threshold:.6f}.")
    if explanation:
        found += [*_of_today(record, explanation), _sentence(explanation.turns)]
    return found


def _of_today(record: LedgerRecord, explanation: Explanation) -> list[str]:
    """Where the router that serves now scores the prompt otherwise."""
    score, threshold = explanation.decision.score, explanation.decision.threshold
    if record.score is None or record.stage == "gate":
        return [f"By the prompt alone its score is {score:.4f} today; the router's own threshold is {threshold:.4f}."]
    if abs(score - record.score) < SAME:
        return []
    return [
        f"The router that serves now scores it {score:.4f}, with {threshold:.4f} as its own threshold: it has changed "
        "since."
    ]


def gate_sentence(record: LedgerRecord, explanation: Explanation | None) -> str:
    """What the gate on the weak model's answer did, or why it did nothing."""
    if record.stage != "gate":
        return _why_not_asked(explanation.second_stage if explanation else "")
    samples = f" and {count_of(record.extra_samples, 'extra sample')}" if record.extra_samples else ""
    kept = "kept it" if record.role == "weak" else "dropped it: the strong model answered"
    void = " Its signals were missing, so its calibration does not hold here." if record.calibration_void else ""
    checks = f", which cost {dollars(record.usd_checks)}" if record.usd_checks else ""
    looked = f"It looked at the weak model's answer{samples} for {1000 * record.gate_seconds:,.0f} ms{checks}"
    return f"{looked}, and {kept}.{void}"


def _why_not_asked(second_stage: str) -> str:
    """A sentence of what `Explanation.second_stage` says, a note in a few words."""
    if second_stage.startswith("none ("):
        return f"There is none: {second_stage[len('none (') : -1]}."
    if second_stage.startswith(asked_not := "not asked, "):
        return f"It was not asked: {second_stage.removeprefix(asked_not)}."
    return f"It was not asked. {_sentence(second_stage)}".strip()


def money_sentence(record: LedgerRecord) -> str:
    """What the request cost and saved, in the words of every bill."""
    counted = (
        "" if record.tokens_counted else " A part is an estimate: the upstream did not say how many tokens it took."
    )
    return f"{_sentence(bill_of([record]).sentence)}{counted}"


def facts(record: LedgerRecord) -> list[Fact]:
    """The request as the ledger has it."""
    at = datetime.fromtimestamp(record.at, UTC).isoformat(" ", "seconds").removesuffix("+00:00")
    cached = f", {record.cached_tokens:,} of them cached" if record.cached_tokens else ""
    reasoning = f", {record.reasoning_tokens:,} of them reasoning" if record.reasoning_tokens else ""
    found = [
        ("time (UTC)", at),
        ("asked for", record.asked),
        ("path", record.path),
        ("key", record.key),
        ("conversation", record.conversation),
        ("status", f"{record.status}, {record.outcome.replace('_', ' ')}{', streamed' if record.streamed else ''}"),
        ("tokens", f"{record.prompt_tokens:,} in{cached}; {record.completion_tokens:,} out{reasoning}"),
        ("prompt", record.prompt),
    ]
    return [(name, text) for name, text in found if text]


def times(record: LedgerRecord) -> list[Fact]:
    """The stages that it went through, in ms."""
    names = {"first_byte": "first byte of the upstream", "total": "in all", "embed": "embedding", "queue": "waiting"}
    return [
        (names.get(stage, stage), "under 0.01 ms" if seconds < SHORTEST else f"{1000 * seconds:,.2f} ms")
        for stage, seconds in reversed(stages_of(record))
    ]


def _near(record: LedgerRecord, explanation: Explanation | None) -> list[str]:
    if explanation is None:
        return [f"<p>{escape(why_not_near(record))}</p>"]
    about = [f'<p class="faint">{escape(_sentence(one))}</p>' for one in explanation.glossary]
    unknown, shown = explanation.decision.unknown_neighbour, map(_neighbour, explanation.decision.neighbours)
    return [f'<ul class="near">{_unlabelled_item(unknown) if unknown else ""}{"".join(shown)}</ul>', *about]


def why_not_near(record: LedgerRecord) -> str:
    """Why the training prompts that are most like it cannot be named."""
    if record.prompt:
        return "They cannot be read now; the log says why."
    return (
        "The ledger does not keep prompts (record_prompts = false), so they cannot be named. `demur explain` names "
        "them for a prompt that you give."
    )


def _unlabelled_item(one: UnknownNeighbour) -> str:
    about = f"cosine {one.similarity:.2f}; {one.about}"
    return f'<li>{escape(on_one_line(one.prompt, 300))}<br><span class="faint">{escape(about)}</span></li>'


def _neighbour(one: Neighbour) -> str:
    training = one.training
    said = _answer_text("weak", training.weak_answer, training.weak_entropy)
    said += _answer_text("strong", training.strong_answer, training.strong_entropy)
    told = f"cosine {one.similarity:.2f}; showed: {need_in_words(training.target)} (target {training.target:.2f})"
    need = f'<br><span class="faint">{escape(told)}</span>'
    return f"<li>{escape(on_one_line(one.prompt, 300))}{need}{said}</li>"


def _answer_text(role: Role, answer: str, entropy: float | None) -> str:
    nats = "" if entropy is None else f'<span class="faint">, semantic entropy {entropy:.2f} nats</span>'
    return f'<br><span class="{role}">{role}</span> said {escape(on_one_line(answer, 300) or "nothing")}{nats}'


def _section(name: str, parts: Iterable[str]) -> str:
    return f"<h2>{escape(name)}</h2>\n" + "\n".join(parts)


def _facts(rows: Iterable[Fact]) -> str:
    return '<dl class="facts">' + "".join(f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>" for a, b in rows) + "</dl>"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""

"""The site's reference pages, made from the code: Python, settings, metrics, files of a run."""

from __future__ import annotations

import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, get_args, get_type_hints

import demur
from demur.config import RunConfig
from demur.gateway.ledger.record import LedgerRecord
from demur.gateway.operator.metrics import DESCRIBED
from demur.gateway.settings import GatewaySettings
from demur.limits import text_of
from demur.records import Preference
from demur.routing.prompt_router import TrainingPrompt

_LIMITS = {"at_least": "at least", "above": "above", "at_most": "at most", "below": "below"}
_MADE = "Made from the code when the site is built.\n"


def reference_pages() -> dict[str, str]:
    """Each page's text, by its path in the site."""
    return {
        "reference/python.md": python_page(),
        "reference/settings.md": settings_page(),
        "reference/metrics.md": metrics_page(),
        "reference/files.md": files_page(),
    }


def python_page() -> str:
    """Every public name of `demur` with its signature and text."""
    parts = ["# Python functions\n", _MADE, "What each object is for, with examples: [Python](../python.md).\n"]
    for name in demur.__all__:
        value = getattr(demur, name)
        signature = f"({_signature(value)})" if callable(value) else ""
        parts.append(f"## demur.{name}\n\n```text\n{name}{signature}\n```\n\n{_prose(value)}\n")
        if inspect.isclass(value):
            parts += [
                f"**{name}.{method}** — {_first_line(found)}\n"
                for method, found in sorted(vars(value).items())
                if not method.startswith("_") and inspect.getdoc(found) and not is_dataclass(found)
            ]
    return "\n".join(parts)


def _signature(value: Any) -> str:
    """The parameters, one a line where there are several."""
    try:
        found = inspect.signature(value)
    except ValueError:
        return ""
    shown = [re.sub(r"""(['"])(.*?)\1(?= =|$)""", r"\2", str(one)) for one in found.parameters.values()]
    return ", ".join(shown) if len(shown) < 3 else "\n    " + ",\n    ".join(shown) + "\n"


def _prose(value: Any) -> str:
    return re.sub(r"``([^`]+)``", r"`\1`", inspect.getdoc(value) or "").strip()


def _first_line(value: Any) -> str:
    return _prose(value).partition("\n\n")[0].replace("\n", " ")


def settings_page() -> str:
    """Every setting of the gateway's file and of the run file."""
    return "\n".join(
        [
            "# Settings\n",
            _MADE,
            "An editor checks the same by `demur schema gateway` and `demur schema run`.\n",
            "## Of the gateway\n",
            "Written in full, with what they do: [the gateway](../gateway.md#settings).\n",
            *_tables(GatewaySettings, ""),
            "## Of a run file\n",
            "An example with every key: [the run file](../run-file.md).\n",
            *_tables(RunConfig, ""),
        ]
    )


def _tables(record: type[Any], under: str) -> Iterator[str]:
    """The table of a record's settings, then those of the records in it."""
    hints, below = get_type_hints(record), list[tuple[str, type[Any]]]()
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for one in fields(record):
        inner = _record_in(hints[one.name])
        if inner:
            below.append((f"{under}{one.name}", inner))
            continue
        rows.append(f"| `{one.name}` | {_type(hints[one.name])} | {_default(one)} | {_about(one)} |")
    yield "\n".join(rows) + "\n"
    seen: dict[type[Any], str] = {}
    for name, inner in below:
        if inner in seen:
            yield f"### `[{name}]`\n\nAs `[{seen[inner]}]`.\n"
            continue
        seen[inner] = name
        yield f"### `[{name}]`\n"
        yield from _tables(inner, f"{name}.")


def _record_in(hint: Any) -> type[Any] | None:
    return next((one for one in (hint, *get_args(hint)) if isinstance(one, type) and is_dataclass(one)), None)


def _type(hint: Any) -> str:
    shown = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
    return "`" + re.sub(r"\b(typing|demur(\.\w+)*)\.", "", shown).replace("|", "\\|") + "`"


def _default(one: Field[Any]) -> str:
    value = one.default if one.default_factory is MISSING else one.default_factory()
    return "must be given" if value is MISSING else f"`{value!r}`".replace("|", "\\|")


def _about(one: Field[Any]) -> str:
    limits = ", ".join(f"{words} {one.metadata[key]:g}" for key, words in _LIMITS.items() if key in one.metadata)
    text = text_of(one).replace("|", "\\|")
    return f"{text} ({limits})" if limits else text


def metrics_page() -> str:
    """Every metric of the gateway's `/metrics`."""
    rows = [f"| `{name}` | {kind} | {text} |" for name, kind, text in DESCRIBED]
    head = ["# Metrics\n", _MADE, "`GET /metrics` of the [gateway](../gateway.md#metrics), in Prometheus's format.\n"]
    return "\n".join([*head, "| name | type | meaning |", "|---|---|---|", *rows, ""])


RECORDS: Mapping[str, tuple[type[Any], str]] = {
    "run/preferences.jsonl": (
        Preference,
        "A preference per line; RouteLLM's columns (`winner_model_a` and so on) stand beside.",
    ),
    "run/router/training.jsonl": (TrainingPrompt, "A prompt per line that a saved router was trained on."),
    "The ledger": (
        LedgerRecord,
        "A column each of the table `decisions`, and a member each of what `demur ledger --export` writes.",
    ),
}


def files_page() -> str:
    """The members of the files that demur writes and others read."""
    parts = ["# Files\n", _MADE]
    parts.append(
        "Files of prompts are read in [many forms](../run-file.md#files-of-prompts); batches are "
        "[OpenAI's](../run-file.md#batch-files). `run/graded.jsonl` and grades of your own hold `prompt`, "
        "`weak_quality` and `strong_quality` (0 to 1) per line. A saved router is a folder of JSON and safetensors: it "
        "runs no code when it is loaded.\n"
    )
    for title, (record, about) in RECORDS.items():
        comments, hints = _comments(record), get_type_hints(record)
        rows = [f"| `{one.name}` | {_type(hints[one.name])} | {comments.get(one.name, '')} |" for one in fields(record)]
        parts += [f"## {title}\n", f"{about}\n", "| member | type | meaning |", "|---|---|---|", *rows, ""]
    return "\n".join(parts)


def _comments(record: type[Any]) -> dict[str, str]:
    """The comment behind each field of a record."""
    source, found = textwrap.dedent(inspect.getsource(record)), dict[str, str]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        field = re.match(r"\s+(\w+): ", token.line)
        if token.type == tokenize.COMMENT and field:
            found[field[1]] = token.string.lstrip("# ").replace("|", "\\|")
    return found

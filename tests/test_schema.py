"""The JSON schema of run files and of the gateway's settings: it takes what is read, and refuses what is refused."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import pytest
from typer.testing import CliRunner

from demur.cli.main import app
from demur.config import RunConfig, read_run_file
from demur.errors import InputError
from demur.gateway.settings import GatewaySettings, read_settings
from demur.limits import from_mapping, json_schema, setting

ROOT = Path(__file__).parents[1]
RECORDS = {"run": RunConfig, "gateway": GatewaySettings}
BOUNDS = {
    "minimum": lambda value, bound: value >= bound,
    "exclusiveMinimum": lambda value, bound: value > bound,
    "maximum": lambda value, bound: value <= bound,
    "exclusiveMaximum": lambda value, bound: value < bound,
}
KINDS: dict[str, Any] = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": int | float,
    "null": type(None),
    "array": list,
    "object": dict,
}
NOTES = {"$schema", "title", "description", "default"}
SHAPES = {"type", "enum", "anyOf", "properties", "required", "additionalProperties", "items"}


def is_kind(value: object, kind: str) -> bool:
    return isinstance(value, KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool))


def takes(schema: dict[str, Any], value: Any) -> bool:
    """Whether a schema takes a value; the keywords of draft 2020-12 that demur writes, and no others."""
    assert not set(schema) - NOTES - SHAPES - set(BOUNDS), set(schema)
    kinds = schema.get("type", [])
    if kinds and not any(is_kind(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if "anyOf" in schema and not any(takes(one, value) for one in schema["anyOf"]):
        return False
    if is_kind(value, "number") and not all(BOUNDS[name](value, schema[name]) for name in BOUNDS if name in schema):
        return False
    if isinstance(value, list) and "items" in schema:
        return all(takes(schema["items"], one) for one in value)
    if isinstance(value, dict) and kinds == "object":
        known, other = schema.get("properties", {}), schema["additionalProperties"]
        below = (takes(known[key], one) if key in known else other and takes(other, one) for key, one in value.items())
        return all(name in value for name in schema.get("required", ())) and all(below)
    return True


@dataclass(frozen=True)
class Side:
    model: str = field(metadata={"alone": True, "about": "Its name."})


@dataclass(frozen=True)
class Small:
    side: Side
    n: int | str = field(default=1, metadata={"at_least": 1, "at_most": 5, "help": "How many."})
    share: float | None = setting("Of calls.", None, above=0, below=1)
    way: Literal["up", "down"] = "up"
    names: tuple[str, ...] = field(default=("a",), metadata={"choices": ("a", "b")})
    factors: dict[str, float] = field(default_factory=dict, metadata={"above": 0})
    other: Side | None = None


def test_a_record_becomes_the_schema_written_by_hand() -> None:
    side = {"anyOf": [{"type": "string"}, {
        "type": "object", "required": ["model"], "additionalProperties": False,
        "properties": {"model": {"description": "Its name.", "type": "string"}},
    }]}  # fmt: skip
    assert json_schema(Small, "small") == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "small",
        "type": "object",
        "required": ["side"],
        "additionalProperties": False,
        "properties": {
            "side": side,
            "n": {
                **{"description": "How many.", "default": 1},
                **{"type": ["integer", "string"], "minimum": 1, "maximum": 5},
            },
            "share": {
                **{"description": "Of calls.", "default": None},
                **{"type": ["number", "null"], "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            },
            "way": {"enum": ["up", "down"], "default": "up"},
            "names": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}, "default": ["a"]},
            "factors": {"type": "object", "additionalProperties": {"type": "number", "exclusiveMinimum": 0}},
            "other": {"anyOf": [side, {"type": "null"}], "default": None},
        },
    }


def printed(name: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["schema", name])
    assert done.exit_code == 0
    found: dict[str, Any] = json.loads(done.stdout)
    return found


SCHEMAS = {name: printed(name) for name in RECORDS}


def table_of(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a table, wherever in a choice it stands; {} in one that has none."""
    if "anyOf" not in schema:
        return schema if "properties" in schema else {}
    return next(filter(None, map(table_of, schema["anyOf"])), {})


def keys(record: type[Any], schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[Any, Any, Any]]:
    """Path, field and schema of everything in a record and the records in it."""
    hints = get_type_hints(record)
    assert {*schema["properties"]} == {one.metadata.get("written", one.name) for one in fields(record)}, record
    for one in (one for one in fields(record) if one.name != "between"):  # its records are those of weak and strong
        own = schema["properties"][one.name]
        below = next(filter(is_dataclass, (hints[one.name], *get_args(hints[one.name]))), None)
        if isinstance(below, type):
            yield from keys(below, table_of(own), (*path, one.name))
        else:
            yield (*path, one.name), one, own


FOUND = [(name, *found) for name, record in RECORDS.items() for found in keys(record, SCHEMAS[name])]
LIMITED = [one for one in FOUND if {"at_least", "above", "at_most", "below"} & {*one[2].metadata}]


def test_every_key_stands_in_the_schema_with_a_text() -> None:
    """`keys` holds that no key is missing."""
    assert len(FOUND) > 100
    assert not [path for _, path, _, schema in FOUND if not schema.get("description")]


BESIDE = {"weak": {"model": "small"}, "strong": {"model": "large"}}


def with_value(name: str, path: tuple[str, ...], value: object) -> dict[str, Any]:
    """A file of these settings with one of them changed."""
    found: dict[str, Any] = {**BESIDE, "prompts": "p.jsonl"} if name == "run" else {**BESIDE}
    *above, key = path
    table = found
    for step in above:
        table[step] = {**table.get(step, {})}
        table = table[step]
    table[key] = value
    return found


def is_read(name: str, values: dict[str, Any]) -> bool:
    try:
        from_mapping(RECORDS[name], values)
    except InputError:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "path", "one"), [one[:3] for one in LIMITED], ids=[".".join((one[0], *one[1])) for one in LIMITED]
)
def test_the_schema_takes_and_refuses_the_numbers_that_are_read_and_refused(
    name: str, path: tuple[str, ...], one: Any
) -> None:
    """On every limit of every key, one below and one above; a table's limits are those of its values."""
    steps = (-1, -0.5, 0, 0.5, 1) if "float" in str(one.type) else (-1, 0, 1)
    verdicts = set()
    for limit in {"at_least", "above", "at_most", "below"} & {*one.metadata}:
        for by in steps:
            number = one.metadata[limit] + by
            values = with_value(name, path, {"flex": number} if "dict" in str(one.type) else number)
            verdicts.add(is_read(name, values))
            assert takes(SCHEMAS[name], values) == is_read(name, values), values
    assert verdicts == {True, False}


def toml_blocks(page: str) -> list[dict[str, Any]]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [tomllib.loads(one) for one in re.findall(r"```toml\n(.*?)```", text, re.DOTALL)]


def test_the_documented_files_fit() -> None:
    run = toml_blocks("run-file.md")[0]
    assert takes(SCHEMAS["run"], run)
    served = [*toml_blocks("gateway.md"), tomllib.loads((ROOT / "deploy" / "gateway.toml").read_text())]
    assert len(served) >= 5
    known = [one for one in served if is_read("gateway", one)]
    assert len(known) >= 3
    assert all(takes(SCHEMAS["gateway"], one) for one in known)


@pytest.mark.parametrize(
    "wrong",
    [
        {"runn": "x"},  # no such key
        {"prompts": 3},
        {"weak": {"model": "small", "modell": "x"}},
        {"weak": {"base_url": "http://x/v1"}},  # its model is missing
        {"test_share": 1.1},  # 1 at most
        {"max_usd": -0.01},
        {"sampling": {"n": 0}},
        {"sampling": {"chat": "yes"}},
        {"sampling": {"stop": "x"}},
        {"label": {"source": "entropie"}},
        {"label": {"delta": "Paper"}},
        {"router": {"methods": ["kernel", "svm"]}},
        {"strong": {"model": "large", "service_tiers": {"flex": 0}}},
    ],
)
def test_a_near_miss_does_not_fit(wrong: dict[str, Any]) -> None:
    good = {**BESIDE, "prompts": "p.jsonl", "max_usd": 0, "label": {"kind": None}, "sampling": {"n": "2..5"}}
    assert takes(SCHEMAS["run"], good)
    assert takes(SCHEMAS["run"], {**good, "weak": "smollm2-135m"})
    assert not takes(SCHEMAS["run"], {**good, **wrong})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('strongg = "x"', "unknown key 'strongg'; did you mean 'strong'? known here: prompts, weak, strong, "),
        (
            "[sampling]\ntemprature = 1",
            "sampling: unknown key 'temprature'; did you mean 'temperature'? known",
        ),
        ('zzzzzz = "x"', "unknown key 'zzzzzz'; known here: prompts, weak, "),
    ],
)
def test_an_unknown_key_names_the_closest_one(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(said)):
        read_run_file(path)
    path.write_text("prot = 1")
    with pytest.raises(InputError, match="unknown key 'prot'; did you mean 'port'") as raised:
        read_settings(path)
    closest = str(raised.value).partition("known here: ")[2].split(", ")
    assert closest[0] == "port"
    assert 1 < len(closest) < 10  # of about 50
    path.write_text("zzzzzz = 1")
    with pytest.raises(InputError, match="unknown key 'zzzzzz'; `demur schema gateway` lists the ") as raised:
        read_settings(path)
    assert "port" not in str(raised.value)  # no key is like it, so none is named

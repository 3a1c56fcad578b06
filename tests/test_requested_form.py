"""Whether an answer certainly has another form than its request asks for: its tools' parameters, its JSON schema."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from demur.gate.form.json_schema import schema_problem
from demur.gate.form.requested_form import form_problem
from demur.prompts.tool_calls import with_calls

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
        "unit": {"enum": ["celsius", "fahrenheit"]},
        "at": {"type": ["number", "null"]},
    },
    "required": ["city"],
}
REQUEST = {"tools": [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]}


def calling(name: str, arguments: str) -> str:
    return with_calls("", {"tool_calls": [{"function": {"name": name, "arguments": arguments}}]})


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ('{"city": "Paris"}', ""),
        ('{"city": "Paris", "days": 3.0, "unit": "celsius", "at": null}', ""),
        ('{"days": 3}', "'city' is missing"),
        ('{"city": 7}', "city: 7 is not of type string"),
        ('{"city": "Paris", "days": 2.5}', "days: 2.5 is not of type integer"),
        ('{"city": "Paris", "days": true}', "days: true is not of type integer"),
        ('{"city": "Paris", "days": 15}', "days: 15 is above maximum 14"),
        ('{"city": "Paris", "unit": "Celsius"}', 'unit: "Celsius" is not one of ["celsius", "fahrenheit"]'),
        ('{"city": "Paris", "country": "FR"}', "'country' is not known"),
    ],
)
def test_a_call_is_checked_against_its_own_parameters(arguments: str, problem: str) -> None:
    said = f"it calls 'weather' wrongly ({problem})" if problem else ""
    assert form_problem(calling("weather", arguments), REQUEST) == said


def test_calls_that_no_tool_can_take() -> None:
    assert form_problem(calling("wether", "{}"), REQUEST) == "it calls 'wether', which the request does not offer"
    broken = calling("weather", '{"city": "Par')
    assert form_problem(broken, REQUEST) == "it calls 'weather' with arguments that are not a JSON object"
    as_text = '<tool_call>{"name": "weather", "arguments": {"city": "Paris"}}</tool_call>'
    assert form_problem(as_text, REQUEST) == "it writes a call of 'weather' as text, which no client runs"


def test_a_text_is_fine_unless_a_call_is_demanded() -> None:
    assert form_problem("It is sunny.", REQUEST) == ""
    due = "it calls no tool, and the request demands a call"
    assert form_problem("It is sunny.", REQUEST | {"tool_choice": "required"}) == due
    named = {"type": "function", "function": {"name": "weather"}}
    assert form_problem("It is sunny.", REQUEST | {"tool_choice": named}) == due
    assert form_problem("It is sunny.", REQUEST | {"tool_choice": "auto"}) == ""


def test_one_wrong_call_among_several_is_enough() -> None:
    both = [{"function": {"name": "weather", "arguments": given}} for given in ('{"city": "Paris"}', "{}")]
    assert (
        form_problem(with_calls("", {"tool_calls": both}), REQUEST) == "it calls 'weather' wrongly ('city' is missing)"
    )


def test_more_arguments_where_the_schema_allows_them() -> None:
    free = {"tools": [{"function": {"name": "f", "parameters": WEATHER | {"additionalProperties": True}}}]}
    assert form_problem(calling("f", '{"city": "Paris", "country": "FR"}'), free) == ""
    unsaid = {"tools": [{"function": {"name": "f", "parameters": {"type": "object"}}}]}
    assert form_problem(calling("f", '{"x": 1}'), unsaid) == ""
    assert form_problem(calling("f", '{"x": 1}'), {"functions": [{"name": "f"}]}) == ""


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ('{"n": 1}', ""),
        ('{"n": "1"}', 'it does not fit the response format (n: "1" is not of type integer)'),
        ("Sure: 1", "it is not JSON, and the request asks for JSON"),
        ('```json\n{"n": 1}\n```', "it is not JSON, and the request asks for JSON"),
    ],
)
def test_an_answer_in_json_is_checked_against_the_response_format(answer: str, problem: str) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    assert form_problem(answer, {"response_format": wanted}) == problem
    assert form_problem("Sure: 1", {"response_format": {"type": "text"}}) == ""
    assert form_problem("[1]", {"response_format": {"type": "json_object"}}).startswith("it is not a JSON object")


@pytest.mark.parametrize(
    ("value", "schema", "fits"),
    [
        ([1, "a"], {"prefixItems": [{"type": "integer"}], "items": {"type": "string"}}, True),
        ([1, 2], {"prefixItems": [{"type": "integer"}], "items": {"type": "string"}}, False),
        ([1], {"minItems": 2}, False),
        ("abc", {"maxLength": 2}, False),
        (1, {"anyOf": [{"type": "string"}, {"type": "integer"}]}, True),
        (1.5, {"anyOf": [{"type": "string"}, {"type": "integer"}]}, False),
        (1, {"allOf": [{"type": "integer"}, {"exclusiveMinimum": 1}]}, False),
        ({"a": {"a": None}}, {"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"required": ["b"]}}}, False),
        ({"a": {"b": 1}}, {"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"required": ["b"]}}}, True),
        (None, {"type": "string", "nullable": True}, True),
        (1, {"const": 1.0}, True),
        (True, {"enum": [1]}, False),
        (1, False, False),
        (1, True, True),
    ],
)
def test_what_a_schema_says(value: Any, schema: Any, fits: bool) -> None:
    assert (schema_problem(value, schema) == "") is fits


@pytest.mark.parametrize(
    ("value", "schema", "problem"),
    [
        (1, False, "nothing is allowed here"),
        ({"a": 1}, {"properties": {"a": False}}, "a: nothing is allowed here"),
        ({"a": [1, "x"]}, {"properties": {"a": {"items": {"type": "integer"}}}}, 'a[1]: "x" is not of type integer'),
        (1, {"minimum": 1}, ""),
        (0, {"minimum": 1}, "0 is below minimum 1"),
        (1, {"exclusiveMinimum": 1}, "1 is not above exclusiveMinimum 1"),
        (1, {"exclusiveMaximum": 1}, "1 is not below exclusiveMaximum 1"),
        (1, {"maximum": 1}, ""),
        ("abc", {"maxLength": 3, "minLength": 3}, ""),
        ("abc", {"minLength": 4}, '"abc" is under minLength 4'),
        ("abc", {"maxLength": 2}, '"abc" is over maxLength 2'),
        ([1], {"maxItems": 1, "minItems": 1}, ""),
        ([1], {"maxItems": 0}, "[1] is over maxItems 0"),
        (True, {"minimum": 2}, ""),  # a limit of numbers says nothing of a boolean
        ({"x-1": 1}, {"patternProperties": {"^x-": {}}, "additionalProperties": False}, ""),
        (1, {"anyOf": [{"type": "string"}]}, "1 is not of type string"),
        (1, {"oneOf": [{"type": "string"}, {"type": "null"}]}, "1 fits none of 2 forms"),
        ("a" * 58, {"type": "null"}, f'"{"a" * 58}" is not of type null'),  # 60 characters with its quotes
        ("a" * 59, {"type": "null"}, f'"{"a" * 56}... is not of type null'),
        ({"a/b": 1}, {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"required": ["c"]}}}, "'c' is missing"),
        (1, {"$ref": "#/$defs/x", "maximum": 0, "$defs": {"x": {}}}, "1 is above maximum 0"),
    ],
)
def test_a_problem_names_the_place_the_value_and_the_limit(value: Any, schema: Any, problem: str) -> None:
    assert schema_problem(value, schema) == problem


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "dict"},  # a type that JSON schema does not know
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "#/nowhere"},
        {"$ref": "#"},
        {"pattern": "(a+)+$"},
        {"minimum": "1", "enum": 5, "required": 7, "properties": [], "items": 3, "anyOf": {}},
        "no schema",
    ],
)
def test_what_cannot_be_told_is_no_problem(schema: Any) -> None:
    assert schema_problem("a" * 40 + "b", schema) == ""


def test_a_schema_made_to_take_for_ever_takes_no_time() -> None:
    defs = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(60)} | {"d60": {"type": "string"}}
    started = time.perf_counter()
    assert schema_problem("a", {"$ref": "#/$defs/d0", "$defs": defs}) == ""
    deep = json.loads("[" * 800 + "]" * 800)
    assert schema_problem(deep, {"$ref": "#/$defs/l", "$defs": {"l": {"items": {"$ref": "#/$defs/l"}}}}) == ""
    assert time.perf_counter() - started < 2

"""Numbers of the run file and of Python: what would switch a limit off is refused by name before anything starts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.config import ModelConfig, RunConfig
from demur.errors import InputError
from demur.evaluation.replay import replay
from demur.limits import check_limits, check_number, from_mapping
from demur.sampling.budget import Budget
from demur.sampling.pair import check_pair

PLAIN = {
    "prompts": "p",
    "weak": {"model": "w", "base_url": "http://x"},
    "strong": {"model": "s", "base_url": "http://x"},
}
ANY_INTEGER = {("sampling", "seed")}  # a name of a draw, not a quantity


def numeric_fields(record: type[Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, type]]:
    """Path, field and kind of number of everything numeric in a record and the records in it."""
    hints = get_type_hints(record)
    for one in fields(record):
        kinds = get_args(hints[one.name]) or (hints[one.name],)
        if is_dataclass(hints[one.name]):
            yield from numeric_fields(hints[one.name], (*path, one.name))
        elif get_origin(hints[one.name]) is dict:
            if float in kinds:
                yield (*path, one.name, "any"), one, float
        elif float in kinds or int in kinds:
            yield (*path, one.name), one, float if float in kinds else int


NUMERIC = [found for found in numeric_fields(RunConfig) if found[0] not in ANY_INTEGER]


def with_value(path: tuple[str, ...], value: float) -> dict[str, Any]:
    """The plain run with one setting changed."""
    *above, name = path
    given: dict[str, Any] = {**PLAIN}
    table = given
    for step in above:
        table[step] = {**table.get(step, {})}
        table = table[step]
    table[name] = value
    return given


def outside(metadata: Any, kind: type) -> st.SearchStrategy[float]:
    """Numbers that a field with these limits must refuse."""
    wrong: list[st.SearchStrategy[Any]] = [st.sampled_from([math.nan, math.inf, -math.inf])] if kind is float else []
    for name in (one for one in ("at_least", "above", "at_most", "below") if one in metadata):
        bound = metadata[name]
        edge = 0 if name in ("above", "below") else 1
        offset = st.integers(edge, 10**9) if kind is int else st.floats(edge or 1e-3, 1e9)
        sign = -1 if name in ("at_least", "above") else 1
        wrong.append(st.builds(lambda by, bound, sign: bound + sign * by, offset, st.just(bound), st.just(sign)))
    return st.one_of(wrong)


def test_every_number_of_a_run_has_limits() -> None:
    """A float needs none to be refused as nan, but an amount without a lower bound is one that was forgotten."""
    assert len(NUMERIC) >= 20
    assert not [path for path, one, _ in NUMERIC if not {"at_least", "above"} & set(one.metadata)]


@pytest.mark.parametrize(("path", "one", "kind"), NUMERIC, ids=[".".join(path) for path, *_ in NUMERIC])
@given(data=st.data())
def test_no_number_outside_its_limits_is_taken(path: tuple[str, ...], one: Any, kind: type, data: Any) -> None:
    value = data.draw(outside(one.metadata, kind))
    said = f"{'.'.join(path)} is ".replace(".", "(: |[.])")  # a file's tables are named before a colon
    with pytest.raises(InputError, match=said):  # from a file
        from_mapping(RunConfig, with_value(path, value))
    with pytest.raises(InputError, match=said):  # from Python
        check_limits(changed(from_mapping(RunConfig, PLAIN), path, value))


def changed(record: Any, path: tuple[str, ...], value: float) -> Any:
    """The same record, or table, with one number changed."""
    name, *below = path
    if isinstance(record, dict):
        return record | {name: value}
    return replace(record, **{name: changed(getattr(record, name), tuple(below), value) if below else value})


def test_both_bounds_are_named() -> None:
    for wrong in (-0.1, 1.1):
        with pytest.raises(InputError, match=rf"share is {wrong}; it must be at least 0 and at most 1"):
            check_number(wrong, "share", at_least=0, at_most=1)
    for fits in (0, 1, None):
        check_number(fits, "share", at_least=0, at_most=1)
    for edge in (0, 1):
        with pytest.raises(InputError, match=rf"share is {edge}; it must be above 0 and below 1"):
            check_number(edge, "share", above=0, below=1)


@pytest.mark.parametrize("wrong", ["", "localhost:1/v1", "ftp://host/v1"])
def test_a_base_url_that_is_none_is_refused_before_either_side_is_asked(wrong: str) -> None:
    good = from_mapping(RunConfig, PLAIN)
    check_pair(good)
    with pytest.raises(InputError, match="is not a URL; write it as https://HOST/v1"):
        check_pair(replace(good, strong=ModelConfig("s", wrong)))


@pytest.mark.parametrize("wrong", [math.nan, -1.0, math.inf])
def test_a_budget_is_an_amount(wrong: float) -> None:
    with pytest.raises(InputError, match="max_usd is "):
        Budget(wrong)


def test_a_threshold_that_is_no_number_is_refused() -> None:
    with pytest.raises(InputError, match="threshold is nan"):
        replay("prompts.jsonl", threshold=math.nan)

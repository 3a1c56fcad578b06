"""Builds a command's options from the fields of a record: name, type, default and help are written only there.

Beside them: the argument of a command that routes one prompt, its words or standard input, and its pictures.

A field with ``help`` in its metadata is an option; ``flag`` is its name, or names, where that is not the field's
own. A tuple is one text separated by commas, or an option to repeat where its metadata says ``repeated``.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import Field, fields
from typing import Annotated, Any, Literal, TypeVar, get_origin, get_type_hints

import typer

from demur.errors import InputError
from demur.prompts.pictures import text_with_pictures

PromptArgument = Annotated[str, typer.Argument(help="The prompt, or - to read it from standard input.")]
Images = Annotated[
    list[str] | None, typer.Option(help="A picture that comes with the prompt: a file or a data URL; repeatable.")
]
# Parameters of a command that are shown after a record's options.
LAST = ("max_usd", "allow_endpoint", "anyway", "again", "dry_run", "verbose", "json")
Command = TypeVar("Command", bound=Callable[..., None])


def with_options(record: type, *, over_file: bool = False, stays: bool = False) -> Callable[[Command], Command]:
    """Give a command the options of a record; it takes their values as ``**given``.

    ``over_file``: they override those of a file, so that an option that is not given is None; ``stays``: the file keeps
    what an earlier command gave.
    """

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        ends = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own if one.name in LAST]
        starts = [one for one in own if one.name not in LAST]
        parameters = [*starts, *options_of(record, over_file=over_file, stays=stays), *ends]
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return command

    return decorate


def options_of(record: type, *, over_file: bool = False, stays: bool = False) -> Iterator[inspect.Parameter]:
    """A parameter for every field of a record that has a help text."""
    hints = get_type_hints(record)
    for one in fields(record):
        if "help" in one.metadata:
            flags = one.metadata.get("flag", "").split()
            hint, default = _as_option(hints[one.name], one)
            text = one.metadata["help"]
            if over_file:
                shown = one.name.replace("_", "-") if default is True else default  # as typer shows a flag's
                text += f"  [default: {'as before, else ' if stays else ''}{shown}]" if default else ""
                hint, default = hint | None, None
            annotation: Any = Annotated[hint, typer.Option(*flags, help=text)]
            yield inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _as_option(hint: Any, of: Field[Any]) -> tuple[Any, Any]:
    """Type and default of a field as the command line takes them."""
    if get_origin(hint) is tuple:
        values: tuple[str, ...] = of.default  # type: ignore[assignment]  # every field with a help text has one
        return (list[str], []) if of.metadata.get("repeated") else (str | None, ",".join(values) or None)
    if hint == int | str:  # the record reads a number from a text
        return str, of.default
    if get_origin(hint) is Literal:  # allowed values are checked by the record, with the same error everywhere
        return str, of.default
    return hint, of.default


def read_prompt(prompt: str, images: list[str] | None) -> str:
    """The prompt, or standard input for "-", with its pictures. Raises InputError."""
    words = _standard_input() if prompt == "-" else prompt
    return text_with_pictures(words, images) if images else words


def _standard_input() -> str:
    data = sys.stdin.buffer.read()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"standard input: byte {data[error.start]:#04x} is not UTF-8; convert it (iconv)") from None

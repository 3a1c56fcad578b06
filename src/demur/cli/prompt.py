"""The prompt of a command that routes one: its words, or standard input, and its pictures."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from demur.errors import InputError
from demur.prompts.pictures import shown

PromptArgument = Annotated[str, typer.Argument(help="The prompt, or - to read it from standard input.")]
Images = Annotated[
    list[str] | None, typer.Option(help="A picture that comes with the prompt: a file or a data URL; repeatable.")
]


def read_prompt(prompt: str, images: list[str] | None) -> str:
    """The prompt, or standard input for "-", with its pictures. Raises InputError."""
    words = _standard_input() if prompt == "-" else prompt
    return shown(words, images) if images else words


def _standard_input() -> str:
    data = sys.stdin.buffer.read()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"standard input: byte {data[error.start]:#04x} is not UTF-8; convert it (iconv)") from None

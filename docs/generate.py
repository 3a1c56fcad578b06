"""Write docs/cli.md from the commands' own --help; with --check, fail when it is not what they say now."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from demur.cli.main import HELP_NAMES, app

PAGE = Path(__file__).parent / "cli.md"
WIDTH = 100


def help_pages(command: Any, path: str) -> Iterator[str]:
    """The help of a command and of all below it, each under its name."""
    context = typer.Context(
        command, info_name=path, terminal_width=WIDTH, max_content_width=WIDTH, help_option_names=HELP_NAMES
    )
    yield f"## {path}\n\n```text\n{command.get_help(context).strip()}\n```\n"
    for name, below in sorted(getattr(command, "commands", {}).items()):
        yield from help_pages(below, f"{path} {name}")


def page() -> str:
    """The whole page."""
    title = "# Commands\n\nWritten by `make docs` from the commands' own `--help`.\n"
    return "\n".join([title, *help_pages(typer.main.get_command(app), "demur")])


def main() -> None:
    """Write the page, or check it."""
    written = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(written, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != written:
        raise SystemExit(f"{PAGE.name} is not what --help says now; run `make docs`")


if __name__ == "__main__":
    main()

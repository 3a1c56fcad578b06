"""`demur docs`: the documentation's pages, which come with the package."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from demur.cli import printing
from demur.errors import InputError

PACKAGE = Path(__file__).parents[2]


def add_commands(app: typer.Typer) -> None:
    """Add docs to the command line."""
    app.command()(docs)


def docs(
    page: Annotated[str | None, typer.Argument(help="Name of a page; without one they are listed.")] = None,
    where: Annotated[bool, typer.Option("--where", help="Print the folder that they are in.")] = False,
) -> None:
    """Read the documentation offline: its pages, or one of them."""
    folder = pages_folder()
    if where:
        typer.echo(folder)
    elif page is None:
        width = max(len(path.stem) for path in folder.glob("*.md"))
        printing.lines([f"{path.stem:<{width}}  {_title(path)}" for path in sorted(folder.glob("*.md"))])
        printing.next_step("demur docs tutorial")
    else:
        _show(_page(folder, page))


def pages_folder() -> Path:
    """Where the pages are: in the package, or beside the source that it is run from. Raises InputError."""
    for folder in (PACKAGE / "docs", PACKAGE.parents[1] / "docs"):
        if (folder / "index.md").is_file():
            return folder
    raise InputError(f"{PACKAGE / 'docs'}: this installation has no pages; install demur from its wheel")


def _page(folder: Path, name: str) -> Path:
    found = folder / f"{name.removesuffix('.md')}.md"
    if found.parent != folder or not found.is_file():
        names = ", ".join(sorted(path.stem for path in folder.glob("*.md")))
        raise InputError(f"docs: there is no page {name!r}; known: {names}")
    return found


def _title(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


def _show(path: Path) -> None:
    """The page as it is for other programs, set for a person at a terminal."""
    text = path.read_text(encoding="utf-8")
    if not sys.stdout.isatty():
        typer.echo(text, nl=False)
        return
    from rich.markdown import Markdown

    printing.out.print(Markdown(text))

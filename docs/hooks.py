"""Pages of the site that are made from the code when it is built: settings, Python, metrics, files, changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docs.reference_pages import reference_pages
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
OF_THE_REPOSITORY = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}


def on_files(files: Files, *, config: Any) -> Files:
    """Add the made pages to the written ones."""
    pages = reference_pages()
    pages |= {name: (ROOT / source).read_text(encoding="utf-8") for name, source in OF_THE_REPOSITORY.items()}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files

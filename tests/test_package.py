"""The package as a whole: imports point downwards, it is light, its names are there, no module grows too long."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

import demur
from demur.graded import plain_text
from demur.prompts import read_prompts, split_prompts
from demur.quickstart import EXAMPLES

SOURCE = Path(demur.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
HEAVY = ("torch", "sklearn", "scipy", "pyarrow", "ray", "matplotlib", "pandas", "datasets", "transformers")


def module_name(path: Path) -> str:
    parts = ("demur", *path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    """Modules of demur that a module imports when it is loaded."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("demur"):
            assert node.module is not None
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            names = {module_name(other) for other in MODULES}
            found |= below & names or {node.module}
    return found - {module_name(path)}


def test_imports_point_downwards() -> None:
    """No module imports, even by way of others, one that imports it."""
    graph = {module_name(path): imports(path) for path in MODULES}
    done: dict[str, bool] = {}

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join([*way, name])
        if name not in done:
            for below in sorted(graph.get(name, ())):
                visit(below, (*way, name))
            done[name] = True

    for name in graph:
        visit(name, ())


def test_modules_stay_small() -> None:
    """In lines that hold something."""
    texts = {module_name(path): path.read_text(encoding="utf-8") for path in MODULES}
    lengths = {name: sum(1 for line in text.splitlines() if line.strip()) for name, text in texts.items()}
    assert max(lengths.values()) <= 400, max(lengths, key=lambda name: lengths[name])
    assert median(lengths.values()) <= 130


def test_import_is_light() -> None:
    code = (
        "import sys, time; start = time.process_time(); import demur; taken = time.process_time() - start; "
        f"print(taken, [m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, heavy = done.stdout.split(maxsplit=1)
    assert heavy.strip() == "[]"
    assert float(seconds) < 0.3


def test_routing_needs_nothing_heavy() -> None:
    code = (
        f"import sys, demur.router, demur.artifact, demur.encoding; print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", demur.__all__)
def test_public_names_are_there_and_described(name: str) -> None:
    value = getattr(demur, name)
    assert value.__doc__
    assert name in dir(demur)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        demur.nothing  # noqa: B018


def test_every_public_function_says_what_it_does() -> None:
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith(
                "_"
            ):
                assert ast.get_docstring(node), f"{path.name}: {node.name}"
        assert importlib.import_module(module_name(path)).__doc__, path.name


def test_the_demos_questions_are_whole() -> None:
    prompts = read_prompts(SOURCE / "data" / "demo_questions.jsonl")
    assert 80 <= len(prompts) <= 100
    assert all(prompt.answers and prompt.source for prompt in prompts)
    assert len({prompt.text for prompt in prompts}) == len(prompts)
    train, test = split_prompts(prompts)
    assert 0.4 < len(train) / len(prompts) < 0.6
    assert {prompt.source for prompt in train} == {prompt.source for prompt in test}
    assert not {plain_text(prompt.text) for prompt in prompts} & {plain_text(example) for example in EXAMPLES}

"""The package as a whole: imports point downwards, it is light, its names are there, no module grows too long."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Set
from pathlib import Path

import pytest

import demur
from demur.evaluation.graded_file import plain_text
from demur.prompts import read_prompts, split_prompts
from demur.quickstart import EXAMPLES

SOURCE = Path(demur.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
HEAVY = ("torch", "sklearn", "scipy", "pyarrow", "ray", "matplotlib", "pandas", "datasets", "transformers")


# The stages, each of which may import itself and those to its left.
STAGES = (
    *(
        "errors",
        "records",
        "files",
        "limits",
        "serving_file",
        "config",
        "store",
        "statistics",
        "event_loop",
        "mapping",
        "methods",
        "measure",
        "prompts",
    ),
    *("models", "sampling", "meaning", "runs", "labels", "routing", "gate", "evaluation", "pipeline", "quickstart"),
    *("paper", "gateway", "learning", "testing", "cli"),
)
NEVER_FROM = {"gateway": {"paper", "quickstart", "pipeline", "runs", "evaluation"}}  # what serves needs none of these


def module_name(path: Path) -> str:
    parts = ("demur", *path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, names: Set[str]) -> set[str]:
    """Modules of demur that a module imports anywhere: at its top, inside functions, for type checkers."""
    return imported(path.read_text(encoding="utf-8"), names) - {module_name(path)}


def imported(source: str, names: Set[str]) -> set[str]:
    """Modules of demur that the source imports, a name of a package as the module that it is, if it is one."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import of {node.module}: its place in the order cannot be read"
            if (node.module or "").split(".")[0] != "demur":
                continue
            assert node.module is not None
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= below & names or {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "demur"}
    return found


GRAPH = {module_name(path): imports(path, {module_name(other) for other in MODULES}) for path in MODULES}


def stage_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("module", [name for name in GRAPH if stage_of(name) not in ("", "__main__")])
def test_stages_import_only_what_comes_before_them(module: str) -> None:
    """The order of the pipeline is the order of the imports, also of those inside functions."""
    allowed = {*STAGES[: STAGES.index(stage_of(module)) + 1]} - NEVER_FROM.get(stage_of(module), set())
    against = {below for below in GRAPH[module] if stage_of(below) not in allowed}
    assert not against, f"{module} imports {', '.join(sorted(against))}"


@pytest.mark.parametrize(
    "source",
    [
        "import demur.paper.listing",
        "from demur.paper import listing",
        "from demur.paper.listing import listing",
        "def late():\n    from demur.paper.listing import listing",
        "class Shown:\n    async def late(self):\n        if self:\n            import demur.paper.listing as other",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from demur.paper.listing import listing",
        "try:\n    import demur.paper.listing\nexcept ImportError:\n    pass",
    ],
)
def test_an_import_is_seen_wherever_it_stands(source: str) -> None:
    assert imported(source, {*GRAPH}) == {"demur.paper.listing"}


@pytest.mark.parametrize("source", ["from . import listing", "def late():\n    from ..paper import listing"])
def test_a_relative_import_is_refused(source: str) -> None:
    with pytest.raises(AssertionError, match="relative import"):
        imported(source, {*GRAPH})


def test_only_the_papers_commands_import_paper() -> None:
    """What routes, serves and learns needs nothing of what repeats the paper's experiments."""
    inside = {name for name in GRAPH if stage_of(name) == "paper"}
    importing = {name for name, below in GRAPH.items() if name not in inside and below & inside}
    assert importing == {"demur.cli.commands.paper"}


def test_the_readme_lists_the_folders_in_their_order() -> None:
    """Its list says that a folder imports only from those above it."""
    listed = re.findall(r"^  (\w+)/ ", (SOURCE.parents[1] / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert listed == [stage for stage in STAGES if stage in folders]


ROOT = {
    *(".containerignore", ".dockerignore", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile"),
    *("README.md", "mkdocs.yml", "pyproject.toml"),
}


def test_the_root_holds_these_files_alone() -> None:
    """A profile or a trial that was committed by oversight stands out here."""
    root = SOURCE.parents[1]
    listed = subprocess.run(["git", "-C", str(root), "ls-files"], capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git repository")
    assert {path for path in listed.stdout.split() if "/" not in path} == ROOT


def test_no_circles() -> None:
    """No module imports, even by way of others, one that imports it."""
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join([*way, name])
        if name not in done:
            for below in sorted(GRAPH.get(name, ())):
                visit(below, (*way, name))
            done.add(name)

    for name in GRAPH:
        if name not in ("demur", "demur.__main__"):
            visit(name, ())


def test_the_house_is_small_enough_to_walk_through() -> None:
    """No module of more than 400 lines, no folder of more than 12 modules, about a dozen files on the first floor."""
    lengths = {module_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert max(lengths.values()) <= 400, max(lengths, key=lambda name: lengths[name])
    folders = Counter(path.parent for path in MODULES)
    assert max(folders.values()) <= 12, max(folders, key=lambda folder: folders[folder])


def test_the_mutation_check_knows_every_module_of_its_folders() -> None:
    """A module that is not listed there is not mutated, and a test that does not exist kills nothing."""
    root = SOURCE.parents[1]
    tree = ast.parse((root / "benchmarks" / "mutants.py").read_text(encoding="utf-8"))
    tables = (node for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "TESTS")
    listed: dict[str, tuple[str, ...]] = ast.literal_eval(next(tables).value)
    folders = {name.split("/")[0] for name in listed if "/" in name}
    modules = {path.relative_to(SOURCE).as_posix() for folder in folders for path in (SOURCE / folder).rglob("*.py")}
    assert {name for name in modules if not name.endswith("__init__.py")} == listed.keys() - {"statistics.py"}, (
        "name the tests of these modules in TESTS of benchmarks/mutants.py"
    )
    assert not [name for tests in listed.values() for name in tests if not (root / "tests" / name).is_file()]


IRREGULAR = frozenset(  # participles without -ed that are not their verb's base form, too, as "read" and "cut" are
    [
        "begun",
        "bound",
        "broken",
        "built",
        "chosen",
        "done",
        "drawn",
        "felt",
        "found",
        "given",
        "gone",
        "heard",
        "held",
        "hidden",
        "kept",
        "known",
        "laid",
        "left",
        "lent",
        "lost",
        "made",
        "meant",
        "met",
        "paid",
        "said",
        "seen",
        "sent",
        "shown",
        "spent",
        "spoken",
        "spread",
        "taken",
        "taught",
        "thought",
        "thrown",
        "told",
        "unproven",
        "unread",
        "unseen",
        "unspoken",
        "won",
        "written",
    ]
)
BASE_FORMS = ("embed", "feed", "need", "seed")


def is_lone_participle(name: str) -> bool:
    word = name.strip("_")
    return "_" not in word and (word in IRREGULAR or (word.endswith("ed") and word not in BASE_FORMS))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("_drawn", True),
        ("asked", True),
        ("read", False),
        ("draw_prompt", False),
        ("is_settled", False),
        ("embed", False),
    ],
)
def test_lone_participles_are_recognised(name: str, expected: bool) -> None:
    assert is_lone_participle(name) is expected


def test_functions_are_named_by_what_they_do_or_return() -> None:
    """`drawn(...)` says neither who draws nor what. A property may be a participle: it is a state."""
    named = [
        f"{path.relative_to(SOURCE)}:{node.lineno} {node.name}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_lone_participle(node.name)
        if not any(ast.unparse(one).endswith("property") for one in node.decorator_list)
    ]
    assert not named, "\n".join(named)


def test_modules_are_named_by_what_they_hold() -> None:
    """A module is a noun or a verb of the field: `held.py` says neither what is held nor by whom."""
    stems = {path.stem for path in MODULES} - {"spread"}  # a verb as well
    assert [stem for stem in sorted(stems) if is_lone_participle(stem)] == []


def test_a_class_name_means_one_thing() -> None:
    """Two public records of one name, a gate's verdict and a canary's, could be told apart by their imports alone."""
    named = Counter(
        node.name
        for path in MODULES
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, count in named.items() if count > 1] == []


NAMED = re.compile(r"`(demur(?:\.\w+)+)(?<!\.service)`")
PAGES = [*sorted((SOURCE.parents[1] / "docs").glob("*.md")), SOURCE.parents[1] / "README.md"]


def is_there(dotted: str) -> bool:
    """Whether a module, or a name in one, exists."""
    found, *rest = dotted.split(".")
    value = importlib.import_module(found)
    for part in rest:
        found = f"{found}.{part}"
        if not hasattr(value, part) and f"{found}" in GRAPH:
            importlib.import_module(found)
        if not hasattr(value, part):
            return part in getattr(value, "__dataclass_fields__", {})
        value = getattr(value, part)
    return True


@pytest.mark.parametrize("path", [*MODULES, *PAGES], ids=lambda path: path.stem)
def test_what_a_text_refers_to_is_there(path: Path) -> None:
    """A module that was moved or renamed leaves its name in docstrings and pages."""
    text = re.sub(r"\s*\n\s*", "", path.read_text(encoding="utf-8"))  # a long name may stand on two lines
    assert [name for name in sorted(set(NAMED.findall(text))) if not is_there(name)] == []


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
    needed = "demur.routing.prompt_router, demur.routing.artifact, demur.models.encoders.encoder"
    code = f"import sys, {needed}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", demur.__all__)
def test_public_names_are_there_and_described(name: str) -> None:
    value = getattr(demur, name)
    assert value.__doc__
    assert name in dir(demur)


def test_the_public_names_are_few_and_the_version_is_there() -> None:
    assert len(demur.__all__) <= 25
    assert {"Calibration", "Decision", "Evaluation", "Labels"} <= set(demur.__all__)  # what calls return
    assert demur.__version__ == importlib.metadata.version("demur")


@pytest.mark.parametrize(("flag", "said"), [("--version", f"demur {demur.__version__}"), ("-h", "Usage:")])
def test_python_m_demur_says_its_version_and_its_help(flag: str, said: str) -> None:
    done = subprocess.run([sys.executable, "-m", "demur", flag], capture_output=True, text=True, check=True)
    assert done.stdout.strip().startswith(said)


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
    assert 100 <= len(prompts) <= 130
    assert all(prompt.answers and prompt.source for prompt in prompts)
    assert len({prompt.text for prompt in prompts}) == len(prompts)
    train, test = split_prompts(prompts)
    assert 0.4 < len(train) / len(prompts) < 0.6
    assert {prompt.source for prompt in train} == {prompt.source for prompt in test}
    assert not {plain_text(prompt.text) for prompt in prompts} & {plain_text(example) for example in EXAMPLES}

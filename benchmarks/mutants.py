"""Would a test notice? Small faults in the pure modules, one at a time, each run against the nearest tests.

    python benchmarks/mutants.py                           # 45 mutants per folder, drawn by seed
    python benchmarks/mutants.py --folders gate --count 0  # every mutant of one folder

A fault (mutant) is a comparison, an operator, a number, a min or max, a slice, a condition, a returned value or a
raised error changed in a copy of the tree. It is killed when a test fails or takes too long, and survives otherwise.
Messages, annotations and tolerances against rounding stay as they are. What no test can tell from the original is
listed in EQUIVALENT with its reason and counted apart. A run that was stopped goes on where it stopped.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import hashlib
import importlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Lock

import pytest

from demur.models.catalogue import cache_folder
from environment import ROOT, describe

SOURCE = Path("src/demur")
TESTS = {  # module -> the files that test it, the nearest first
    "statistics.py": ("test_statistics.py",),
    "measure/certificate.py": ("test_certificate.py",),
    "measure/curve.py": ("test_curve.py",),
    "measure/drift.py": ("test_drift.py",),
    "measure/frontier.py": ("test_pools.py",),
    "measure/ladder.py": ("test_pairs.py",),
    "measure/pace.py": ("test_pace.py",),
    "measure/probability.py": ("test_probability.py",),
    "measure/reliability.py": ("test_reliability.py",),
    "measure/threshold.py": ("test_threshold.py",),
    "measure/tiers.py": ("test_tiers.py",),
    "measure/watched_promise.py": ("test_watched_promise.py",),
    "meaning/asked_language.py": ("test_asked_language.py",),
    "meaning/clusters.py": ("test_clusters.py",),
    "meaning/rules/code.py": ("test_code.py",),
    "meaning/compare.py": ("test_compare.py", "test_content.py", "test_entailment.py"),
    "meaning/rules/content.py": ("test_content_parts.py", "test_content.py"),
    "meaning/cross_encoder.py": ("test_entailment.py",),
    "meaning/rules/values/dates.py": ("test_rules.py",),
    "meaning/rules/declined_answers.py": ("test_declined_answers.py",),
    "meaning/distinct_answers.py": ("test_clusters.py", "test_saturated.py", "test_token_scores.py"),
    "meaning/entailment.py": ("test_compare.py", "test_entailment.py"),
    "meaning/rules/final_answer.py": ("test_final_answer.py",),
    "meaning/rules/formulas.py": ("test_formulas.py",),
    "meaning/rules/known_languages.py": ("test_known_languages.py",),
    "meaning/rules/languages.py": ("test_languages.py",),
    "meaning/rules/lists.py": ("test_lists.py",),
    "meaning/long_pairs.py": ("test_entailment.py",),
    "meaning/meanings.py": ("test_meanings.py", "test_from_samples.py", "test_run.py", "test_saturated.py"),
    "meaning/rules/values/names.py": ("test_names.py",),
    "meaning/rules/normalise.py": ("test_rules.py", "test_grading.py"),
    "meaning/rules/values/programs.py": ("test_final_answer.py",),
    "meaning/rules/values/quantities.py": ("test_ranges.py", "test_rules.py"),
    "meaning/rules/decide.py": ("test_ranges.py", "test_names.py", "test_rules.py"),
    "meaning/rules/values/ranges.py": ("test_ranges.py",),
    "meaning/rules/tables.py": ("test_tables.py",),
    "meaning/saturated_prompts.py": ("test_saturated.py",),
    "meaning/stated_answers.py": ("test_state_answers.py",),
    "labels/battles/arena.py": ("test_arena.py",),
    "labels/battles/factorization.py": ("test_arena.py",),
    "labels/beliefs/belief.py": ("test_belief.py",),
    "labels/beliefs/believed_gain.py": ("test_believed_gain.py",),
    "labels/from_samples.py": ("test_from_samples.py", "test_label_run.py", "test_unknown.py", "test_belief.py"),
    "labels/graded_targets.py": ("test_graded_targets.py",),
    "labels/judge/judge.py": ("test_judge.py", "test_label_run.py"),
    "labels/judge/judge_replies.py": ("test_judge.py",),
    "labels/label_notes.py": ("test_label_run.py", "test_unknown_setting.py"),
    "labels/label_run.py": ("test_label_run.py",),
    "labels/pair_meanings.py": ("test_from_samples.py", "test_label_run.py", "test_adaptive_sampling.py"),
    "labels/parquet_files.py": ("test_parquet_files.py",),
    "labels/preference_files.py": ("test_preference_files.py",),
    "labels/prompt_kinds.py": ("test_prompt_kinds.py",),
    "labels/settled_prompts.py": ("test_adaptive_sampling.py",),
    "labels/scores/measurement.py": ("test_from_samples.py", "test_label_run.py"),
    "labels/scores/self_report.py": ("test_signals.py",),
    "labels/state_answers.py": ("test_state_answers.py",),
    "labels/scores/support.py": ("test_support.py",),
    "labels/scores/sureness.py": ("test_sureness.py",),
    "labels/targets.py": ("test_targets.py",),
    "labels/beliefs/tier_beliefs.py": ("test_tier_beliefs.py",),
    "labels/scores/token_scores.py": ("test_token_scores.py",),
    "labels/scores/uncertainty.py": ("test_uncertainty.py", "test_sureness.py"),
    "labels/beliefs/unknown.py": ("test_unknown.py", "test_targets.py"),
    "labels/beliefs/votes.py": ("test_tier_beliefs.py",),
    "gate/answer.py": ("test_gate_answer.py",),
    "gate/cascade/answer_scorer.py": ("test_cascade.py",),
    "gate/cascade/fit_cascade.py": ("test_cascade.py",),
    "gate/quality/believed_quality.py": ("test_gate.py",),
    "gate/drafts.py": ("test_gate.py",),
    "gate/explanation.py": ("test_gate_router.py", "test_explanation.py"),
    "gate/join_model.py": ("test_join_model.py",),
    "gate/quality/extra_samples.py": ("test_gate.py",),
    "gate/gate.py": ("test_gate.py",),
    "gate/form/json_schema.py": ("test_requested_form.py",),
    "gate/form/requested_form.py": ("test_requested_form.py",),
    "gate/router.py": ("test_gate_router.py", "test_gate_answer.py", "test_gate.py"),
    "gate/saved_gate.py": ("test_gate_router.py", "test_broken_folders.py"),
    "gate/shares.py": ("test_gate_router.py", "test_gateway_shown.py"),
    "gate/quality/two_stages.py": ("test_gate.py",),
    "gate/train.py": ("test_gate.py",),
    "gate/quality/weaker_groups.py": ("test_gate.py",),
}
ROUNDING = "a tolerance against rounding"
EQUIVALENT = {  # key of a mutant -> why no test can tell it from the original
    "meaning/rules/values/dates.py: "
    "return Quantity(Fraction(((hour % 12 + 12 * late) * 60 + minute) % 1440), TIME_OF_DAY, digits) "
    "-> return Quantity(Fraction(((((hour % 12) - (12 * late))) * 60 + minute) % 1440), TIME_OF_DAY, digits)": (
        "twelve hours less are twelve hours more, modulo a day"
    ),
    "meaning/rules/values/quantities.py: "
    'elif word == "hundred" and 0 < group < 100 and group % 10: # nineteen hundred -> '
    'elif word == "hundred" and 0 < group < 101 and group % 10: # nineteen hundred': "100 % 10 is 0",
    "meaning/rules/values/ranges.py: "
    "found = next((match for form in (_SPAN, _TO, _DASH) if (match := form.fullmatch(key[: LONGEST + 1]))), None) -> "
    "found = next((match for form in (_SPAN, _TO, _DASH) if (match := form.fullmatch(key[:]))), None)": (
        "longer keys are refused in the next line; only how much is searched"
    ),
    "meaning/rules/values/ranges.py: "
    "found = next((match for form in (_SPAN, _TO, _DASH) if (match := form.fullmatch(key[: LONGEST + 1]))), None) -> "
    "found = next((match for form in (_SPAN, _TO, _DASH) if (match := form.fullmatch(key[: LONGEST + 2]))), None)": (
        "longer keys are refused in the next line; only how much is searched"
    ),
    "meaning/rules/content.py: if question_word[:1].isdigit() or word[:1].isdigit(): -> "
    "if question_word[:].isdigit() or word[:1].isdigit():": "a number and a word begin with no letter in common",
    "labels/scores/token_scores.py: parts = [(tokens - tokens.mean(axis=0)) / np.where(spread > 0, spread, 1.0) / "
    "np.sqrt(tokens.shape[1])] -> parts = [(tokens - tokens.mean(axis=0)) / np.where(spread > 0, spread, 1.5) / "
    "np.sqrt(tokens.shape[1])]": "what does not vary is 0, whatever divides it",
    "measure/curve.py: tolerance = 1e-12 * max(1.0, abs(target)) -> tolerance = ((1e-12) / (max(1.0, abs(target))))": (
        ROUNDING
    ),
    "measure/certificate.py: if lost.mean() >= risk or high > MOST_PROMPTS: -> "
    "if lost.mean() >= risk or (high >= MOST_PROMPTS):": "only how far is searched before no number is enough",
    "measure/certificate.py: low = high // 2 -> low = high // 3": "bisection from a lower start ends at the same place",
    "gate/quality/two_stages.py: "
    "COSTED = 101 # thresholds at which a curve's cost is counted; between them it is interpolated -> "
    "COSTED = 102 # thresholds at which a curve's cost is counted; between them it is interpolated": "only how finely",
    "gate/gate.py: return float(value) if value > 1e-12 else 1.0 -> return float(value) if (value >= 1e-12) else 1.0": (
        ROUNDING
    ),
    "measure/certificate.py: return bool(wealth.max(initial=0.0) >= math.log(1 / error)) -> "
    "return bool((wealth.max(initial=0.0) > math.log(1 / error)))": "sums of logarithms are never equal to the bound",
    "gate/quality/two_stages.py: chosen = np.random.default_rng(0).permutation(len(scores))[:REHEARSED] -> "
    "chosen = np.random.default_rng(1).permutation(len(scores))[:REHEARSED]": "any draw is as good",
    "gate/quality/weaker_groups.py: member, centres = spherical_kmeans(vectors, count, np.random.default_rng(0)) -> "
    "member, centres = spherical_kmeans(vectors, count, np.random.default_rng(1))": "any draw is as good",
    "labels/targets.py: return np.clip(0.5 + np.asarray(gains, dtype=float) / 2, 0.0, 1.0) -> "
    "return np.clip(0.5 + np.asarray(gains, dtype=float) / 2, 0.0, 1.5)": "a gain is 1 at most",
    "gate/cascade/fit_cascade.py: wrong = held_out("
    "folds(len(y), groups=np.repeat(np.arange(len(right)), right.shape[1]), seed=1), wrong_held_out) -> "
    "wrong = held_out("
    "folds(len(y), groups=np.repeat(np.arange(len(right)), right.shape[1]), seed=2), wrong_held_out)": (
        "any draw is as good"
    ),
    "gate/cascade/fit_cascade.py: BAND = 10.0 # wider than any two scores are apart: every answer is looked at -> "
    "BAND = 15.0 # wider than any two scores are apart: every answer is looked at": "both are wider",
    "meaning/long_pairs.py: side[start + CONTEXT : max(start + CONTEXT, start + n - CONTEXT)] = False -> "
    "side[start + CONTEXT : max(((start) - (CONTEXT)), start + n - CONTEXT)] = False": "the slice is empty either way",
    "labels/scores/measurement.py: self._ids = np.concatenate([*lists, np.empty(0, dtype=int)]).astype(np.int32) -> "
    "self._ids = np.concatenate([*lists, np.empty(1, dtype=int)]).astype(np.int32)": (
        "what follows the last list is not read"
    ),
    "labels/beliefs/unknown.py: return Counter(one.reason for one in unknown).most_common(1)[0][0] -> "
    "return Counter(one.reason for one in unknown).most_common(2)[0][0]": "the first of two is the first",
    "labels/battles/arena.py: if np.abs(step).max() < 1e-9: -> if (np.abs(step).max() <= 1e-09):": ROUNDING,
    "meaning/entailment.py: "
    "return np.array([(0.0, 0.0, 1.0) if equal else (0.0, 1.0, 0.0) for equal in same]).reshape(-1, 3) -> "
    "return np.array([(0.0, 0.0, 1.0) if equal else (0.0, 1.0, 0.0) for equal in same]).reshape(-2, 3)": (
        "numpy infers the size for any negative number"
    ),
    "meaning/rules/content.py: if question_word[:1].isdigit() or word[:1].isdigit(): -> "
    "if ((question_word[:1].isdigit()) and (word[:1].isdigit())):": (
        "a number and a word begin with no letter in common"
    ),
    "meaning/saturated_prompts.py: self._hopeless = False -> self._hopeless = True": "it is set before it is read",
    "meaning/rules/content.py: if not all(one <= other or other <= one for one, other in pairs): -> "
    "if not all(one <= other or (other < one) for one, other in pairs):": "of equal sets the first comparison holds",
    "meaning/rules/content.py: "
    "longest = next((n for n in range(len(text) - i, 1, -1) if text[i : i + n] in question), 0) -> "
    "longest = next((n for n in range(((len(text)) + (i)), 1, -1) if text[i : i + n] in question), 0)": (
        "what runs over the text's end is its end, and no place beyond it is asked for"
    ),
    "meaning/rules/languages.py: for length in range(min(4, len(parts)), 0, -1): -> "
    "for length in range(min(5, len(parts)), 0, -1):": "no number that is known has more than three words",
    "meaning/rules/languages.py: "
    "for word in (plain[:length] for length in range(min(16, len(plain)), 2, -1) if _is_unspaced(plain[0])): -> "
    "for word in (plain[:length] for length in range(min(17, len(plain)), 2, -1) if _is_unspaced(plain[0])):": (
        "nor more than eleven letters"
    ),
}

LOADED = (
    *("numpy", "hypothesis", "scipy.stats", "scipy.optimize", "sklearn.linear_model", "sklearn.pipeline"),
    *("sklearn.metrics", "aiohttp", "typer"),
)
COPIED = ("src", "tests", "benchmarks", "docs", "README.md", "pyproject.toml")
SPARED_KEYWORDS = {"strict", "axis", "frozen", "slots", "eq", "kind", "return_inverse", "return_counts", "keepdims"}
SMALLEST = 1e-6  # numbers below it are tolerances against rounding
SWAPPED: dict[type[ast.AST], str] = {
    **{ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "=="},
    **{ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in", ast.And: "or", ast.Or: "and"},
    **{ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "*", ast.Mod: "*", ast.Pow: "*"},
    **{ast.BitAnd: "|", ast.BitOr: "&"},
}
RENAMED = {"min": "max", "any": "all", "minimum": "maximum", "argmin": "argmax", "cumsum": "cumprod", "sum": "max"}
RENAMED |= {"max": "min", "all": "any", "maximum": "minimum", "argmax": "argmin", "floor": "ceil", "mean": "sum"}


def _folder(module: str) -> str:
    """The stage of a module, "." on the first floor."""
    return Path(module).parts[0] if "/" in module else "."


@dataclass(frozen=True, slots=True)
class Mutant:
    """One changed piece of a module's source."""

    module: str  # below SOURCE
    start: int  # bytes
    end: int
    text: str  # what stands there instead
    line: int
    key: str  # module, the line as it is and as it would be

    @property
    def folder(self) -> str:
        return _folder(self.module)


def mutants_of(module: str, source: bytes) -> list[Mutant]:
    """Every mutant of a module, in the order of its text."""
    starts = [0, *(at + 1 for at, byte in enumerate(source) if byte == ord("\n"))]
    found = {}
    for node, text in _changes(ast.parse(source)):
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        before = source[starts[node.lineno - 1] : starts[(node.end_lineno or node.lineno)] - 1]
        head, tail = before[: node.col_offset], source[end : starts[node.end_lineno or node.lineno] - 1]
        after = head + text.encode() + tail
        key = f"{module}: {' '.join(before.decode().split())} -> {' '.join(after.decode().split())}"
        found[key] = Mutant(module, start, end, text, node.lineno, key)
    return sorted(found.values(), key=lambda one: (one.start, one.end, one.text))


def _changes(tree: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """A node and what is written in its place, over all nodes that compute something."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom | ast.JoinedStr):
            continue
        if isinstance(node, ast.Raise):
            yield node, "pass"
            continue
        if isinstance(node, ast.expr | ast.stmt):
            for text in _instead(node):
                yield node, text
        yield from _changes(_without_words(node))


def _without_words(node: ast.AST) -> ast.AST:
    """The same node without annotations, decorators and arguments that only say how an array is laid out."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        defaults = [*node.args.defaults, *(one for one in node.args.kw_defaults if one is not None)]
        return ast.Module([*(ast.Expr(one) for one in defaults), *node.body], [])
    if isinstance(node, ast.ClassDef):
        return ast.Module(node.body, [])
    if isinstance(node, ast.AnnAssign):
        return ast.Module([ast.Expr(node.value)] if node.value else [], [])
    if isinstance(node, ast.Call):
        kept = [one.value for one in node.keywords if one.arg not in SPARED_KEYWORDS]
        return ast.Module([ast.Expr(one) for one in (node.func, *node.args, *kept)], [])
    return node


def _instead(node: ast.expr | ast.stmt) -> list[str]:
    """What may stand in a node's place."""
    match node:
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in SWAPPED:
            return [f"({ast.unparse(left)} {SWAPPED[type(op)]} {ast.unparse(right)})"]
        case ast.BoolOp(op=op, values=values):
            return ["(" + f" {SWAPPED[type(op)]} ".join(f"({ast.unparse(one)})" for one in values) + ")"]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in SWAPPED and not _is_text(left, right):
            return [f"(({ast.unparse(left)}) {SWAPPED[type(op)]} ({ast.unparse(right)}))"]
        case ast.UnaryOp(op=ast.Not() | ast.Invert() | ast.USub(), operand=operand):
            return [f"({ast.unparse(operand)})"]
        case ast.Constant(value=bool(value)):
            return [str(not value)]
        case ast.Constant(value=int(value)):
            return [str(value + 1)]
        case ast.Constant(value=float(value)) if abs(value) >= SMALLEST or value == 0:
            return [repr(1.5 * value if value else 1.0)]
        case ast.Name(id=name) if name in ("min", "max", "any", "all"):
            return [RENAMED[name]]
        case ast.Attribute(value=value, attr=name) if name in RENAMED:
            return [f"({ast.unparse(value)}).{RENAMED[name]}"]
        case ast.Subscript(value=value, slice=ast.Slice(lower=lower, upper=upper)) if lower or upper:
            parts = [(None, upper), (lower, None)] if lower and upper else [(None, None)]
            return [f"{ast.unparse(value)}[{':'.join(ast.unparse(x) if x else '' for x in part)}]" for part in parts]
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return [f"({ast.unparse(orelse)} if {ast.unparse(test)} else {ast.unparse(body)})"]
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            return ["return None"]
        case ast.AugAssign() | ast.Break() | ast.Continue():
            return ["pass"]
    return []


def _is_text(*nodes: ast.expr) -> bool:
    """Whether one of them is a string, or a tuple or list: adding to them is no arithmetic."""
    return any(
        isinstance(node, ast.JoinedStr | ast.Tuple | ast.List)
        or (isinstance(node, ast.Constant) and isinstance(node.value, str))
        for node in nodes
    )


class Tree:
    """A copy of the repository in which one module at a time is changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
            copy(ROOT / name, folder / name)
        compileall.compile_dir(folder / SOURCE, quiet=2)

    def outcome(self, mutant: Mutant, limit: float) -> str:
        """``killed`` by a test, ``killed by time``, or ``survived``."""
        path = self.folder / SOURCE / mutant.module
        whole = path.read_bytes()
        path.write_bytes(whole[: mutant.start] + mutant.text.encode() + whole[mutant.end :])
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
            compiled.unlink()
        try:
            return self.run(TESTS[mutant.module], limit)
        finally:
            path.write_bytes(whole)

    def limit(self, tests: tuple[str, ...]) -> float:
        """Seconds that the tests may take with a mutant; ends the program where they fail without any."""
        started = time.monotonic()
        if not any(self.run(tests, 600.0) == "survived" for _ in range(2)):  # a test of time may fail once
            raise SystemExit(f"{', '.join(tests)} fail without any mutant; run them first")
        return 20.0 + 5 * (time.monotonic() - started)

    def run(self, tests: tuple[str, ...], limit: float) -> str:
        """The same of the tree as it is, by these files of tests, within ``limit`` seconds."""
        process = multiprocessing.get_context("fork").Process(target=_test, args=(self.folder, tests))
        process.start()
        process.join(limit)
        found = {0: "survived", None: "killed by time"}.get(process.exitcode, "killed")
        with suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)  # servers that a test has started, too
        process.join()
        return found


class FastFirst:
    """A plugin of pytest: the tests that were fast in the run without a mutant come first."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.seconds: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self.seconds.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.seconds[report.nodeid] = report.duration

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        if exitstatus == 0 and not self.file.exists():  # the first run alone: others may be reading it
            self.file.write_text(json.dumps(self.seconds))


def _test(folder: Path, tests: tuple[str, ...]) -> None:
    """In the fork: run the tests against the copy, and end with their exit code."""
    os.setpgid(0, 0)  # a group of its own, which ends with it
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder / "src")
    sys.path[:] = [str(folder / "src"), *(part for part in sys.path if not Path(part or ".").is_relative_to(ROOT))]
    for name in [name for name in sys.modules if name.split(".")[0] in ("demur", "environment")]:
        del sys.modules[name]
    sys.dont_write_bytecode = True
    options = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow and not shared"]
    options += ["-p", "no:unraisableexception"]  # what the parent process left open is no fault of the tests
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning", *(f"tests/{name}" for name in tests)]
    os._exit(pytest.main(options, plugins=[FastFirst(folder.parent / f"{'-'.join(tests)}.json")]))


def drawn(mutants: list[Mutant], count: int, seed: int) -> list[Mutant]:
    """So many of each folder, the same for a seed; all where ``count`` is 0."""
    found = []
    for folder in dict.fromkeys(one.folder for one in mutants):
        of = [one for one in mutants if one.folder == folder]
        found += random.Random(seed).sample(of, min(count, len(of))) if count else of
    return found


def left_out() -> list[str]:
    """Modules of the same folders that are not in TESTS: they read or ask something, or nobody has listed them yet."""
    folders = {_folder(name) for name in TESTS} - {"."}
    every = {
        str(path.relative_to(ROOT / SOURCE)) for folder in folders for path in (ROOT / SOURCE / folder).rglob("*.py")
    }
    return sorted(name for name in every - TESTS.keys() if Path(name).name != "__init__.py")


def measure(mutants: list[Mutant], known: dict[str, str], record: Path, jobs: int) -> dict[str, str]:
    """Key -> outcome, those that are known already from the record, and the others appended to it."""
    identity = {one.key: _identity(one) for one in mutants}  # now: files may change while the mutants run
    todo = [one for one in mutants if identity[one.key] not in known and one.key not in EQUIVALENT]
    todo.sort(key=lambda one: TESTS[one.module])  # a stopped run has timed no tests in vain
    trees: SimpleQueue[Tree] = SimpleQueue()
    limits, one_at_a_time = dict[tuple[str, ...], float](), Lock()
    with tempfile.TemporaryDirectory(prefix="demur-mutants-") as folder:
        for number in range(jobs):
            place = Path(folder) / str(number)
            place.mkdir()
            trees.put(Tree(place))

        def one(mutant: Mutant) -> None:
            tree, tests = trees.get(), TESTS[mutant.module]
            try:
                with one_at_a_time:
                    if tests not in limits:
                        limits[tests] = tree.limit(tests)
                outcome = tree.outcome(mutant, limits[tests])
            finally:
                trees.put(tree)
            known[identity[mutant.key]] = outcome
            with record.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"mutant": identity[mutant.key], "key": mutant.key, "outcome": outcome}) + "\n")
            print(f"{outcome:<15}{mutant.key[:170]}", file=sys.stderr, flush=True)

        with ThreadPoolExecutor(jobs) as workers:
            list(workers.map(one, todo))
    return {key: known.get(name, "equivalent") for key, name in identity.items()}


def _identity(mutant: Mutant) -> str:
    """Of a mutant and all that decides its outcome: the sources and its tests."""
    tests = b"".join((ROOT / "tests" / name).read_bytes() for name in TESTS[mutant.module])
    module = (ROOT / SOURCE / mutant.module).read_bytes()
    return hashlib.sha256(b"\0".join([mutant.key.encode(), str(mutant.start).encode(), module, tests])).hexdigest()


def report(outcomes: dict[str, str], mutants: list[Mutant]) -> None:
    """Killed and survived by folder, and the survivors."""
    print(f"{'folder':<12}{'mutants':>9}{'equivalent':>12}{'killed':>9}{'survived':>10}")
    for folder in dict.fromkeys(one.folder for one in mutants):
        of = [outcomes[one.key] for one in mutants if one.folder == folder]
        equivalent, survived = of.count("equivalent"), of.count("survived")
        killed = len(of) - equivalent - survived
        share = killed / max(1, killed + survived)
        print(f"{folder:<12}{len(of):>9}{equivalent:>12}{killed:>9}{survived:>10}  {share:.0%} killed")
    for one in mutants:
        if outcomes[one.key] == "survived":
            print(f"survived: line {one.line} of {one.key}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folders", default=",".join(dict.fromkeys(map(_folder, TESTS))))
    parser.add_argument("--count", type=int, default=45, help="mutants per folder; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--record", type=Path, default=cache_folder().parent / "mutants.jsonl", help="outcomes so far")
    options = parser.parse_args()
    print(describe())
    for name in LOADED:
        importlib.import_module(name)
    every = [
        one
        for name in TESTS
        if _folder(name) in options.folders.split(",")
        for one in mutants_of(name, (ROOT / SOURCE / name).read_bytes())
    ]
    chosen = drawn(every, options.count, options.seed)
    options.record.parent.mkdir(parents=True, exist_ok=True)
    lines = options.record.read_text(encoding="utf-8").splitlines() if options.record.exists() else []
    known = {row["mutant"]: row["outcome"] for row in map(json.loads, lines)}
    print(f"{len(chosen)} of {len(every)} mutants, seed {options.seed}; without any: {', '.join(left_out())}")
    report(measure(chosen, known, options.record, options.jobs), chosen)


if __name__ == "__main__":
    main()

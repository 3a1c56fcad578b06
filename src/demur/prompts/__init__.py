"""Reads prompts from files, named public sets and mixes of both, and splits them into train and test."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from demur.errors import InputError
from demur.prompts.files import read_prompts
from demur.prompts.object_store import is_url
from demur.prompts.sets import SETS, read_set
from demur.records import Progress, Prompt, no_progress

PAPER_MIX = "nq-open:3610+triviaqa:3610+popqa:3610+mawps:1418"  # appendix A.1; the parts add to 12,248

__all__ = [
    "PAPER_MIX",
    "absolute_prompts",
    "check_files",
    "load_parts",
    "load_prompts",
    "read_prompts",
    "read_set",
    "shortfalls",
    "split_prompts",
    "why_untested",
]


def load_prompts(spec: str | Path, *, seed: int = 0, progress: Progress = no_progress) -> list[Prompt]:
    """Prompts of a file, a named set (``nq-open``), a random sample of either (``nq-open:500``), or a mix (``a+b``).

    ``paper-mix`` is the paper's training mix, or as much of it as its sets hold: some copies of TriviaQA's sample
    repeat questions. Raises InputError.
    """
    is_paper_mix = str(spec) == "paper-mix"
    text = PAPER_MIX if is_paper_mix else str(spec)
    if (is_url(text) and "+" not in text) or os.path.exists(text):  # noqa: PTH110 -- Path.exists raises for a long name
        return read_prompts(text, progress=progress)
    parts = [_load_part(part, seed, at_most=is_paper_mix) for part in text.split("+")]
    if len(parts) == 1:
        return parts[0]
    return [
        replace(prompt, id=f"{name}/{prompt.id}")
        for name, part in zip(_names_of(text.split("+")), parts, strict=True)
        for prompt in part
    ]


def shortfalls(spec: str, prompts: Sequence[Prompt]) -> tuple[str, ...]:
    """Which parts of the paper's mix have fewer rows than the paper took, one sentence each."""
    if spec != "paper-mix":
        return ()
    found = []
    for part in PAPER_MIX.split("+"):
        name, size = _name_and_size(part)
        there = sum(prompt.id.startswith(f"{part}/") for prompt in prompts)
        if there < int(size):
            found.append(
                f"paper-mix: {name} has {there:,} of {int(size):,} rows, {int(size) - there:,} fewer than the paper's"
            )
    return tuple(found)


def load_parts(spec: str, *, seed: int = 0) -> dict[str, list[Prompt]]:
    """The parts of a mix apart, by name: a set's own, or a file's without its endings. Raises InputError."""
    parts = [spec] if os.path.exists(spec) else spec.split("+")  # noqa: PTH110 -- as above
    found: dict[str, list[Prompt]] = {}
    for part in parts:
        name = Path(_name_and_size(part)[0]).name.partition(".")[0]
        if name in found:
            raise InputError(f"{spec}: two of its parts are called {name!r}; give the files different names")
        found[name] = read_prompts(part) if os.path.exists(part) else _load_part(part, seed, at_most=False)  # noqa: PTH110
    return found


def check_files(spec: str) -> None:
    """Raise InputError for a file of prompts that is not there. None is read."""
    names = [] if os.path.exists(spec) else [_name_and_size(part)[0] for part in spec.split("+")]  # noqa: PTH110
    for name in names:
        if _is_file(name) and not is_url(name) and not os.path.exists(name):  # noqa: PTH110 -- as above
            read_prompts(name)


def absolute_prompts(spec: str) -> str:
    """The same prompts from whatever directory: names of files get their directories."""
    if os.path.exists(spec):  # noqa: PTH110 -- as above
        return str(Path(spec).absolute())
    return "+".join(map(_absolute_part, spec.split("+")))


def _absolute_part(part: str) -> str:
    name, size = _name_and_size(part)
    absolute = str(Path(name).absolute()) if _is_file(name) and not is_url(name) else name
    return part if "+" in absolute else f"{absolute}:{size}" if size else absolute  # a + would divide it


def _names_of(parts: Sequence[str]) -> list[str]:
    """Prefixes of the ids of a mix; without directories, so that a prompt has the same id on every machine."""
    names = [Path(part).name if Path(part).is_absolute() else part for part in parts]
    return [f"{place}-{name}" if names.count(name) > 1 else name for place, name in enumerate(names, start=1)]


def _name_and_size(part: str) -> tuple[str, str]:
    name, colon, size = part.strip().rpartition(":")
    return (name, size) if colon and size.isdigit() else (part.strip(), "")


def _is_file(name: str) -> bool:
    return is_url(name) or (name not in SETS and Path(name).suffix != "")


def _load_part(part: str, seed: int, *, at_most: bool) -> list[Prompt]:
    name, size = _name_and_size(part)
    prompts = read_prompts(name) if _is_file(name) else read_set(name)
    if not size:
        return prompts
    wanted = min(int(size), len(prompts)) if at_most else int(size)
    if wanted > len(prompts):
        raise InputError(f"{name}: {size} prompts requested, but it has {len(prompts)} different ones; request fewer")
    return random.Random(seed).sample(prompts, wanted)


def split_prompts(prompts: Sequence[Prompt], test_share: float = 0.5) -> tuple[list[Prompt], list[Prompt]]:
    """Split into train and test by hash of id: the same prompt lands on the same side in every run and order.

    Only prompts with gold answers can be tested, so the others all train; but a copy of a text that is tested is on
    neither side. The same question about another picture is another text.
    """
    train: list[Prompt] = []
    test: list[Prompt] = []
    for prompt in prompts:
        fraction = int(hashlib.sha256(prompt.id.encode()).hexdigest()[:8], 16) / 16**8
        (test if prompt.answers and fraction < test_share else train).append(prompt)
    tested = {prompt.text for prompt in test}
    return [prompt for prompt in train if prompt.text not in tested], test


def why_untested(prompts: Sequence[Prompt], test_share: float) -> str:
    """The reason why a split has no test prompts."""
    gold = sum(bool(prompt.answers) for prompt in prompts)
    if not gold:
        return "no prompt has gold answers or grades, so quality cannot be measured. Grade 100 by hand: `demur grade`"
    return (
        f"{gold} prompts have gold answers, but none is kept for measuring (test_share {test_share:g}); give "
        "more, or raise test_share"
    )

"""The run that `demur sample` begins, or goes on with; where it begins, with the system message of its prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from demur.config import RUN_RECORD, RunConfig
from demur.prompts import load_prompts
from demur.prompts.conversations import shared_system
from demur.records import Progress, Prompt, no_progress
from demur.runs.record import begin_run, with_absolute_paths
from demur.sampling.pair import check_pair


def begin_sample(
    asked: RunConfig,
    *,
    system: str | None = None,
    again: bool = False,
    concurrency: int | None = None,
    progress: Progress = no_progress,
) -> tuple[RunConfig, Sequence[Prompt] | None]:
    """The run to sample by, as `begin_run` has it, and its prompts where they had to be read for that.

    ``system``: the system message that was given, "" for none; None: none was given, and a run that begins, or begins
    ``again``, asks with the one that nine tenths of its prompts come with. Raises InputError.
    """
    check_pair(asked)
    begun = (asked.folder / RUN_RECORD).exists() and not again
    prompts = None
    if system is None and not begun and asked.sampling.chat:
        prompts = load_prompts(asked.prompts, progress=progress)
        asked = replace(asked, sampling=replace(asked.sampling, system=shared_system(prompts)))
    return begin_run(with_absolute_paths(asked), again=again, concurrency=concurrency), prompts

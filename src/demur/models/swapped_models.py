"""Whether the weak and the strong model of a run may be swapped, by their prices or by its labels; and the command that
changes them round.
"""

from __future__ import annotations

import shlex

import numpy as np

from demur.config import RunConfig
from demur.config.named_run import USUAL
from demur.files import named_from_here
from demur.models.endpoint import Endpoint
from demur.models.local import model_spec
from demur.records import FloatArray, SamplingSettings
from demur.statistics import normal_interval

IF_SWAPPED = "If they are swapped"
FEWEST = 30  # labels from which on they tell which model is better


def dearer_sentence(weak: Endpoint, strong: Endpoint) -> str:
    """That the weak model costs more than the strong one; empty where it is not known to."""
    if weak.price is None or strong.price is None or weak.price.usd(1, 1) <= strong.price.usd(1, 1):
        return ""
    return (
        f"the weak model {weak.model} costs more than the strong model {strong.model}: {weak.price.each} against "
        f"{strong.price.each}, per million tokens"
    )


def better_sentence(weak: str, strong: str, targets: FloatArray) -> str:
    """That the labels prefer the weak model, by more than chance; empty where they do not, or are few.

    ``targets``: (n,) in [0, 1]; 1: the strong model is needed. Kinds that rank have a mean of .5, and say nothing here.
    """
    gains = 2 * np.asarray(targets, dtype=float) - 1
    if len(gains) < FEWEST or normal_interval(gains)[1] >= 0 or np.sign(gains).sum() >= 0:
        return ""
    return (
        f"by the labels the weak model {weak} is the better one: it is preferred on {np.mean(gains < 0):.0%} of "
        f"{len(gains):,} prompts, the strong model {strong} on {np.mean(gains > 0):.0%}"
    )


def swap_words(why: str, command: str, *, first: str = "") -> str:
    """Both lines on models that may be swapped: why, and the command; ``first``: what to do before it."""
    return f"{why}.\n  {IF_SWAPPED}{first}: {command}"


def swap_command(config: RunConfig) -> str:
    """The command that samples a run's prompts with its two models changed round; what is stored is not asked again."""
    if config.between:
        return "order [[models]] by price in the run file, then demur run FILE --again"
    asked, usual = config.sampling, SamplingSettings()
    words = ["demur", "sample", named_from_here(config.prompts)]
    for role, one in (("weak", config.strong), ("strong", config.weak)):
        words += [f"--{role}", model_spec(one)]
        if one.usd_per_million_input is not None and one.usd_per_million_output is not None:
            words += [f"--{role}-usd", f"{one.usd_per_million_input:g}/{one.usd_per_million_output:g}"]
    for name in ("n", "temperature", "max_tokens", "seed", "template", "system"):
        if getattr(asked, name) != getattr(usual, name):
            words += [f"--{name.replace('_', '-')}", str(getattr(asked, name))]
    words += [word for one in asked.stop for word in ("--stop", one)]
    words += [] if asked.chat else ["--no-chat"]
    words += [] if config.run == USUAL else ["--run", config.run]
    words += ["--store", config.store] if config.store else []
    words += [] if config.max_usd is None else ["--max-usd", f"{config.max_usd:g}"]
    return shlex.join([*words, "--again"])

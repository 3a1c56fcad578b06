"""Preferences: which model is preferred for a prompt, from the entropies of both.

Hard winners (Eqs. 3-4 of Zhang et al. 2025) and soft targets, as pure functions on arrays. A target y is in [0, 1]:
1 = the strong model is needed, 0 = it is not, .5 = tie. Targets of sureness are
`demur.labels.scores.sureness`'; other supervision is `demur.labels.graded_targets`'; files of preferences
are `demur.labels.preference_files`'.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from demur.errors import InputError
from demur.labels.beliefs.unknown import UNMEASURED, Saturation
from demur.records import FloatArray, Winner
from demur.statistics import mean_ranks

Delta = Literal["symmetric", "paper"]
MUCH = 0.1  # from .5, a believed gain of a fifth of an answer: a target that is nearer is not called a need
WARNED_SHARE = 1 / 3  # of ties, or of prompts that the strong model is saturated on


def relative_difference(entropy_weak: FloatArray, entropy_strong: FloatArray, delta: Delta = "symmetric") -> FloatArray:
    """How far two entropies lie apart, (n,).

    ``symmetric``: |a - b| / max(a, b), in [0, 1]; a tau of Eq. 3 corresponds to tau / (1 + tau) where the strong model
    is more certain, and to tau otherwise. ``paper`` (Eq. 3): |s - w| / |s|; 0 for equal entropies, infinity for
    different ones with a zero denominator, never NaN. Raises InputError for negative entropies under ``symmetric`` (Eq.
    2 gives them), or NaN.
    """
    weak, strong = np.asarray(entropy_weak, dtype=float), np.asarray(entropy_strong, dtype=float)
    if np.isnan(weak).any() or np.isnan(strong).any():
        raise InputError(f"{int(np.isnan(weak).sum() + np.isnan(strong).sum())} entropies are NaN; label again")
    if delta not in get_args(Delta):
        raise InputError(f"delta {delta!r} is neither symmetric nor paper")
    if delta == "symmetric" and min(weak.min(initial=0.0), strong.min(initial=0.0)) < 0:
        raise InputError(
            f"an entropy is {min(weak.min(), strong.min()):.3g}, and delta='symmetric' needs values >= 0; "
            "use definition rao_blackwell, or delta='paper'"
        )
    apart = np.abs(strong - weak)
    scale = np.maximum(weak, strong) if delta == "symmetric" else np.abs(strong)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(apart == 0, 0.0, apart / scale)


def hard_targets(
    entropy_weak: FloatArray, entropy_strong: FloatArray, *, tau: float = 0.1, delta: Delta = "symmetric"
) -> FloatArray:
    """1 where the strong model is more certain by more than ``tau``, 0 where the weak one is, .5 for ties (Eq. 4)."""
    apart = relative_difference(entropy_weak, entropy_strong, delta) > tau
    strong_wins = np.asarray(entropy_strong) < np.asarray(entropy_weak)
    return np.where(apart, strong_wins.astype(float), 0.5)


def margin_targets(entropy_weak: FloatArray, entropy_strong: FloatArray) -> FloatArray:
    """Soft targets: the rank of SE_weak - SE_strong among all prompts, scaled to [0, 1]; equal margins share a rank.

    Ranks are used because the margin's scale differs between pairs and definitions.
    """
    return mean_ranks(np.asarray(entropy_weak, dtype=float) - np.asarray(entropy_strong, dtype=float))


def gain_targets(gains: FloatArray) -> FloatArray:
    """Soft targets from believed gains in [-1, 1]: y = clip(1/2 + g/2, 0, 1).

    Not ranked: ranks would spread the many prompts without gain over the whole scale and hide the few with gain.
    """
    return np.clip(0.5 + np.asarray(gains, dtype=float) / 2, 0.0, 1.0)


def winner_of(target: float) -> Winner:
    """The winner that a target in [0, 1] corresponds to; model_a is the weak model, model_b the strong one."""
    return "tie" if target == 0.5 else "model_b" if target > 0.5 else "model_a"


def need_in_words(target: float) -> str:
    """What a prompt's target says, in words."""
    if abs(target - 0.5) < MUCH:
        return "no real difference"
    return "large model better" if target > 0.5 else "small model better"


def needs_in_words(targets: Sequence[float]) -> str:
    """On which shares of the prompts which model is better, counted with the words and bounds of `need_in_words`."""
    said = Counter(map(need_in_words, targets))
    shares = {need_in_words(value): said[need_in_words(value)] / max(1, len(targets)) for value in (1.0, 0.0, 0.5)}
    return ", ".join(f"{words} {share:.0%}" for words, share in shares.items())


def label_warnings(
    targets: FloatArray, saturation: Saturation = UNMEASURED, *, as_printed: bool = False, softer: str = ""
) -> tuple[str, ...]:
    """Warnings about labels from which little can be learned: ties, saturation, one side only, Eq. 2 as printed.

    ``softer``: the option that selects soft labels of the same source, if there is one.
    """
    found = []
    ties = float(np.mean(np.asarray(targets) == 0.5)) if len(targets) else 0.0
    if ties > WARNED_SHARE:
        remedy = (
            f": soft labels ({softer}) distinguish more prompts" if softer else ", from which little can be learned"
        )
        found.append(f"{ties:.0%} of the preferences are ties{remedy}")
    if saturation.strong > WARNED_SHARE:  # a weak model that wavers beside a sure strong one is no defect
        found.append(
            f"the large model's answers all differ on {saturation.strong:.0%} of the prompts: ask for shorter answers, "
            "or label with a judge"
        )
    if as_printed:
        found.append("routers on labels by Eq. 2 as printed are not better than chance on NQ-Open; use rao_blackwell")
    if len(targets) and len(np.unique(targets)) == 1:
        never = {0.5: "the models never differ", 1.0: "the strong model always wins", 0.0: "the weak model always wins"}
        value = float(targets[0])
        found.append(f"every target is {value:g}: {never.get(value, 'all alike')}, a router has nothing to learn")
    return tuple(found)

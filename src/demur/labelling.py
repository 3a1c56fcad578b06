"""From samples to preferences: cluster both models' answers by meaning, measure their entropies, set the targets.

It connects clustering, uncertainty and preferences for a list of prompts; each of them knows nothing of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demur.clustering import MeaningClusters, meaning_clusters
from demur.config import LabelConfig
from demur.errors import InputError
from demur.pair import PairSamples
from demur.preferences import (
    WARNED_SHARE,
    agreement_targets,
    confidence_targets,
    hard_targets,
    label_warnings,
    margin_targets,
    winner_of,
)
from demur.records import Encoder, Entailment, FloatArray, IntArray, Preference, Progress, Prompt, Sample, no_progress
from demur.selection import Choice, choose_targets, halves
from demur.uncertainty import AS_PRINTED, agreement, mean_nll, saturated_share, uncertainty, usable_definition

_Side = Sequence[Sequence[Sample]]  # a model's samples of every prompt


@dataclass(frozen=True, slots=True)
class Labels:
    """The training rows, and how they fell out."""

    preferences: tuple[Preference, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()  # how they came about, in plain words
    definition: str = ""  # of the entropies, as used; "" where none were measured, and all below is 0
    saturated: float = 0.0  # share of prompts where every answer of the weak, or of the strong model is its own meaning
    pairs_scored: int = 0  # pairs sent to the entailment model
    calls: int = 0

    @property
    def ties(self) -> float:
        """Share of targets that are exactly .5."""
        return float(np.mean([row.winner == "tie" for row in self.preferences])) if self.preferences else 0.0

    @property
    def sentence(self) -> str:
        """In plain words."""
        shares = [np.mean([row.winner == side for row in self.preferences]) for side in ("model_a", "model_b")]
        counted = (
            f"{len(self.preferences)} preferences ({self.preferences[0].kind}): weak {shares[0]:.0%}, strong "
            f"{shares[1]:.0%}, tie {self.ties:.0%}"
        )
        if not self.definition:
            return counted
        return (
            f"{counted}; SE {self.definition}, saturated {self.saturated:.0%}; {self.pairs_scored:,} pairs in "
            f"{self.calls:,} calls of the entailment model"
        )


@dataclass(frozen=True, slots=True)
class _Measured:
    """Both models' uncertainty on every prompt, (n,) each."""

    weak: FloatArray
    strong: FloatArray
    weak_meanings: Sequence[int]
    strong_meanings: Sequence[int]
    saturated: float
    pairs: int
    calls: int


def label_prompts(
    prompts: Sequence[Prompt],
    samples: PairSamples,
    entailment: Entailment,
    config: LabelConfig,
    *,
    weak: str,
    strong: str,
    encoder: Encoder | None = None,
    progress: Progress = no_progress,
) -> Labels:
    """A preference for every prompt, from n samples of both models (``weak`` and ``strong`` are their names).

    ``config.source`` is entropy or agreement; both leave the entropies beside the targets. Where either model gives no
    log-probs both are measured by the discrete form, so that they compare. Raises InputError for no prompts, or an
    unequal number of samples.
    """
    if not prompts:
        raise InputError("no prompts to label; give some, or lower test_share")
    sides = [[side[prompt.id] for prompt in prompts] for side in (samples.weak, samples.strong)]
    _check_equal_n(prompts, *sides)
    silent = _check_silence(sides, (weak, strong))
    definition = _common_definition(config.definition, [one for side in sides for answers in side for one in answers])
    measured = _measure(prompts, sides[0], sides[1], entailment, definition, config.rules, progress)
    pairs, calls, name = measured.pairs, measured.calls, config.name
    notes: tuple[str, ...] = ()
    joint: Sequence[IntArray] = ()
    if name in ("agreement", "entropy auto"):
        found = joint_clusters(prompts, sides[0], sides[1], entailment, config.rules, progress)
        joint, pairs, calls = found.ids, pairs + found.pairs_scored, calls + found.calls
    if name == "entropy auto":
        picked = _choose(prompts, joint, sides, encoder)
        name, notes = picked.kind, (picked.sentence,)
    targets = _targets(name, config, measured, joint, sides)
    rows = tuple(
        Preference(
            id=prompt.id,
            model_a=weak,
            model_b=strong,
            prompt=prompt.text,
            response_a=sides[0][i][0].text,
            response_b=sides[1][i][0].text,
            target=float(targets[i]),
            winner=winner_of(float(targets[i])),
            kind=name,
            entropy_a=float(measured.weak[i]),
            entropy_b=float(measured.strong[i]),
            definition=definition,
            margin=float(measured.weak[i] - measured.strong[i]),
            n=len(sides[0][i]),
            meanings_a=measured.weak_meanings[i],
            meanings_b=measured.strong_meanings[i],
        )
        for i, prompt in enumerate(prompts)
    )
    softer = "--kind margin" if name == "entropy hard" else ""
    as_printed = definition in AS_PRINTED
    warnings = list(silent)
    warnings += label_warnings(targets, measured.saturated, as_printed=as_printed, softer=softer)
    if definition != config.definition:
        warnings.insert(
            0, f"a model gives no log-probs: SE {definition} instead of {config.definition}, for both models"
        )
    return Labels(rows, tuple(warnings), notes, definition, measured.saturated, pairs, calls)


def _check_equal_n(
    prompts: Sequence[Prompt], weak: Sequence[Sequence[Sample]], strong: Sequence[Sequence[Sample]]
) -> None:
    for prompt, a, b in zip(prompts, weak, strong, strict=True):
        if len(a) != len(b) or not a:
            raise InputError(
                f"prompt {prompt.id!r}: {len(a)} weak and {len(b)} strong samples; entropies compare at equal n only"
            )


def _check_silence(sides: Sequence[_Side], names: Sequence[str]) -> list[str]:
    """Warnings about models that often say nothing: silence is one meaning, and would pass for certainty.

    Raises InputError for one that never says anything.
    """
    found = []
    for side, name in zip(sides, names, strict=True):
        share = float(np.mean([not one.text.strip() for answers in side for one in answers]))
        if share == 1:
            raise InputError(
                f"all answers of {name} are empty, so there is no meaning to compare; look at its template, "
                "stop strings and max_tokens, and sample again"
            )
        if share > WARNED_SHARE:
            found.append(
                f"{share:.0%} of {name}'s answers are empty, and silence passes for certainty: see its template"
            )
    return found


def _common_definition(definition: str, samples: Sequence[Sample]) -> str:
    known = all(one.logprobs is not None or not one.text for one in samples)
    return usable_definition(definition, [] if known else None)


def _measure(
    prompts: Sequence[Prompt],
    weak: Sequence[Sequence[Sample]],
    strong: Sequence[Sequence[Sample]],
    entailment: Entailment,
    definition: str,
    rules: bool,
    progress: Progress,
) -> _Measured:
    """Cluster the answers of both models, each model's by themselves, in one go: their pairs share the batches."""
    questions = [prompt.text for prompt in prompts] * 2
    answers = [[one.text for one in side] for side in (*weak, *strong)]
    found = meaning_clusters(questions, answers, entailment=entailment, rules=rules, progress=progress)
    values = np.array(
        [_uncertainty(ids, side, definition) for ids, side in zip(found.ids, (*weak, *strong), strict=True)]
    )
    n = len(prompts)
    saturated = max(saturated_share(found.ids[:n]), saturated_share(found.ids[n:]))
    meanings = [len(np.unique(ids)) for ids in found.ids]
    return _Measured(values[:n], values[n:], meanings[:n], meanings[n:], saturated, found.pairs_scored, found.calls)


def _uncertainty(ids: IntArray, samples: Sequence[Sample], definition: str) -> float:
    return uncertainty(ids, [one.logprobs or () for one in samples], definition)


def joint_clusters(
    prompts: Sequence[Prompt],
    weak: Sequence[Sequence[Sample]],
    strong: Sequence[Sequence[Sample]],
    entailment: Entailment,
    rules: bool,
    progress: Progress = no_progress,
) -> MeaningClusters:
    """Clusters over both models' answers of every prompt, the strong model's first."""
    answers = [[one.text for one in (*s, *w)] for w, s in zip(weak, strong, strict=True)]
    questions = [prompt.text for prompt in prompts]
    return meaning_clusters(questions, answers, entailment=entailment, rules=rules, progress=progress)


def _targets(
    name: str, config: LabelConfig, measured: _Measured, joint: Sequence[IntArray], sides: Sequence[_Side]
) -> FloatArray:
    """Targets (n,) of a source and kind; ``joint`` is only looked at for agreement."""
    if name == "agreement":
        n = len(sides[1][0])
        return agreement_targets(np.array([agreement(ids[n:], ids[:n]) for ids in joint]))
    if name == "entropy margin":
        return margin_targets(measured.weak, measured.strong)
    if name == "entropy confidence":
        return confidence_targets(measured.weak, measured.strong, *(_mean_nll(side) for side in sides))
    return hard_targets(measured.weak, measured.strong, tau=config.tau, delta=config.delta)


def _mean_nll(side: _Side) -> FloatArray:
    """(n,) mean over the answers of -mean token log-prob; NaN where one has none."""
    return np.array([np.mean([mean_nll(one.logprobs) for one in answers]) for answers in side])


def _choose(
    prompts: Sequence[Prompt], joint: Sequence[IntArray], sides: Sequence[_Side], encoder: Encoder | None
) -> Choice:
    """Targets from the first half of the samples, judged by G of the second half."""
    if encoder is None:
        raise InputError("kind auto trains a small router to choose by; give label_prompts an encoder, or name a kind")
    n = len(sides[1][0])
    learned, judged = halves(joint, n)
    half = n // 2
    weak, strong = (
        np.array([uncertainty(ids[start : start + half], None, "discrete") for ids in joint]) for start in (n, 0)
    )
    nll = [_mean_nll([answers[:half] for answers in side]) for side in sides]
    candidates = {
        "agreement": agreement_targets(learned),
        "entropy margin": margin_targets(weak, strong),
        "entropy confidence": confidence_targets(weak, strong, nll[0], nll[1]),
    }
    vectors = np.asarray(encoder.encode([prompt.text for prompt in prompts]), dtype=np.float32)
    return choose_targets(candidates, judged, vectors)

"""demur's own default as rows of the tables: the labels that it makes of the stored samples, its router, its gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from demur.config import LabelConfig
from demur.gate.drafts import Drafts, gate_rows, read_drafts
from demur.gate.gate import GateRows, fit_gate
from demur.gate.quality.two_stages import StagedScores, staged_curve, staged_scores
from demur.labels.beliefs.unknown import UnknownPrompt
from demur.labels.from_samples import Labels, label_prompts
from demur.labels.pair_meanings import joint_clusters
from demur.labels.scores.sureness import Sureness, calibrated_targets
from demur.labels.scores.uncertainty import coverage
from demur.meaning.entailment import exact_match
from demur.meaning.meanings import Meanings
from demur.measure.curve import CostQualityCurve
from demur.methods import KernelRidge
from demur.methods.fit.cross_validate import held_out_scores
from demur.records import ON_UNKNOWN, Encoder, FloatArray, OnUnknown, Prompt, Sample
from demur.routing.known.unknown_setting import UnknownSetting
from demur.routing.prompt_router import PromptRouter, TrainingPrompt
from demur.routing.train import train_router
from demur.sampling.pair import PairSamples
from demur.statistics import FOLDS, folds

NO_DRAFTS = (
    "the gate reads log-probs or further samples of the weak model's answer, and one text of each is stored; "
    "`demur reproduce --run` has them"
)
EXTRA = 3  # weak samples beside the draft
# The setting for unknown prompts of each way to serve the router.
UNKNOWN_TO: Mapping[str, OnUnknown] = {"as served": ON_UNKNOWN, "unknown to strong": "strong"}
SENT = 2.0  # above every score: a prompt that goes to the strong model whatever its score


def default_targets(sizes: tuple[FloatArray, FloatArray], nll: tuple[FloatArray, FloatArray]) -> FloatArray:
    """(n,) the default targets of samples without texts, from class sizes and whole-sequence NLL (n, samples) of weak
    and strong; answers of one NLL count as one text."""
    weak, strong = (_sureness(one, of) for one, of in zip(sizes, nll, strict=True))
    return calibrated_targets(weak, strong)


def _sureness(sizes: FloatArray, nll: FloatArray) -> Sureness:
    n = sizes.shape[1]
    entropy = np.maximum(0.0, -np.log(sizes / n).mean(axis=1))
    consistency = (sizes - 1).sum(axis=1) / (n * (n - 1))
    covered = [coverage([f"{x:.3f}" for x in row], [(-x,) for x in row]) for row in nll.tolist()]
    return Sureness(entropy, consistency, np.array(covered))


def served_router(
    encoder: Encoder, questions: Sequence[str], y: FloatArray, unknown: Sequence[UnknownPrompt] = ()
) -> PromptRouter:
    """The router that demur would serve, without its gate, which reads answers."""
    training = [TrainingPrompt(text, float(target), None, None) for text, target in zip(questions, y, strict=True)]
    return train_router(encoder, KernelRidge(), training, weak="weak", strong="strong", unknown=unknown)


def served_scores(router: PromptRouter, prompts: Sequence[str], on_unknown: OnUnknown) -> FloatArray:
    """(n,) as served with a setting for prompts like those that could not be labelled."""
    found = router.look_at(prompts)
    return with_unknown(found.scores, found.untold, on_unknown)


def with_unknown(scores: FloatArray, untold: Sequence[str], on_unknown: OnUnknown) -> FloatArray:
    """(n,) scores as the setting orders prompts: those that it sends to the strong model come before all others.

    ``untold``: why each is unknown, "" where it is not.
    """
    return np.where(UnknownSetting(on_unknown).settled_rows(untold), SENT + scores, scores)


@dataclass(frozen=True, eq=False)
class GateInput:
    """What the gate reads of n prompts, and how good the draft is in each of r orders."""

    rows: GateRows
    drafts: Drafts
    quality: FloatArray  # (n, r)


def believed_pair(
    prompts: Sequence[Prompt], weak: Sequence[list[Sample]], strong: Sequence[list[Sample]], weak_right: FloatArray
) -> tuple[Labels, GateInput]:
    """The default labels of samples with texts, compared by rules and exact match, and what a gate reads of them.

    ``weak_right`` (n, samples): quality of the weak model's, which only measures.
    """
    meanings = Meanings(exact_match)
    samples = PairSamples(*({p.id: a for p, a in zip(prompts, side, strict=True)} for side in (weak, strong)))
    labels = label_prompts(prompts, samples, meanings, LabelConfig(entailment="exact"), weak="weak", strong="strong")
    questions = [prompt.text for prompt in prompts]
    own = meanings(questions, [[one.text for one in answers] for answers in weak]).ids
    joint = joint_clusters(prompts, weak, strong, meanings).ids
    drafts = read_drafts(own, weak, min(EXTRA, len(weak[0]) - 1))
    rows = gate_rows(np.zeros(len(prompts)), drafts, joint, [len(answers) for answers in strong])
    quality = np.take_along_axis(weak_right, drafts.orders[:, :, 0], axis=1)
    return labels, GateInput(rows, drafts, quality)


def two_stages(X: FloatArray, y: FloatArray, answered: GateInput, strong: FloatArray, centres: int) -> CostQualityCurve:
    """The curve of router and gate by fits that did not see the prompt, both label-free; quality only measures."""
    fold_of = folds(len(X))
    first, steps = np.empty(len(X)), np.empty((len(answered.drafts.signals), *answered.quality.shape))
    spreads, bands = [], []
    for fold in range(FOLDS):
        train = fold_of != fold
        before = held_out_scores(KernelRidge(centres=centres), X[train], y[train])
        after = KernelRidge(centres=centres).fit(X[train], y[train]).predict_proba(X[~train])[:, 1]
        gate, _ = fit_gate(GateRows(before, answered.drafts.signals[:, train], answered.rows.gains[train]))
        held = Drafts(answered.drafts.orders[~train], answered.drafts.signals[:, ~train], None)
        found = staged_scores(gate, after, held)
        first[~train], steps[:, ~train] = found.prompt, found.steps
        spreads.append(found.spreads)
        bands.append(found.band)
    scores = StagedScores(first, steps, np.mean(spreads, axis=0), float(np.mean(bands)))
    return staged_curve(scores, answered.quality, strong)

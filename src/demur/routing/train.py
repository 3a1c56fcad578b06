"""Trains routers from preferences: every requested method, on the same embeddings.

It does not know where the preferences come from, nor the gate that is trained afterwards.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from demur.config import METHOD_NAMES, RouterConfig
from demur.errors import InputError
from demur.labels.beliefs.unknown import UnknownPrompt
from demur.labels.scores.uncertainty import AS_PRINTED
from demur.labels.targets import Delta, hard_targets
from demur.mapping import Map
from demur.meaning.rules.known_languages import KnownLanguages
from demur.measure.probability import fit_curve
from demur.methods import EVERY, KNN, SimilarityWeighted
from demur.methods.classifier import Classifier
from demur.methods.estimator import Estimator, unit_rows
from demur.methods.fit.cross_validate import held_out_scores
from demur.methods.fit.spread import fit_on
from demur.methods.fit.threads import one_thread
from demur.methods.pools.pair_pools import PairGraphRouter
from demur.models.images.joined_encoder import embed
from demur.records import ON_UNKNOWN, Encoder, FloatArray, Method, OnUnknown, Preference, Progress, no_progress
from demur.routing.known.nearest import NearestTraining
from demur.routing.known.remembered_prompts import Remembered
from demur.routing.prompt_router import PromptRouter, TrainingPrompt
from demur.routing.verdict import verdict_of, with_verdict
from demur.statistics import first_rows

UNFAMILIAR_SHARE, DRIFT_ROWS = 0.01, 2000


def train_router(
    encoder: Encoder,
    method: Method,
    training: Sequence[TrainingPrompt],
    *,
    weak: str,
    strong: str,
    record: Mapping[str, Any] | None = None,
    unknown: Sequence[UnknownPrompt] = (),
    on_unknown: OnUnknown = ON_UNKNOWN,
    mapping: Map = map,
) -> PromptRouter:
    """Embed the training prompts, fit the method on their targets, and keep both. Raises InputError.

    ``unknown``: prompts that no label could be made for; they are remembered, and prompts like them go ``on_unknown``.
    The method learns those, too, of which the samples show that nothing is gained. ``mapping``: what works on portions
    of the training prompts, where the method can (`demur.methods.fit.spread`).
    """
    if not training:
        raise InputError("no training prompts; label some with `demur label`")
    texts, n = [t.prompt for t in training], len(training)
    besides = learned_besides(unknown, texts)
    X = embed(encoder, [*texts, *besides])
    y = np.array([*(t.target for t in training), *besides.values()])
    with one_thread():  # a saved router has the same bytes on any number of threads
        groups = first_rows([*texts, *besides])  # rows that repeat a prompt have one score, to the last bit
        scores = held_out_scores(method, X, y, groups=groups, apart=len(besides), mapping=mapping)[groups]
        fitted = fit_on(mapping, method, X, y)
        rows = getattr(fitted, "rows_", None)  # SW and kNN keep unit rows themselves: one array serves both
        vectors = rows if rows is not None and np.shape(rows) == X[:n].shape else unit_rows(X[:n])
        nearest = NearestTraining.of(vectors)
        distinct = np.unique(groups[:n])
        familiar = _familiar_similarity(nearest if len(distinct) == n else NearestTraining.of(vectors[distinct]))
    known = with_verdict(record or {}, verdict_of(scores[:n], y[:n], groups[:n]))
    known |= KnownLanguages.of(texts).as_record()
    return PromptRouter(
        encoder=encoder,
        method=fitted,
        weak=weak,
        strong=strong,
        training=tuple(training),
        vectors=vectors,
        nearest=nearest,
        training_scores=scores[:n],
        familiar_similarity=familiar,
        record=known,
        unknown=remember(encoder, unknown, dict(zip(besides, scores[n:].tolist(), strict=True))),
        on_unknown=on_unknown,
    )


def train_routers(
    preferences: Sequence[Preference],
    encoder: Encoder,
    methods: Sequence[str] | Mapping[str, object] = METHOD_NAMES,
    mapping: Map = map,
    *,
    record: Mapping[str, Any] | None = None,
    unknown: Sequence[UnknownPrompt] = (),
    on_unknown: OnUnknown = ON_UNKNOWN,
    progress: Progress = no_progress,
) -> dict[str, PromptRouter]:
    """A router per method, by name; ``encoder`` should be cached, since each method embeds the prompts. Raises
    InputError.

    ``methods``: names of demur's methods, or a mapping from new names to classifiers of your own; ``unknown`` and
    ``on_unknown`` and ``mapping``: as `train_router` takes them.
    """
    chosen = methods_by_name(methods)
    if not preferences:
        raise InputError("no preferences to learn from; make some with `demur label`")
    weak, strong = preferences[0].model_a, preferences[0].model_b
    training = [
        TrainingPrompt(row.prompt, row.target, row.entropy_a, row.entropy_b, row.response_a, row.response_b)
        for row in preferences
    ]
    routers = {}
    for done, (name, method) in enumerate(chosen.items()):
        progress("training routers", done, len(methods))
        routers[name] = train_router(
            *(encoder, method, training),
            weak=weak,
            strong=strong,
            record=record,
            unknown=unknown,
            on_unknown=on_unknown,
            mapping=mapping,
        )
    progress("training routers", len(methods), len(methods))
    return routers


def methods_by_name(methods: Sequence[str] | Mapping[str, object]) -> dict[str, Method]:
    """Unfitted methods by name. Raises InputError for a name that is not known, or that demur's own method has."""
    given = methods if isinstance(methods, Mapping) else {name: name for name in methods}
    if not given:
        raise InputError(f"no routing method is named; known: {', '.join(EVERY)}")
    return {name: _method(name, one) for name, one in given.items()}


def _method(name: str, given: object) -> Method:
    if isinstance(given, str):
        if given not in EVERY:
            raise InputError(f"no routing method is called {given!r}; known: {', '.join(EVERY)}")
        return EVERY[given]()
    if isinstance(given, Estimator):
        return copy.deepcopy(given)
    if name in EVERY:
        raise InputError(f"method {name!r} is demur's own; give your {type(given).__name__} another name")
    return Classifier(given, name)


def method_of(name: str, settings: RouterConfig) -> object:
    """A method of demur's with the run's own settings of it; the name alone where it has none."""
    if name == "knn":
        return KNN(settings.k)
    if name == "graphrouter":
        return PairGraphRouter(hidden=settings.hidden)
    return SimilarityWeighted(settings.gamma, settings.weighting) if name == "sw" else name


def train_hard(
    prompts: Sequence[str],
    targets: FloatArray,
    encoder: Encoder,
    names: tuple[str, str],
    weighting: Literal["routellm", "paper"] = "routellm",
) -> PromptRouter | None:
    """SW, the paper's best router, on hard targets (n,) of prompts; ``names``: weak and strong. None where all targets
    fall on one side."""
    if len(np.unique(targets)) < 2:
        return None
    training = [TrainingPrompt(text, float(y), None, None) for text, y in zip(prompts, targets, strict=True)]
    method = SimilarityWeighted(weighting=weighting)
    return train_router(encoder, method, training, weak=names[0], strong=names[1])


def train_same_entropies(preferences: Sequence[Preference], encoder: Encoder) -> PromptRouter | None:
    """SW on hard labels (tau .1) of the same entropies that the preferences carry.

    None where they carry none, or all labels fall on one side.
    """
    weak, strong = [row.entropy_a for row in preferences], [row.entropy_b for row in preferences]
    if None in weak or None in strong:
        return None
    first = preferences[0]
    delta: Delta = "paper" if first.definition in AS_PRINTED else "symmetric"  # Eq. 2 may be negative
    targets = hard_targets(np.array(weak, dtype=float), np.array(strong, dtype=float), delta=delta)
    return train_hard([row.prompt for row in preferences], targets, encoder, (first.model_a, first.model_b))


def learned_besides(unknown: Sequence[UnknownPrompt], texts: Sequence[str]) -> dict[str, float]:
    """Unknown prompts of which the samples show that nothing is gained, with that target; not those among ``texts``,
    which are labelled."""
    labelled = set(texts)
    return {one.prompt: one.target for one in unknown if one.target is not None and one.prompt not in labelled}


def remember(encoder: Encoder, unknown: Sequence[UnknownPrompt], scores: Mapping[str, float]) -> Remembered | None:
    """Unknown prompts with their embeddings, and held-out ``scores`` of those that were learned; None without any."""
    if not unknown:
        return None
    held_out = np.array([scores.get(one.prompt, np.nan) for one in unknown]) if scores else None
    return Remembered(tuple(unknown), unit_rows(embed(encoder, [one.prompt for one in unknown])), held_out)


def _familiar_similarity(training: NearestTraining) -> float:
    """The 1 % quantile of distinct training prompts' similarity to their nearest other one (over 2,000 at most)."""
    if len(training.vectors) < 2:
        return -1.0
    chosen = np.random.default_rng(0).permutation(len(training.vectors))[:DRIFT_ROWS]
    return float(np.quantile(training.to_others(chosen), UNFAMILIAR_SHARE))


def with_probabilities(router: PromptRouter, believed: Sequence[float] | FloatArray) -> PromptRouter:
    """The same router, whose scores are P(strong right and weak wrong); ``believed`` (n,): that of its training
    prompts, as both models' samples let one believe it, not a number where they tell nothing. The order of prompts
    stays as it was."""
    groups, needs = first_rows([one.prompt for one in router.training]), np.asarray(believed, dtype=float)
    told = ~np.isnan(needs)
    curve = fit_curve(router.training_scores[told], needs[told], groups[told])
    unknown = router.unknown
    if unknown and unknown.scores is not None:
        unknown = replace(unknown, scores=curve(unknown.scores))
    return replace(router, curve=curve, training_scores=curve(router.training_scores), unknown=unknown)

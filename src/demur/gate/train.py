"""Trains the gate of a prompt router from both models' samples of its training prompts, without labels.

Beside the gate it measures what the gate is worth: its verdict, its rehearsal for curves and thresholds, the value of
each extra sample, and the groups of prompts where the weak model is believed to be better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from demur.errors import InputError
from demur.gate.cascade.fit_cascade import fit_cascade
from demur.gate.drafts import draft_orders, gate_rows, read_drafts
from demur.gate.gate import fit_gate
from demur.gate.quality.extra_samples import answer_tokens, trials
from demur.gate.quality.two_stages import PLACES, rehearsal
from demur.gate.quality.weaker_groups import WeakerGroup, weaker_groups
from demur.gate.router import Router
from demur.labels.pair_meanings import joint_clusters
from demur.labels.scores.measurement import heard_apart
from demur.labels.scores.uncertainty import belief, consistency
from demur.meaning.meanings import Meanings
from demur.methods.cascade import Cascade
from demur.records import FloatArray, IntArray, Prompt, Sample
from demur.routing.prompt_router import PromptRouter
from demur.sampling.pair import PairSamples
from demur.statistics import first_rows

SWITCHED_OFF = "the gate is switched off"


def train_gate(
    router: PromptRouter,
    prompts: Sequence[Prompt],
    samples: PairSamples,
    meanings: Meanings,
    *,
    gate: str = "auto",
    extra: int = 3,
    stated: Mapping[tuple[str, str], str] = MappingProxyType({}),
) -> Router:
    """Returns the router with a gate, learned from both models' samples of its training prompts, without labels.

    The gate is active where its verdict says that it pays, or always where ``gate`` is "on"; "off": none is learned,
    and what both models are worth is believed all the same. ``extra`` is the largest number of extra weak samples it
    may request. The router of a cascade gets its scorer of answers instead, which is always active. What escalating
    gains is believed by the final answers that the models ``stated``; the signals are of whole texts, as in serving.
    With too few prompts, or other prompts than the router was trained on, the result has no gate and ``about`` says
    why.
    """
    weak, strong = ([side[prompt.id] for prompt in prompts] for side in (samples.weak, samples.strong))
    texts = [prompt.text for prompt in prompts]
    if texts != [one.prompt for one in router.training]:
        other = "no gate was trained: the router learned from other prompts"
        return Router(router, about=SWITCHED_OFF if gate == "off" else other)
    # An answer that declines confirms none, as in the labels: that two models decline makes neither of them right.
    joint = heard_apart(joint_clusters(prompts, weak, strong, meanings.stating(stated)).ids, weak, strong)
    counts = [len(each) for each in strong]
    beliefs = np.array([belief(ids[count:], ids[:count]) for ids, count in zip(joint, counts, strict=True)]).T
    beliefs = beliefs.round(PLACES)
    weaker = weaker_groups(router.vectors, texts, beliefs[1] - beliefs[0])
    if gate == "off":
        return Router(router, about=SWITCHED_OFF, beliefs=beliefs, weaker=weaker)
    if router.tiers is not None:
        return Router(
            router,
            about="no gate: it would check a weak answer against one model, and here are several",
            beliefs=beliefs,
            weaker=weaker,
        )
    if isinstance(router.method, Cascade):
        return _train_cascade(router, texts, weak, (joint, counts), beliefs, weaker, meanings)
    most = max(map(len, weak)) - 1
    own = meanings(texts, [[one.text for one in each] for each in weak]).ids
    drafts = read_drafts(own, weak, min(extra, most))
    rows = replace(gate_rows(router.training_scores, drafts, joint, counts), groups=first_rows(texts))
    try:
        fitted, held = fit_gate(rows)
    except InputError as error:
        return Router(router, about=f"no gate was trained: {error}", beliefs=beliefs, weaker=weaker)
    about = f"of {extra} extra samples only {most} were there to learn from" if most < extra else ""
    scores, usd = router.training_scores, router.expected_usd(texts)
    return Router(
        *(router, fitted, gate == "on" or fitted.verdict.pays, meanings.entailment, meanings.rules, about, beliefs),
        weaker=weaker,
        rehearsal=rehearsal(scores, held),
        trials=trials(fitted, scores, held, rows.gains, answer_tokens(weak), usd, rows.groups),
    )


def _train_cascade(
    router: PromptRouter,
    texts: Sequence[str],
    weak: Sequence[Sequence[Sample]],
    strong: tuple[Sequence[IntArray], Sequence[int]],
    beliefs: FloatArray,
    weaker: tuple[WeakerGroup, ...],
    meanings: Meanings,
) -> Router:
    """``strong``: clusters over both models' answers, the strong ones first, and how many those are."""
    joint, counts = strong
    orders = draft_orders(weak)[:, :, 0]
    drafts = [[each[i] for i in order] for each, order in zip(weak, orders, strict=True)]
    confirmed = [
        [float(np.mean(ids[:count] == ids[count + i])) for i in order]
        for ids, count, order in zip(joint, counts, orders, strict=True)
    ]
    right = np.array(confirmed)
    gains = np.array([consistency(ids[:count]) for ids, count in zip(joint, counts, strict=True)])[:, None] - right
    try:
        gate, held = fit_cascade(router.encoder, texts, drafts, router.training_scores, right=right, gains=gains)
    except InputError as error:
        return Router(router, about=f"no cascade was trained: {error}", beliefs=beliefs, weaker=weaker)
    about = "a cascade: the weak model answers every request first, and the words of its answer decide"
    return Router(
        *(router, gate, True, meanings.entailment, meanings.rules, about, beliefs),
        weaker=weaker,
        rehearsal=rehearsal(router.training_scores, held),
    )

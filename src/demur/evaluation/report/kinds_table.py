"""The table "what your training prompts are, and what is known of them", and the caution on kinds of prompts whose
samples mostly show nothing, where a router is not to be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from demur.evaluation.grades import FEWEST_GRADED
from demur.evaluation.report.headline import expected_costs, expected_use, learned_prompts
from demur.evaluation.results import KindsTable
from demur.gate.quality.believed_quality import judged_prompts
from demur.gate.router import Router
from demur.labels.beliefs.unknown import LEAST_TOLD, goes
from demur.labels.prompt_kinds import COLUMNS as COLUMNS_OF_LABELS
from demur.labels.prompt_kinds import (
    FOREIGN,
    PICTURES,
    TOOLS,
    WORTH_SAYING,
    PromptKind,
    PromptKinds,
    kind_by_prompt,
)
from demur.meaning.entailment import reader_of
from demur.meaning.rules.languages import language_of
from demur.records import BoolArray, FloatArray, IntArray, Prompt
from demur.routing.known.training_texts import training_texts
from demur.routing.verdict import BY_GOLD, labels_from
from demur.statistics import first_rows

HEAD = "What your training prompts are, and what is known of them"
APART = 0.05  # by which the share of a kind among new prompts must differ to be said
MUCH_LONGER = 2.0  # times the answers of another kind
SEE_TABLE = "See `demur report`"
UNKNOWN, NOT_SPLIT = "not known", "-"
ELSEWHERE = "shown"  # in place of "labelled", where the labels are not from the samples
_HELPS = ", and only grades (demur grade --unknown-first) or a judge (demur label --from judge) do"


def columns_of(found: KindsTable) -> tuple[str, ...]:
    """The heads of the table's columns."""
    kind, prompts, labelled, *others = COLUMNS_OF_LABELS
    told = ELSEWHERE if found.labels else labelled
    return (kind, prompts, told, *others, "small model answers", "quality", "share of the cost")


def meaning_of(found: KindsTable) -> str:
    """What the columns count, as a legend."""
    whose = f"All have a label by {found.labels}; the counts are by the samples alone. " if found.labels else ""
    told, those = ("Shown", "shown") if found.labels else ("Labelled", "labelled")
    return (
        f"{whose}{told}: the answers agree enough to show which model is needed. Both guess: no two of both models' "
        f"short answers mean the same. Not shown: the samples do not show which model is needed"
        f"{'' if found.labels else _HELPS}. Quality is that of what is served beside that of the large model alone: "
        "measured where enough prompts of a kind are graded, else believed, where at least half of them can be judged: "
        f"the {those} ones, and questions on which both models guess where the score decides, which neither is "
        "believed to answer."
    )


def kinds_table(router: Router, grades: Mapping[str, tuple[float, float]] | None = None) -> KindsTable | None:
    """The table of a router; ``grades``: quality of the weak and of the strong model's answer, by prompt.

    None where a router keeps no kinds: it did not learn from samples, or was saved before demur wrote them.
    """
    first = router.prompt_router
    kinds, texts = PromptKinds.from_record(first.record), training_texts(first)
    if kinds is None or len(kinds.of) != len(texts):
        return None
    served = None if first.tiers else _serving_of(router, kinds, texts, grades or {})
    rows = tuple(
        (*one.cells, *(served.cells(number) if served else (NOT_SPLIT,) * 3)) for number, one in enumerate(kinds.kinds)
    )
    labels = labels_from(first.record)
    said = kinds.untold_sentence if labels else kinds.sentence(goes(first.on_unknown))
    return KindsTable(f"{_capital(said)}." if said else "", rows, labels)


@dataclass(frozen=True, slots=True)
class _Served:
    """What is served of n training prompts at the threshold; arrays (n,)."""

    of: IntArray  # the number of each one's kind
    strong: FloatArray  # how likely it goes to the strong model
    usd: FloatArray | None
    believed: FloatArray  # (2, n) routed and strong quality; not a number where a prompt cannot be judged
    measured: FloatArray  # the same by grades, where there are any
    first: IntArray  # the first row of each one's prompt: one that repeats is graded once

    def cells(self, number: int) -> tuple[str, str, str]:
        """Share that goes to the small model, quality, and share of the cost, of one kind."""
        rows = self.of == number
        local = f"{1 - self.strong[rows].mean():.0%}"
        cost = UNKNOWN if self.usd is None else f"{self.usd[rows].sum() / max(self.usd.sum(), 1e-12):.0%}"
        return local, self._quality(rows), cost

    def _quality(self, rows: BoolArray) -> str:
        told = rows & ~np.isnan(self.measured[0])
        if (count := len(np.unique(self.first[told]))) >= FEWEST_GRADED:
            return "{:.2f} of {:.2f}, measured on {}".format(*self.measured[:, told].mean(axis=1), count)
        if np.mean(~np.isnan(self.believed[0, rows])) < LEAST_TOLD:
            return UNKNOWN
        return "{:.2f} of {:.2f}, believed".format(*np.nanmean(self.believed[:, rows], axis=1))


def _serving_of(
    router: Router,
    kinds: PromptKinds,
    texts: list[str],
    grades: Mapping[str, tuple[float, float]],
    threshold: float | None = None,
) -> _Served:
    looked = learned_prompts(router.prompt_router)[1]
    use = expected_use(router, looked, threshold)
    strong, (weak_usd, strong_usd) = use.strong.mean(axis=1), expected_costs(router, texts)
    usd = None if weak_usd is None or strong_usd is None else use.cost(weak_usd, strong_usd)
    believed = np.full((2, len(texts)), np.nan)
    if router.beliefs is not None:
        believed[:, : router.beliefs.shape[1]] = router.beliefs
        judged = judged_prompts(router, looked)
        believed[np.isnan(believed) & judged] = 0.0  # both models guess: neither is right
        believed[:, ~judged] = np.nan
    measured = np.array([grades.get(text, (np.nan, np.nan)) for text in texts], dtype=float).T
    routed, graded = (np.stack([(1 - strong) * weak + strong * best, best]) for weak, best in (believed, measured))
    return _Served(np.array(kinds.of), strong, usd, routed, graded, first_rows(texts))


def kinds_note(router: Router, threshold: float | None = None) -> str:
    """Which kinds, of a tenth of the training prompts or more, are mostly unknown, and how many of them stay local at
    the router's threshold or another; empty without."""
    first = router.prompt_router
    kinds = PromptKinds.from_record(first.record)
    if kinds is None:
        return ""
    lost = [] if labels_from(first.record) == BY_GOLD else [one for one in kinds.common if one.mostly_untold]
    if sum(one.prompts for one in lost) < WORTH_SAYING * kinds.prompts:
        return ""
    whole = [" of the training prompts", *[""] * (len(lost) - 1)]
    each = [f"{one.shown} ({one.prompts / kinds.prompts:.0%}{of})" for one, of in zip(lost, whole, strict=True)]
    named = " and ".join(filter(None, [", ".join(each[:-1]), each[-1]]))
    rarely = f"Samples rarely show which model they need{_local_of(router, kinds, threshold)}. {SEE_TABLE}"
    labels = labels_from(first.record)
    if labels:
        return f"Trust it on {named} no further than {labels}. {rarely}"
    return f"Do not trust it on {named}. {rarely}"


def _local_of(router: Router, kinds: PromptKinds, threshold: float | None) -> str:
    """How many of those kinds stay with the small model; empty where there is no threshold yet, or several models."""
    first = router.prompt_router
    texts = training_texts(first)
    if first.tiers or (first.calibration is None and threshold is None) or len(kinds.of) != len(texts):
        return ""
    served = _serving_of(router, kinds, texts, {}, threshold)
    lost = [i for i, one in enumerate(kinds.kinds) if one.mostly_untold]
    return f", and {1 - served.strong[np.isin(served.of, lost)].mean():.0%} of them stay local"


def new_kinds_notes(router: Router, prompts: Sequence[Prompt], *, priced: bool) -> tuple[str, ...]:
    """How new prompts differ from the training prompts in what a prompt alone shows of its kind, and what of it cannot
    be known before a model is asked; ``priced``: whether their cost is said. Nothing where no kinds are recorded."""
    kinds = PromptKinds.from_record(router.prompt_router.record)
    if kinds is None or not prompts:
        return ()
    reads = reader_of("shipped" if kinds.english else "")
    names = [kind_by_prompt(one, reads) for one in prompts]
    shares = {name: (names.count(name) / len(names), kinds.share(name)) for name in (PICTURES, TOOLS, FOREIGN)}
    apart = [
        f"{_with_languages(name, prompts, names)} {new:.0%} (of the training prompts {old:.0%})"
        for name, (new, old) in shares.items()
        if abs(new - old) >= APART
    ]
    said = f"unlike in training: {', '.join(apart)}" if apart else "pictures, tools and languages as in training"
    learned = training_texts(router.prompt_router)
    own = set(learned)
    known = 2 * sum(one.text in own for one in prompts) >= len(prompts)  # most of them have samples
    if known or len(kinds.of) != len(learned):
        return (f"kinds of prompts: {said}",)
    notes = [f"kinds of prompts: {said}; whether answers are short or texts is guessed by the nearest training prompt"]
    lengths = [one.tokens[-1] for one in kinds.kinds if one.tokens]
    if priced and lengths and max(lengths) >= MUCH_LONGER * min(lengths):
        notes.append(
            "the cost expects a new answer to be as long as those to the three nearest training prompts (the strong "
            f"model's, means by kind: {min(lengths):.0f} to {max(lengths):.0f} tokens); where these are of another "
            "kind, what is saved differs"
        )
    return tuple(notes)


def _with_languages(name: str, prompts: Sequence[Prompt], names: Sequence[str]) -> str:
    if name != FOREIGN:
        return name
    found = Counter(language_of(one.text) for one, kind in zip(prompts, names, strict=True) if kind == FOREIGN)
    return PromptKind(name, len(prompts), 0, 0, tuple(found.most_common())).shown


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

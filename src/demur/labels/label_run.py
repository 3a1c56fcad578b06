"""Makes a run's preferences from its source of labels: samples, grades, a file of preferences, or a judge.

`label_run` reads what the source needs (samples, gold answers, a file, a judge's replies) and raises an error if it is
missing. The targets are computed in `demur.labels.targets` and `demur.labels.graded_targets`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from demur.config import KINDS, LabelConfig
from demur.errors import InputError
from demur.labels.battles.arena import read_arena, tier_pair
from demur.labels.beliefs.belief import believed_need, without_silence
from demur.labels.beliefs.unknown import goes, why_unknown
from demur.labels.from_samples import Labels, label_prompts
from demur.labels.graded_targets import accuracy_targets, best_relaxation, quality_gap_targets
from demur.labels.judge.judge import ask_judge, judge_settings
from demur.labels.judge.judge_replies import OF_LABELS, JudgeItem, best_of, check_understood, orders_of
from demur.labels.pair_meanings import joint_clusters, pair_meanings
from demur.labels.preference_files import read_pair
from demur.labels.prompt_kinds import kinds_of_run
from demur.labels.scores.measurement import measure_sureness
from demur.labels.scores.uncertainty import has_tokens
from demur.labels.state_answers import state_answers
from demur.labels.targets import hard_targets, label_warnings, winner_of
from demur.meaning.entailment import reader_of
from demur.meaning.rules.declined_answers import says_nothing
from demur.models.local import endpoint_of, parse_model
from demur.prompts.grading import grade, quality
from demur.records import Fact, FloatArray, Grader, Preference, Prompt, count_of
from demur.runs.run import Run
from demur.sampling.budget import Budget
from demur.sampling.packed_samples import SamplesOf
from demur.sampling.pair import PairSamples

FROM_GRADES: Mapping[str, Callable[[FloatArray, FloatArray], FloatArray]] = {  # by LabelConfig.name
    "accuracy hard": accuracy_targets,
    "accuracy soft": partial(accuracy_targets, soft=True),
    "quality-gap det": partial(quality_gap_targets, variant="det"),
    "quality-gap prob": partial(quality_gap_targets, variant="prob"),
    "quality-gap trans": partial(quality_gap_targets, variant="trans"),
}
FROM_AGREEMENT = ("entropy", "agreement")  # sources that label a prompt only where its samples tell
JUDGED_TASK = "answers to questions"
LEAST_UNDERSTOOD = 0.5  # share of a judge's replies: labels of fewer are of the prompts that it happened to obey on
_JUDGED = {frozenset({"strong"}): 1.0, frozenset({"weak"}): 0.0, frozenset({"weak", "strong"}): 0.5}


@dataclass(frozen=True, slots=True)
class Sampled:
    """Prompts to label with both models' samples of them, and the models' names."""

    prompts: Sequence[Prompt]
    samples: PairSamples
    weak: str
    strong: str

    def preference(self, prompt: Prompt, target: float, kind: str, n: int) -> Preference:
        """A row of one of the prompts, with both first answers."""
        return Preference(
            id=prompt.id,
            model_a=self.weak,
            model_b=self.strong,
            prompt=prompt.text,
            response_a=self.samples.weak[prompt.id][0].text,
            response_b=self.samples.strong[prompt.id][0].text,
            target=target,
            winner=winner_of(target),
            kind=kind,
            n=n,
        )


def label_run(run: Run) -> Labels:
    """Preferences of a run's train prompts, or of a file's, from the source that the run's record names.

    Raises InputError where the source lacks something: samples, gold answers, the pair in the file, a judge's replies
    that can be read; EndpointError and BudgetError of the judge.
    """
    label, names = run.config.label, (run.pair.weak.model, run.pair.strong.model)
    if run.own.grader and not label.needs("gold answers"):
        raise InputError(f"a grader belongs to sources accuracy and quality-gap; this is source {label.source!r}")
    if label.needs("file"):
        return from_file(label, *names, kept={prompt.text for prompt in run.held_back})
    sampled = Sampled(run.complete(run.train_prompts), run.samples, *names)
    if label.needs("judge"):
        return _from_judge(run, sampled)
    if label.needs("gold answers"):
        return from_grades(sampled, label.name, run.own.grader)
    stated = state_answers(run)
    found = label_prompts(
        *(sampled.prompts, sampled.samples, run.meanings.stating(run.stated), label),
        weak=sampled.weak,
        strong=sampled.strong,
        encoder=run.encoder if label.needs("encoder") else None,  # a small router is trained to choose by
        mapping=run.mapping,
        progress=run.progress,
    )
    kinds = kinds_of_run(run, found.preferences, found.unknown)
    said = kinds.sentence(goes(run.config.router.unknown)) if kinds else ""
    return replace(found, notes=(*stated, *found.notes), kinds=kinds, kinds_sentence=said)


def from_grades(sampled: Sampled, name: str, grader: Grader | None = None) -> Labels:
    """A preference per prompt from graded samples; ``name`` is one of FROM_GRADES.

    Without a ``grader`` of the user's own the prompts need gold answers. Raises InputError.
    """
    lacking = [prompt.id for prompt in sampled.prompts if not prompt.answers]
    if lacking and grader is None:
        raise InputError(
            f"{count_of(len(lacking), 'prompt has', 'prompts have')} no gold answers, such as "
            f"{lacking[0]}; {name} needs them"
        )
    # As many of every prompt: samples that stop when they agree would make a mean larger or smaller than it is.
    count = min(map(sampled.samples.count, sampled.prompts))
    low, high = (
        np.array(
            [
                [quality(grader or grade, prompt, one.text) for one in side[prompt.id][:count]]
                for prompt in sampled.prompts
            ]
        )
        for side in (sampled.samples.weak, sampled.samples.strong)
    )
    targets = FROM_GRADES[name](low, high)
    rows = [
        sampled.preference(prompt, float(target), name, low.shape[1])
        for prompt, target in zip(sampled.prompts, targets, strict=True)
    ]
    return _labels(rows, [("relaxation", _relaxation(low, high))] if name == "quality-gap trans" else [])


def _relaxation(low: FloatArray, high: FloatArray) -> str:
    t = best_relaxation(low, high)
    return f"t = {t:.3g}" if t else "t = 0: none spreads the labels more, so they equal kind prob"


def believed_needs(run: Run, texts: Sequence[str]) -> FloatArray | None:
    """(n,) P(strong right and weak wrong) of labelled prompts, as both models' samples let one believe it.

    None where the labels are of another source: then nobody has decided which samples mean the same.
    """
    if not run.config.label.needs("samples"):
        return None
    known = {prompt.text: prompt for prompt in run.complete(run.train_prompts)}
    if any(text not in known for text in texts):
        return None
    prompts = [known[text] for text in texts]
    weak, strong = ([side[prompt.id] for prompt in prompts] for side in (run.samples.weak, run.samples.strong))
    found = []
    for ids, w, s in zip(joint_clusters(prompts, weak, strong, run.meanings).ids, weak, strong, strict=True):
        apart = without_silence(ids, np.array([says_nothing(one.text) for one in (*s, *w)]))
        found.append(believed_need(apart[: len(s)], apart[len(s) :]))
    return np.array(found)


def untold_reasons(run: Run, preferences: Sequence[Preference]) -> list[str]:
    """Why a run's samples do not tell which model each prompt needs that has a label from elsewhere, such as a judge;
    "" where they do.

    Empty where the labels are of the samples, so that all of theirs tell, or not all of the prompts were sampled.
    """
    known = {prompt.text: prompt for prompt in run.complete(run.train_prompts)}
    if run.config.label.source in FROM_AGREEMENT or any(row.prompt not in known for row in preferences):
        return []
    prompts = [known[row.prompt] for row in preferences]
    weak, strong = (SamplesOf(side, prompts) for side in (run.samples.weak, run.samples.strong))
    meanings, reads = run.meanings.stating(run.stated), reader_of(run.config.label.entailment)
    joint, compared = joint_clusters(prompts, weak, strong, meanings).ids, meanings.compared_samples
    return [
        why_unknown(ids, compared(one.text, a), compared(one.text, b), one.text, reads)
        for one, ids, a, b in zip(prompts, joint, weak, strong, strict=True)
    ]


def printed_targets(run: Run, texts: Sequence[str]) -> FloatArray | None:
    """(n,) hard targets of labelled prompts by the paper's own equations: Eq. 2 of whole sequences, Eqs. 3 and 4, tau
    .1.

    None without samples or log-probs, which Eq. 2 needs.
    """
    known = {prompt.text: prompt for prompt in run.complete(run.train_prompts)}
    if any(text not in known for text in texts):
        return None
    prompts = [known[text] for text in texts]
    weak, strong = ([side[prompt.id] for prompt in prompts] for side in (run.samples.weak, run.samples.strong))
    if not (has_tokens(weak) and has_tokens(strong)):
        return None
    found = pair_meanings(prompts, weak, strong, run.meanings, joint=False)
    of_weak, of_strong = (
        measure_sureness(clusters, side, "paper", tokens=False).entropy
        for clusters, side in ((found.weak, weak), (found.strong, strong))
    )
    return hard_targets(of_weak, of_strong, delta="paper")


def from_file(label: LabelConfig, weak: str, strong: str, *, kept: Set[str]) -> Labels:
    """The rows of ``label.file`` about its pair, as if the run's own models (``weak``, ``strong``) had been compared.

    Rows whose prompt is among ``kept``, for measuring, are left out: a router must not learn what it is tested on.
    """
    theirs = label.models or (weak, strong)
    file = label.file or ""
    if label.tiers:
        found = tier_pair(read_arena(file), theirs[0], theirs[1], label.tiers)
    else:
        found = read_pair(file, weak=theirs[0], strong=theirs[1], tie_below=label.tie_below)
    rows = [replace(row, model_a=weak, model_b=strong) for row in found.preferences if row.prompt not in kept]
    if not rows:
        raise InputError(f"{label.file}: all of its {len(found.preferences)} prompts are kept for measuring")
    lacking = len(found.preferences) - len(rows)
    stand_for = f"{theirs[0]} and {theirs[1]} of {label.file} stand for {weak} and {strong}"
    facts = [
        ("models", stand_for if label.models else ""),
        ("rows", found.note),
        ("left out", f"{count_of(lacking, 'row')}, whose prompt is kept for measuring" if lacking else ""),
    ]
    return _labels(rows, facts)


def _from_judge(run: Run, sampled: Sampled) -> Labels:
    judge, strong = run.config.label.judge or "", run.config.strong
    items = items_to_judge(sampled)
    asked = judge_settings(run.config.label.judge_tokens, run.config.label.judge_effort)
    spec = run.allowed_spec(judge)
    within = run.budget_for((endpoint_of(parse_model(spec)), asked))
    replies = ask_judge(
        *(items, spec, run.store),
        task=JUDGED_TASK,
        budget=Budget(run.config.label.max_usd, raised="raise label.max_usd", within=within),
        settings=asked,
        progress=run.progress,
        helps=OF_LABELS,
    )
    found = from_judge(sampled, items, replies, judge)
    named = parse_model(judge)
    if (named.model, named.base_url) == (strong.model, strong.base_url):
        own = f"the judge is {sampled.strong} itself: models favour their own answers"
        return replace(found, warnings=(*found.warnings, own))
    return found


def items_to_judge(sampled: Sampled) -> list[JudgeItem]:
    """Both models' first answer to each prompt, for a judge; with the gold answer where there is one."""
    return [
        JudgeItem(
            question=prompt.text,
            reference=prompt.answers[0] if prompt.answers else "",
            responses={
                "weak": sampled.samples.weak[prompt.id][0].text,
                "strong": sampled.samples.strong[prompt.id][0].text,
            },
        )
        for prompt in sampled.prompts
    ]


def from_judge(sampled: Sampled, items: Sequence[JudgeItem], replies: Sequence[str | None], judge: str) -> Labels:
    """One preference per prompt from a judge's replies: 1 where the strong answer alone is best, 0 the weak, .5 both.

    Replies not understood are left out and counted; raises InputError when most are not understood.
    """
    best = [best_of(*one) for one in zip(items, orders_of(items), replies, strict=True)]
    spoke = [one is not None for one, reply in zip(best, replies, strict=True) if reply is not None]
    check_understood(judge, replies, np.array(spoke, dtype=bool), least=LEAST_UNDERSTOOD)
    rows = [
        sampled.preference(prompt, _JUDGED[one], "judge", 1)
        for prompt, one in zip(sampled.prompts, best, strict=True)
        if one is not None
    ]
    same = len(replies) - len(spoke)
    asked = (
        f"{judge}, asked {count_of(len(spoke), 'time')}: {count_of(spoke.count(False), 'reply', 'replies')} not "
        f"understood, {count_of(same, 'pair', 'pairs')} of equal answers not asked about"
    )
    return _labels(rows, [("judge", asked)])


def _labels(rows: Sequence[Preference], facts: Sequence[Fact]) -> Labels:
    targets = np.array([row.target for row in rows])
    warnings = label_warnings(targets, softer=KINDS[rows[0].kind].softer)
    return Labels(tuple(rows), warnings, facts=tuple(fact for fact in facts if fact[1]))

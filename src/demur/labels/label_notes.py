"""What is said of a run's labels beside the labels: what they are of, what to be careful about, and what helps.

Nothing here changes a label.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from demur.config.names import IMAGES
from demur.files import named_from_here
from demur.labels.beliefs.unknown import NO_RIGHT_ANSWER, UNKNOWN_FILE, guessed_questions, judge_command, unknown_facts
from demur.labels.from_samples import Labels
from demur.labels.judge.judge import SETTINGS as JUDGE_SETTINGS
from demur.labels.judge.judge_replies import fill, orders_of
from demur.labels.label_run import JUDGED_TASK, Sampled, items_to_judge, label_run
from demur.labels.targets import WARNED_SHARE
from demur.mapping import portions_of
from demur.meaning.entailment import entailment_identity
from demur.meaning.rules.declined_answers import declines
from demur.models.endpoint import Endpoint
from demur.models.prices import CHARACTERS_PER_TOKEN
from demur.models.swapped_models import better_sentence, dearer_sentence
from demur.prompts import shortfalls
from demur.prompts.pictures import has_pictures
from demur.records import ON_UNKNOWN, Fact, OnUnknown, count_of, dollars
from demur.runs.lineage import keep_swapped
from demur.runs.run import Run
from demur.runs.steps import in_its_words, swap_advice
from demur.sampling.cost import uncounted_sentences
from demur.sampling.pair import sampling_notes


def label_and_note(run: Run) -> Labels:
    """`label_run`, with what is said beside it: that the models may be swapped, which prompts are not labelled and what
    would label them, how many pairs of answers the entailment model was asked about now."""
    stored = _stored_scores(run)
    labels = label_run(run)
    asked = None if stored is None else min(labels.pairs_scored, (_stored_scores(run) or 0) - stored)
    weak, strong = run.pair.weak, run.pair.strong
    targets = np.array([row.target for row in labels.preferences])
    why = (dearer_sentence(weak, strong), better_sentence(weak.model, strong.model, targets))
    keep_swapped(run.config.folder, "; ".join(filter(None, why)))
    sampled = Sampled(run.complete(run.train_prompts), run.samples, weak.model, strong.model)
    of_samples = run.config.label.needs("samples")
    many, few = declined_note(sampled) if of_samples else ("", None)
    advised = unlabelled_notes(
        labels, judge_advice(sampled, strong) if labels.unknown else "", run.config.router.unknown
    )
    uncounted = uncounted_sentences(run.config, "judge", "entailment")
    cut = sampling_notes(run.config, run.pair, run.train_prompts, run.samples, run.store)
    unlabelled = unknown_facts(
        labels.unknown, run.config.router.unknown, file=named_from_here(str(run.config.folder / UNKNOWN_FILE))
    )
    return replace(
        labels,
        warnings=(
            *filter(None, [swap_advice(run.config.folder)]),
            *(in_its_words(one, run.config.served_router) for one in labels.warnings),
        ),
        notes=tuple(
            in_its_words(note, run.config.served_router)
            for note in (*notes_of(run), *uncounted, *filter(None, [many]), *advised, *labels.notes, *cut)
        ),
        pairs_asked=asked,
        facts=(*labels.facts, *facts_of(run), *unlabelled),
        made_by=(*labels.made_by, *filter(None, [few])),
    )


def _stored_scores(run: Run) -> int | None:
    """How many pairs of answers have a stored score of the run's entailment model; None where none is compared, or
    stored."""
    label = run.config.label
    if run.own.entailment or label.needs("file") or label.needs("judge") or label.needs("gold answers"):
        return None
    identity = entailment_identity(label.entailment)
    return None if identity in ("", "exact") else run.store.count_entailment_scores(identity)


def facts_of(run: Run) -> list[Fact]:
    """Which of the run's prompts are not labelled because they measure, and who sees pictures."""
    found: list[Fact] = []
    if run.held_back:
        share = f"for measuring (test_share {run.config.test_share:g} of those with gold answers)"
        found.append(("held back", f"{len(run.held_back):,} of {count_of(len(run.prompts), 'prompt')}, {share}"))
    kept = {prompt.id for prompt in (*run.train_prompts, *run.held_back)}
    copies = [prompt.id for prompt in run.prompts if prompt.id not in kept]
    if copies:
        named = f"{', '.join(copies[:3])}{', ...' if len(copies) > 3 else ''}"
        found.append(("copies", f"{count_of(len(copies), 'prompt')} of those held back, not labelled: {named}"))
    with_pictures = sum(map(has_pictures, run.prompts))
    if with_pictures and IMAGES in run.encoder_name:
        found.append(("pictures", f"in {count_of(with_pictures, 'prompt')}: both models and the router see them"))
    return found


def notes_of(run: Run) -> list[str]:
    """Which answers are still missing, and what the router does not see."""
    notes = []
    complete = sum(map(run.is_complete, run.train_prompts))
    if run.unfinished and run.config.label.needs("samples"):
        notes.append(
            f"{run.sampled_share} are there: labelling the {complete:,} complete prompts of "
            f"{len(run.train_prompts):,}; the same `demur sample` goes on"
        )
    with_pictures = sum(map(has_pictures, run.prompts))
    if with_pictures and IMAGES not in run.encoder_name:
        notes.append(
            f"the router does not see the pictures of {count_of(with_pictures, 'prompt')}, both models do: "
            f"`demur train --encoder {run.encoder_name}{IMAGES}FILE` (or a folder, or ORG/NAME)"
        )
    return [*notes, *shortfalls(run.config.prompts, run.prompts)]


def unlabelled_notes(labels: Labels, judge: str, setting: OnUnknown = ON_UNKNOWN) -> list[str]:
    """Of which prompts little is known, and what helps.

    ``judge``: what a judge costs (`judge_advice`); ``setting``: where prompts without a label go.
    """
    kinds = [labels.kinds.untold_sentence, *labels.kinds.by_rules] if labels.kinds else []
    guessed = setting == "strong-unless-guessed" and guessed_questions(labels.unknown)
    return [one for one in (*kinds, judge, NO_RIGHT_ANSWER if guessed else "") if one]


def judge_advice(sampled: Sampled, judge: Endpoint) -> str:
    """What labels from a judge would cost at this model's price, for where samples cannot tell."""
    lengths: list[int] = []
    for prompts in portions_of(sampled.prompts):  # the texts of millions of calls are not held at once
        items = items_to_judge(replace(sampled, prompts=prompts))
        orders = zip(items, orders_of(items), strict=True)
        lengths += [len(fill(item, order, JUDGED_TASK)) for item, order in orders if len(order) > 1]
    tokens = sum(lengths) // CHARACTERS_PER_TOKEN, len(lengths) * JUDGE_SETTINGS.max_tokens
    usd = f"up to about {dollars(judge.price.usd(*tokens))}" if judge.price else "at an unknown price"
    same = len(sampled.prompts) - len(lengths)
    equal = f" ({count_of(same, 'prompt needs', 'prompts need')} none, since both answers are equal)" if same else ""
    return (
        f"a judge labels all prompts, {usd} for {count_of(len(lengths), 'call')} to {judge.model}{equal}: "
        f"`{judge_command(judge.model)}`"
    )


def declined_note(sampled: Sampled) -> tuple[str, Fact | None]:
    """Which model declines often, as a note, and how many answers of each do, as a fact; neither where none does."""
    sides = ((sampled.weak, sampled.samples.weak), (sampled.strong, sampled.samples.strong))
    answers = {
        name: [declines(one.text) for prompt in sampled.prompts for one in side[prompt.id]] for name, side in sides
    }
    if not any(map(any, answers.values())):
        return "", None
    counts = ", ".join(f"{sum(found):,} of {name}'s answers" for name, found in answers.items())
    shares = {name: float(np.mean(found)) for name, found in answers.items() if found}
    many = [f"{share:.0%} of {name}'s answers" for name, share in shares.items() if share > WARNED_SHARE]
    note = f"{' and '.join(many)} decline to answer, which never counts as agreement" if many else ""
    return note, ("declined", f"{counts}; they never count as agreement")

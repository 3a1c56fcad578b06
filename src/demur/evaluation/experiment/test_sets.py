"""A run's separate test sets: answered by both models and graded, without the prompts of the training mix.

A set with gold answers is graded by their kind, one without is rated by a judge; of a conversation with several turns
each model answers the later ones after its own answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np

from demur.config import ModelConfig, RunConfig, TestConfig
from demur.errors import InputError
from demur.evaluation.experiment.rating import SETTINGS, Rated, ask_ratings
from demur.event_loop import run_to_end
from demur.models.endpoint import Endpoint
from demur.models.local import endpoint_of, parse_model
from demur.models.prices import usd_of_serving
from demur.models.requests.cut_answers import cut_answers
from demur.prompts import load_parts
from demur.prompts.amounts import only_amount
from demur.prompts.grading import containment, exact, golds_of, grade, multiple_choice, numeric, quality
from demur.prompts.sets import rows_note
from demur.records import ChatRequest, FloatArray, Grader, Prompt, Sample, SamplingSettings, count_of, on_one_line
from demur.runs.run import Run
from demur.sampling.budget import Budget
from demur.sampling.cost import uncounted_sentences
from demur.sampling.local_servers import Turns, completer_of
from demur.sampling.sample import sample_prompts, stored_samples

GRADERS: Mapping[str, Grader] = {
    "exact": exact,
    "containment": containment,
    "numeric": numeric,
    "choice": multiple_choice,
    "": grade,
}
JUDGE = "judge"
Answers = Sequence[list[list[Sample]]]  # prompt, turn, sample
LETTER_TOKENS = 8
TEMPLATES = {  # by grader; any other is asked as it stands
    "choice": "{prompt}\n\nAnswer with the letter of the right option alone.",
    "numeric": "{prompt}\n\nThink step by step, and end with a line that holds #### and the number.",
}


@dataclass(frozen=True, eq=False)
class Side:
    """One model on a test set."""

    model: str
    answers: list[list[list[Sample]]]  # prompt, turn, sample
    quality: FloatArray  # (n, turns): mean grade in [0, 1], or rating from 1 to 10, of each turn
    usd: FloatArray | None  # (n,) USD of one answer to all turns; None for an unknown price


@dataclass(frozen=True, eq=False)
class GradedSet:
    """A test set with both models' graded answers."""

    name: str
    grader: str  # exact, containment, numeric, choice, judge
    prompts: list[Prompt]
    weak: Side
    strong: Side
    notes: tuple[str, ...]  # what was left out, and why


def check_sets(run: Run) -> None:
    """Raise InputError for a test set that nothing can grade, or that is all in the training mix; asks no model."""
    test, trained = run.config.test, {_plain(prompt.text) for prompt in run.prompts}
    for name, prompts in load_parts(test.prompts).items() if test.prompts else ():
        grader = grader_of(name, prompts, test)
        kept, _ = _not_trained(name, prompts, trained)
        if grader == JUDGE:
            _of_one_length(name, kept)


def measure_sets(run: Run, *, ask: bool = True) -> list[GradedSet]:
    """Every test set of a run, answered and graded; empty where it names none. ``ask``: else only what is stored.

    Raises InputError for a set that nobody can grade, or answers that are missing; EndpointError, BudgetError.
    """
    test = run.config.test
    if not test.prompts:
        return []
    trained = {_plain(prompt.text) for prompt in run.prompts}
    parts = load_parts(test.prompts)
    chosen = {name: grader_of(name, prompts, test) for name, prompts in parts.items()}
    return [_measure(run, name, prompts, chosen[name], trained, ask=ask) for name, prompts in parts.items()]


def grader_of(name: str, prompts: Sequence[Prompt], test: TestConfig) -> str:
    """How a set is graded: as the run says, or by its gold answers. Raises InputError where nothing can grade it."""
    unknown = [one for one in test.graders.values() if one not in (*GRADERS, JUDGE) or not one]
    if unknown:
        raise InputError(f"test.graders: {unknown[0]!r} is not one of {', '.join([*filter(None, GRADERS), JUDGE])}")
    gold = all(prompt.answers for prompt in prompts)
    found = test.graders.get(name) or (_by_gold(prompts) if gold else JUDGE)
    if found != JUDGE and not gold:
        lacking = sum(not prompt.answers for prompt in prompts)
        raise InputError(
            f"{name}: {count_of(lacking, 'prompt has', 'prompts have')} no gold answers, "
            f"which grader {found} needs; use judge"
        )
    if found == JUDGE and not test.judge:
        raise InputError(f"{name}: its prompts have no gold answers; name a judge in [test] (judge = ...), which rates")
    return found


def _by_gold(prompts: Sequence[Prompt]) -> str:
    if all(prompt.choices for prompt in prompts):
        return "choice"
    numbers = (only_amount(gold) for prompt in prompts for gold in golds_of(prompt))
    return "numeric" if all(numbers) else "containment"


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _measure(run: Run, name: str, prompts: Sequence[Prompt], grader: str, trained: Set[str], *, ask: bool) -> GradedSet:
    kept, notes = _not_trained(name, prompts, trained)
    kept = _of_one_length(name, kept) if grader == JUDGE else [replace(prompt, later=()) for prompt in kept]
    notes += rows_note(name, prompts)
    settings, ends = settings_of(run.config, grader), (run.pair.weak, run.pair.strong)
    models = (run.config.weak, run.config.strong)
    sides = [answer_side(run, model, end, kept, settings, ask=ask) for model, end in zip(models, ends, strict=True)]
    there = np.array([all(all(turn) for turn in both) for both in zip(*sides, strict=True)])
    if not there.all():
        lacking = f"{name}: {(~there).sum()} of {len(kept)} prompts"
        if not ask or not there.any():
            raise InputError(f"{lacking} lack answers; `demur run FILE` asks for them")
        notes.append(f"{lacking} were refused by a model, and left out")
    kept, sides = list(compress(kept, there)), [list(compress(side, there)) for side in sides]
    if grader != "choice":
        notes += [note for end, side in zip(ends, sides, strict=True) if (note := cut_note(name, end, side, settings))]
    notes += uncounted_sentences(run.config, "judge of test sets") if grader == JUDGE else []
    graded = _grade(run, kept, sides, grader)
    rated = ~np.isnan(np.concatenate(graded, axis=1)).any(axis=1)
    if not rated.all():
        notes.append(f"{name}: the judge gave no rating of {(~rated).sum()} of {len(kept)} prompts, which are left out")
    weak, strong = (
        _side(end, list(compress(side, rated)), grades[rated])
        for end, side, grades in zip(ends, sides, graded, strict=True)
    )
    return GradedSet(name, grader, list(compress(kept, rated)), weak, strong, tuple(notes))


def cut_note(name: str, end: Endpoint, side: Answers, settings: SamplingSettings) -> str:
    """How many answers a limit ended, ours or the endpoint's, and are graded without their end; empty for none."""
    answers = [one for turns in side for turn in turns for one in turn]
    cut = cut_answers(answers)
    said = f"{name}: {round(cut.share * len(answers))} of {len(answers)} answers of {end.model} were"
    if cut.by_endpoint(settings.max_tokens):
        return f"{said} cut by the endpoint itself, at about {cut.tokens:,} tokens, and graded as they are"
    ours = f"{said} cut at {settings.max_tokens} tokens, and graded as they are; raise max_tokens in [test]"
    return ours if cut.share else ""


def _not_trained(name: str, prompts: Sequence[Prompt], trained: Set[str]) -> tuple[list[Prompt], list[str]]:
    """The prompts that are not in the training mix, and a note of those that are. Raises InputError for none."""
    kept = [prompt for prompt in prompts if _plain(prompt.text) not in trained]
    if not kept:
        raise InputError(f"{name}: all {len(prompts)} of its prompts are in the training mix; none is left to test on")
    if len(kept) == len(prompts):
        return kept, []
    first = next(prompt.text for prompt in prompts if _plain(prompt.text) in trained)
    lost = len(prompts) - len(kept)
    return kept, [
        f"{name}: {count_of(lost, 'prompt is', 'prompts are')} in the training mix and left out, such as "
        f"{on_one_line(first, 60)!r}"
    ]


def _of_one_length(name: str, prompts: list[Prompt]) -> list[Prompt]:
    """The prompts, which must have as many turns each. Raises InputError."""
    odd = next((prompt for prompt in prompts if len(prompt.later) != len(prompts[0].later)), None)
    if odd:
        raise InputError(
            f"{name}: prompt {on_one_line(odd.text, 60)!r} has {1 + len(odd.later)} turns, others "
            f"{1 + len(prompts[0].later)}; keep them in files of their own"
        )
    return prompts


def settings_of(config: RunConfig, grader: str) -> SamplingSettings:
    """How a set with this grader is answered."""
    test, longest = config.test, LETTER_TOKENS if grader == "choice" else config.test.max_tokens
    return SamplingSettings(
        n=test.n,
        temperature=test.temperature,
        max_tokens=longest,
        template=TEMPLATES.get(grader, "{prompt}"),
        seed=config.sampling.seed,
        system=config.sampling.system if config.sampling.chat else "",
    )


def answer_side(
    run: Run,
    model: ModelConfig,
    endpoint: Endpoint,
    prompts: Sequence[Prompt],
    settings: SamplingSettings,
    *,
    ask: bool,
) -> list[list[list[Sample]]]:
    """One model's answers: prompt, turn, sample; the answers of a turn are the first of those before it."""
    turns = [_answers(run, model, endpoint, prompts, settings, ask=ask)]
    for number in range(1, 1 + max(len(prompt.later) for prompt in prompts)):
        said = [[turn[i][0].text if turn[i] else "" for turn in turns] for i in range(len(prompts))]
        asked = [_turn(prompt, number, before) for prompt, before in zip(prompts, said, strict=True)]
        turns.append(_answers(run, model, endpoint, asked, settings, ask=ask))
    return [[turn[i] for turn in turns] for i in range(len(prompts))]


def _turn(prompt: Prompt, number: int, said: Sequence[str]) -> Prompt:
    """A later turn, after the model's own answers to the turns before it."""
    users = (prompt.text, *prompt.later)[: number + 1]
    messages = [{"role": "user", "content": users[0]}]
    for answer, user in zip(said, users[1:], strict=True):
        messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": user}]
    body = json.dumps({"messages": messages}, ensure_ascii=False)
    return Prompt(f"{prompt.id}#{number + 1}", users[-1], request=ChatRequest(body))


def _answers(
    run: Run,
    model: ModelConfig,
    endpoint: Endpoint,
    prompts: Sequence[Prompt],
    settings: SamplingSettings,
    *,
    ask: bool,
) -> list[list[Sample]]:
    """Each prompt's answers, from the store or by asking; none of a prompt that the model refuses."""
    have = stored_samples(prompts, endpoint, settings, run.store)
    if ask and any(len(have[prompt.id]) < settings.most for prompt in prompts):

        async def fresh() -> dict[str, list[Sample]]:
            async with completer_of(model, settings, Turns(), run.progress) as completer:
                return await sample_prompts(
                    *(prompts, completer, completer.endpoint, settings, run.store),
                    have=have,
                    budget=run.budget_for((endpoint, settings)),
                    progress=run.progress,
                )

        have = run_to_end(fresh())
    return [list(have[prompt.id]) for prompt in prompts]


def _grade(run: Run, prompts: Sequence[Prompt], sides: Sequence[Answers], grader: str) -> list[FloatArray]:
    """Of each side (n, turns): mean grade of the samples of each turn; nan where the judge gave none."""
    if grader != JUDGE:
        return [_grade_by_gold(run.own.grader or GRADERS[grader], prompts, side) for side in sides]
    items = [
        _rate_conversation(prompt, turns[: number + 1])
        for side in sides
        for prompt, turns in zip(prompts, side, strict=True)
        for number in range(len(turns))
    ]
    test = run.config.test
    judge = run.allowed_spec(test.judge or "")
    asked = replace(SETTINGS, max_tokens=test.judge_tokens, reasoning_effort=test.judge_effort)
    within = run.budget_for((endpoint_of(parse_model(judge)), asked))
    budget = Budget(test.max_usd, raised="raise test.max_usd", within=within)
    ratings = ask_ratings(items, judge, run.store, budget=budget, settings=asked, progress=run.progress)
    return list(np.array(ratings, dtype=float).reshape(len(sides), len(prompts), -1))


def _grade_by_gold(grader: Grader, prompts: Sequence[Prompt], side: Answers) -> FloatArray:
    pairs = zip(prompts, side, strict=True)
    return np.array([[np.mean([quality(grader, prompt, one.text) for one in turns[0]])] for prompt, turns in pairs])


def _rate_conversation(prompt: Prompt, turns: Sequence[list[Sample]]) -> Rated:
    """A conversation up to the last of these turns."""
    users = (prompt.text, *prompt.later)[: len(turns)]
    return Rated(users, tuple(turn[0].text for turn in turns), prompt.references[: len(turns)])


def _side(endpoint: Endpoint, answers: list[list[list[Sample]]], grades: FloatArray) -> Side:
    usd = [[usd_of_serving(turn, endpoint.price) for turn in turns] for turns in answers]
    known = not any(one is None for turns in usd for one in turns)
    return Side(endpoint.model, answers, grades, np.array(usd, dtype=float).sum(axis=1) if known else None)

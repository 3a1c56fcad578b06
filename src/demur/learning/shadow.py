"""Shadow samples: what both models answer to the chosen prompts, within the day's budget, and what served answers add.

An answer of the strong model that was served counts as one of its samples, since it was paid for. With ``weak-only``
only the weak model is asked for more: the strong model's one answer then stands for what it believes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from demur.errors import BudgetError, DemurError
from demur.event_loop import run_to_end
from demur.gateway.settings import LearnSettings
from demur.learning.traffic import SeenPrompt
from demur.records import SERVED, Prompt, Sample, dollars
from demur.runs.run import Run
from demur.sampling.budget import can_limit
from demur.sampling.earlier.asked_models import spent_on_run
from demur.sampling.local_servers import Turns, completer_of
from demur.sampling.pair import PairSamples, budget_of, sample_pair
from demur.sampling.sample import sample_prompts


def sample_shadow(run: Run, learn: LearnSettings, taken: Sequence[SeenPrompt], max_usd: float) -> str:
    """Ask for the samples that are missing, ``max_usd`` at most in all; returns what stopped it ("" for nothing)."""
    _keep_served(run, taken)
    limited = can_limit((run.pair.weak, run.pair.strong))
    run.config = replace(run.config, max_usd=max_usd if limited else None)
    stopped = ""
    try:
        if learn.shadow == "both":
            sample_pair(run.config, run.pair, run.prompts, run.samples, run.store, progress=run.progress)
        else:
            _sample_weak(run)
    except BudgetError:
        stopped = f"today's {dollars(learn.usd_per_day)} for learning are spent; it goes on tomorrow (UTC)"
    except DemurError as error:  # a model is away: what is there can be learned from, the rest is asked later
        stopped = str(error)
    run.read_samples()
    if learn.shadow == "weak-only":
        run.samples = with_one_answer(run.samples, run.prompts, run.config.sampling.most)
    return stopped


def spent_on_samples(run: Run) -> float:
    """USD that the samples of this folder have cost, of models whose price is known."""
    return spent_on_run(run.config, (run.pair.weak, run.pair.strong), run.store)


def _keep_served(run: Run, taken: Sequence[SeenPrompt]) -> None:
    """Keep the strong model's served answers as its first samples; those that were sampled are not replaced."""
    name, key = run.pair.strong.name, run.config.sampling.key
    answers = {one.id: one.answer for one in taken if one.answer}
    there = run.samples.strong
    for prompt in run.prompts:
        if prompt.id in answers and not there[prompt.id]:
            run.store.add_samples(name, prompt.key, key, [Sample(0, answers[prompt.id], None, SERVED, 0, 0)])
    run.read_samples()


def _sample_weak(run: Run) -> None:
    """Samples of the weak model alone, of prompts that the strong one has answered."""
    answered = [prompt for prompt in run.prompts if run.samples.strong[prompt.id]]
    settings, budget = run.config.sampling, budget_of(run.config, run.pair, run.store)

    async def ask() -> None:
        async with completer_of(run.config.weak, settings, Turns(), run.progress) as completer:
            await sample_prompts(
                *(answered, completer, completer.endpoint, settings, run.store),
                have=run.samples.weak,
                budget=budget,
                progress=run.progress,
            )

    if any(len(run.samples.weak[prompt.id]) < settings.most for prompt in answered):
        run_to_end(ask())


def with_one_answer(samples: PairSamples, prompts: Sequence[Prompt], n: int) -> PairSamples:
    """The same with ``n`` copies of the strong model's first answer: it is all that is known of what it believes."""
    first = {prompt.id: samples.strong[prompt.id][:1] for prompt in prompts}
    strong = {id: [replace(one, index=i) for one in answers for i in range(n)] for id, answers in first.items()}
    return replace(samples, strong=strong)

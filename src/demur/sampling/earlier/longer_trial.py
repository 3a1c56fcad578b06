"""Before a run is begun again for longer answers: a few prompts whose answers were cut show whether there are any.

An endpoint may cut answers itself, just above the limit that was asked for. Asking for all answers again would then be
paid for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from demur.config import RUN_RECORD, ModelConfig, load_run
from demur.event_loop import run_to_end
from demur.models.endpoint import Endpoint
from demur.models.requests.cut_answers import CUT, CUT_SHARE, TRIED, CutAnswers, cut_answers
from demur.records import Prompt, SamplingSettings, count_of, dollars
from demur.sampling.cost import samples_in
from demur.sampling.earlier.answer_lengths import OBSERVED
from demur.sampling.earlier.asked_models import keep_asked, spent_on_run
from demur.sampling.local_servers import Turns, completer_of
from demur.sampling.pair import budget_of, distinct_sides
from demur.sampling.sample import Samples, sample_prompts, stored_samples
from demur.sampling.sample_run import SampledRun

LONGER = 1.5  # times the earlier limit: answers that were cut below this did not become longer


@dataclass(frozen=True, slots=True)
class TriedModel:
    """A model whose answers were cut, and the prompts to try."""

    model: ModelConfig
    endpoint: Endpoint
    prompts: Sequence[Prompt]


@dataclass(frozen=True, slots=True)
class LongerTrial:
    """What is asked before a run is begun again with a larger ``max_tokens``."""

    earlier: int  # the limit at which answers were cut
    models: tuple[TriedModel, ...]

    @property
    def sentence(self) -> str:
        """What is asked first, for an estimate."""
        cut = f"whose answers were cut at {self.earlier:,} tokens"
        return f"{self._prompts} {cut}; it stops if the endpoint cuts them itself"

    def ask(self, run: SampledRun, keep: Callable[[Mapping[str, int]], None]) -> str:
        """Ask for a few longer answers, which are kept. Returns why no more are asked for; empty: some are longer.

        ``keep`` gets at about how many tokens each endpoint (MODEL@URL) cuts answers; 0: they became longer.
        """
        config, before = run.config, spent_on_run(run.config, run.pair.all, run.store)
        keep_asked(config)  # the answers are paid for, whether or not the run is begun again
        found = [cut_answers(samples_in(self._answers(run, one), one.prompts)) for one in self.models]
        run.read_samples()
        most = config.sampling.max_tokens
        limits = [cut.tokens if self._is_still_cut(cut, most) else 0 for cut in found]
        named = [f"{one.model.model}@{one.model.base_url}" for one in self.models]
        keep(dict(zip(named, limits, strict=True)))
        if not all(limits):
            return ""
        cuts = zip(self.models, limits, strict=True)
        said = " and ".join(f"{one.endpoint.model} at about {tokens:,}" for one, tokens in cuts)
        paid = spent_on_run(config, run.pair.all, run.store) - before
        tried = f"{self._prompts} tried{f', {dollars(paid)}' if paid else ''}"
        return (
            f"answers cut at {self.earlier:,} tokens do not become longer: the endpoint itself cuts {said}, though "
            f"{most:,} were asked for ({tried}); nothing else was asked, and the run keeps its answers"
        )

    @property
    def _prompts(self) -> str:
        return count_of(max(len(one.prompts) for one in self.models), "prompt")

    def _is_still_cut(self, cut: CutAnswers, max_tokens: int) -> bool:
        return cut.share > 0.5 and cut.by_endpoint(max_tokens) and cut.tokens < LONGER * self.earlier

    def _answers(self, run: SampledRun, tried: TriedModel) -> Samples:
        config = run.config
        settings = replace(config.sampling, n=config.sampling.fewest)
        have = stored_samples(tried.prompts, tried.endpoint, settings, run.store)
        stage = f"trying {settings.max_tokens:,} tokens"

        async def fresh() -> Samples:
            async with completer_of(tried.model, settings, Turns(), run.progress) as completer:
                return await sample_prompts(
                    *(tried.prompts, completer, tried.endpoint, settings, run.store),
                    have=have,
                    budget=budget_of(config, run.pair, run.store),
                    progress=lambda _, done, total: run.progress(f"{stage}: {tried.endpoint.model}", done, total),
                )

        return run_to_end(fresh()) if any(len(have[one.id]) < settings.most for one in tried.prompts) else have


def longer_trial(run: SampledRun) -> LongerTrial | None:
    """What to ask first; None where a run is not begun again for longer answers, or no answers were cut."""
    config = run.config
    if not (config.folder / RUN_RECORD).is_file():
        return None
    there = load_run(config.run)
    if there.store != config.store or there.sampling.max_tokens >= config.sampling.max_tokens:
        return None
    models = tuple(_tried_models(run, there.sampling))
    return LongerTrial(there.sampling.max_tokens, models) if models else None


def _tried_models(run: SampledRun, earlier: SamplingSettings) -> Iterator[TriedModel]:
    for at, endpoint in distinct_sides(run.pair).items():
        known = run.store.answer_lengths(endpoint.name, run.config.sampling.key)
        if endpoint.local or sum(known.values()) >= OBSERVED:  # no limit of its own, or sampled so before
            continue
        samples = stored_samples(run.prompts, endpoint, earlier, run.store)
        if cut_answers(samples_in(samples, run.prompts)).share < CUT_SHARE:
            continue
        shares = {one.id: sum(a.finish_reason == CUT for a in samples[one.id]) for one in run.prompts}
        most = sorted(run.prompts, key=lambda one: -shares[one.id] / max(len(samples[one.id]), 1))
        yield TriedModel(run.config.models[at], endpoint, [one for one in most[:TRIED] if shares[one.id]])

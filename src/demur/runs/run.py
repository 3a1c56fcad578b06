"""A run that is open: its prompts, both models' endpoints, the store, samples and meanings, each of them read once.

Stages are functions of an open run, such as `label_run(run) -> Labels`. Data are read when first needed and then shared
by the stages that follow. The names of a run's files are in `demur.config.RunConfig`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from demur.config import RUN_RECORD, ModelConfig, RunConfig
from demur.config.names import LLM
from demur.errors import InputError
from demur.mapping import Map
from demur.mapping.on_ray import RayWorkers
from demur.meaning.entailment import LLM_SETTINGS, LaterEntailment, meaning_identity, own_name
from demur.meaning.meanings import Meanings
from demur.meaning.rules.known_languages import AUTO, LOOKED_AT, KnownLanguages
from demur.meaning.stated_answers import stated_answers, unread_texts
from demur.methods.estimator import Estimator
from demur.models.allowed_endpoints import AllowedEndpoints, run_endpoints
from demur.models.encoders.encoder import CachedEncoder, load_encoder
from demur.models.endpoint import Endpoint
from demur.models.local import endpoint_of, parse_model
from demur.prompts import load_prompts, split_prompts
from demur.prompts.pictures import ShownText
from demur.records import Encoder, Entailment, Grader, Progress, Prompt, SamplingSettings, content_hash, no_progress
from demur.runs.lock import lock_run
from demur.runs.steps import raise_limit, sample_command
from demur.sampling.budget import Budget, SharedBudget
from demur.sampling.cost import PairEndpoints
from demur.sampling.earlier.asked_models import keep_questioned, run_budget
from demur.sampling.pair import PairSamples, distinct_sides, endpoints_of, stored_pair
from demur.sampling.refused_prompts import refused_prompts
from demur.sampling.sample import distinct_prompts
from demur.sampling.statements import Text
from demur.store import Store


@dataclass(frozen=True, slots=True)
class Own:
    """Objects of the user's own in place of those that a run's record names; None: the record's."""

    encoder: Encoder | None = None
    entailment: Entailment | None = None
    grader: Grader | None = None
    methods: Mapping[str, object] = field(default_factory=dict)  # classifiers by name, beside demur's own

    def classifier(self, name: str) -> object | None:
        """The user's own classifier of that name; None where the method is demur's."""
        found = self.methods.get(name)
        return None if isinstance(found, str | Estimator) else found


class Run:
    """An open run; `open_run` makes one."""

    def __init__(
        self,
        config: RunConfig,
        own: Own,
        *,
        allow_endpoints: Sequence[str] | None,
        progress: Progress,
        closing: ExitStack,
        workers: RayWorkers | None = None,
    ) -> None:
        self.config, self.own, self.progress = config, own, progress
        self._allowed, self._closing, self._workers = allow_endpoints, closing, workers
        self.mapping: Map = workers or map  # what works on portions of the prompts

    @property
    def allow_endpoints(self) -> Sequence[str]:
        """Endpoints that the run's routers may send prompts to."""
        return run_endpoints(self.config) if self._allowed is None else self._allowed

    def allowed_spec(self, spec: str) -> str:
        """A model that the record names, with its user's key. Raises ArtifactError for a host not allowed."""
        if self._allowed is None:
            return spec
        return AllowedEndpoints.parse(self._allowed).spec(spec, self.config.folder / RUN_RECORD)

    def allowed_model(self, model: ModelConfig) -> ModelConfig:
        """The same of one side of the pair."""
        if self._allowed is None:
            return model
        return AllowedEndpoints.parse(self._allowed).model(model, self.config.folder / RUN_RECORD)

    @cached_property
    def store(self) -> Store:
        """What was paid for; one process holds it for workers of a cluster.

        Raises StoreError, and ArtifactError for a database on a host that is not allowed.
        """
        if self._allowed is not None:
            AllowedEndpoints.parse(self._allowed).check_store(self.config.store, self.config.folder / RUN_RECORD)
        if self._workers is None or self.config.store:  # a database has a connection of each worker
            return self._closing.enter_context(Store(self.config.store_at))
        held: Any = self._workers.hold(partial(Store, self.config.store_at), shared=False)
        found: Store = self._closing.enter_context(held)
        return found

    def hold(self, make: Callable[[], Any]) -> Any:
        """What ``make`` opens, once for all that work on the run."""
        return self._workers.hold(make) if self._workers else make()

    @cached_property
    def prompts(self) -> Sequence[Prompt]:
        """All prompts of the run."""
        return load_prompts(self.config.prompts, progress=self.progress)

    @property
    def train_prompts(self) -> Sequence[Prompt]:
        """Prompts to learn from, sampled or not."""
        return self._split[0]

    @property
    def held_back(self) -> Sequence[Prompt]:
        """Prompts with gold answers that are kept for measuring, sampled or not."""
        return self._split[1]

    @cached_property
    def _split(self) -> tuple[Sequence[Prompt], Sequence[Prompt]]:
        return split_prompts(self.prompts, self.config.test_share)

    @cached_property
    def for_measuring(self) -> frozenset[str]:
        """Ids of the test prompts. They get all samples: of those that stop when they agree, a mean would be biased."""
        return frozenset(prompt.id for prompt in self.held_back)

    @cached_property
    def pair(self) -> PairEndpoints:
        """Both models, with the identity of their samples and their prices."""
        return endpoints_of(self.config)

    @cached_property
    def samples(self) -> PairSamples:
        """Both models' samples of all prompts, as many as there are; sampling sets it to more."""
        return stored_pair(self.pair, self.config.sampling, self.prompts, self.store)

    @property
    def sampled_share(self) -> str:
        """How many of the answers are there, as "664 of 960 answers"."""
        asked = distinct_prompts(self.prompts)
        at = distinct_sides(self.pair)
        there = sum(len(self.samples.all[side][prompt.id]) for side in at for prompt in asked)
        wanted = sum(len(at) * self.samples.wanted_samples(prompt, self.config.sampling) for prompt in asked)
        return f"{there:,} of {wanted:,} answers"

    @property
    def samples_hash(self) -> str:
        """What the run's samples are: prompts, models, settings, and which prompts are complete."""
        settings, names = self.config.sampling, [one.name for one in self.pair.all]
        rows = [[prompt.id, prompt.key, list(prompt.answers), self.is_complete(prompt)] for prompt in self.prompts]
        settled = [sorted(self.samples.settled)] if settings.fewest < settings.most else []
        return content_hash([rows, *names, settings.key, settings.n, self.config.test_share, *settled])

    def is_complete(self, prompt: Prompt) -> bool:
        """True where both models have given all samples that it takes: of a prompt for measuring always the most."""
        settings = self.config.sampling
        if prompt.id in self.for_measuring:
            return self.samples.count(prompt) >= settings.most
        return self.samples.is_complete(prompt, settings)

    @property
    def unfinished(self) -> bool:
        """True where a prompt misses answers that no model has refused to give."""
        missing = [prompt for prompt in self.prompts if not self.is_complete(prompt)]
        if not missing:
            return False
        refused = [refused_prompts(missing, endpoint, self.config.sampling, self.store) for endpoint in self.pair.all]
        return any(all(prompt.id not in side for side in refused) for prompt in missing)

    def read_samples(self) -> None:
        """Read the samples again, after new ones were stored."""
        self.samples = stored_pair(self.pair, self.config.sampling, self.prompts, self.store)

    def budget_for(self, *asked: tuple[Endpoint, SamplingSettings]) -> Budget:
        """What the run's limit of costs leaves for whoever is asked beside its samples, under which settings: listed
        before, so that what they cost counts in all. Each such budget sees what the others spend."""
        for one in asked:
            keep_questioned(self.config, *one)
        if self.config.max_usd is None:
            return Budget()
        self._budget.recount()
        return SharedBudget(self._budget)

    @cached_property
    def _budget(self) -> Budget:
        """One for all that are asked beside the samples: two that count apart would spend what is left twice."""
        raised = raise_limit(self.config.folder)
        held: Budget = self.hold(partial(run_budget, self.config, self.pair.all, self.store, raised))
        return held

    def lock(self, command: str) -> None:
        """Lock the run until it is closed. Raises InputError where one is at work."""
        self._closing.enter_context(lock_run(self.config.folder, command))

    def complete(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """Those of the prompts that have all samples of both models. Raises InputError where there is none."""
        found = [prompt for prompt in prompts if self.is_complete(prompt)]
        if prompts and not found:
            raise InputError(
                f"{self.config.run}: none of {len(prompts)} prompts has all its samples of both models (n is "
                f"{self.config.sampling.n}); `{sample_command(self.config.folder)[1]}` asks only for what is missing"
            )
        return found

    @cached_property
    def meanings(self) -> Meanings:
        """What decides which answers mean the same; each list of answers is clustered once, and kept in the store."""
        spec, rules = self.config.label.entailment, self.config.label.rules
        asked, identity = self.own.entailment or self._entailment(spec), meaning_identity(spec)
        if self.own.entailment and spec != own_name(self.own.entailment):
            raise InputError(
                f"{self.config.run}: the labels' meanings were decided by {spec}, not by "
                f"{own_name(self.own.entailment)}; label again with it, or leave entailment= out"
            )
        return Meanings(asked, identity, rules=rules, store=self.store, progress=self.progress)

    @cached_property
    def stated(self) -> Mapping[Text, str]:
        """Final answers that the models stated of their own texts of the train prompts, as the labels ask for them."""
        found: dict[Text, str] = {}
        if self.config.label.state_answers == "off":
            return found
        prompts = self.complete(self.train_prompts)
        for endpoint, samples in ((self.pair.weak, self.samples.weak), (self.pair.strong, self.samples.strong)):
            texts = unread_texts(prompts, samples)
            found |= stated_answers(texts, endpoint, self.store, chat=self.config.sampling.chat)
        return found

    @cached_property
    def shipped_meanings(self) -> Meanings:
        """The same by the rules and the shipped model, whatever decides in labelling: what sampling stops by."""
        found = meaning_identity("shipped")
        return Meanings(self._entailment("shipped"), found, store=self.store, progress=self.progress)

    def _entailment(self, spec: str) -> Entailment:
        """The entailment that ``spec`` names, opened when it is first asked: known meanings need none."""
        allowed = self.allowed_spec(spec)
        model = endpoint_of(parse_model(allowed.removeprefix(LLM))) if allowed.startswith(LLM) else None
        budget = self.budget_for((model, LLM_SETTINGS)) if model else None
        return self._closing.enter_context(closing(LaterEntailment(allowed, self.store, self.progress, budget)))

    @cached_property
    def languages(self) -> KnownLanguages:
        """The languages of its prompts, of every so many of a long file."""
        return KnownLanguages.of([prompt.text for prompt in self.prompts[:: 1 + len(self.prompts) // LOOKED_AT]])

    @property
    def encoder_name(self) -> str:
        """The encoder that the run names, or the one for its prompts' languages."""
        named = self.config.router.encoder
        words, *rest = re.split(r"(?=\+)", named, maxsplit=1)  # +length, +images=
        return "".join([self.languages.encoder, *rest]) if words == AUTO else named

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder, through the store."""
        found = self.own.encoder or load_encoder(self.allowed_spec(self.encoder_name), progress=self.progress)
        shown = {str(prompt.text): prompt.text for prompt in self.prompts if isinstance(prompt.text, ShownText)}
        return CachedEncoder(found, self.store, shown=shown, progress=self.progress, mapping=self.mapping)


@contextmanager
def open_run(
    config: RunConfig,
    own: Own = Own(),
    *,
    allow_endpoints: Sequence[str] | None = None,
    progress: Progress = no_progress,
    workers: RayWorkers | None = None,
    prompts: Sequence[Prompt] | None = None,
) -> Iterator[Run]:
    """Open a run for as long as the block lasts.

    ``allow_endpoints``: ``HOST[:PORT][#KEY_VARIABLE]`` that the run may send prompts to, where its record comes from a
    folder, which may be another person's; None: the record was given by the user, and so were its endpoints and keys.
    ``workers``: of a cluster; None: this process does all. ``prompts``: the run's, where they were read before.
    """
    with ExitStack() as stack:
        run = Run(config, own, allow_endpoints=allow_endpoints, progress=progress, closing=stack, workers=workers)
        if prompts is not None:
            run.prompts = prompts
        yield run

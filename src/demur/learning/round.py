"""One round of learning from traffic, in the order of its steps; `demur learn` repeats it.

    seen -> choose -> sample -> label -> candidate -> compare -> promote

Every step leaves what it made in the learning folder before the next begins, so a round that is killed anywhere goes on
from there: what was sampled is in the store, and the router that serves is replaced in one step or not at all. The
folder is a run's folder (`demur.config.RunConfig`) and takes every command that a run does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from demur.config import ModelConfig, RouterConfig, RunConfig
from demur.errors import InputError
from demur.files import read_mapping, write_whole
from demur.gateway.learning.cold_start import STATUS
from demur.gateway.ledger.feedback import losses
from demur.gateway.ledger.learning_cost import charge_learning
from demur.gateway.settings import GatewaySettings, LearnSettings
from demur.labels.from_samples import Labels
from demur.learning.choice import choose
from demur.learning.comparison import (
    compare_with_serving,
    doubt_canary,
    graded_objection,
    moved_threshold,
    recent_prompts,
)
from demur.learning.promotion import FEWEST, KINDS, RANDOM, Looks, better_by_kind, compare
from demur.learning.shadow import sample_shadow, spent_on_samples
from demur.learning.traffic import (
    SeenPrompt,
    graded_prompts,
    seen_prompts,
    taken_prompts,
    with_graded,
    write_taken,
)
from demur.learning.trial import begin, watch_canary
from demur.learning.versions import Version, canary, keep_version, next_number, serving_version, versions
from demur.limits import from_mapping
from demur.meaning.rules.known_languages import AUTO, KnownLanguages
from demur.measure.watched_promise import WatchedPromise
from demur.methods.estimator import unit_rows
from demur.methods.kernel import KernelRidge
from demur.models.encoders.encoder import CachedEncoder, load_encoder
from demur.pipeline import calibrate_stage, gate_stage, label_stage, train_stage
from demur.records import Encoder, Progress, SamplingSettings, count_of, no_progress
from demur.routing.prompt_router import PromptRouter
from demur.runs.run import Run, open_run
from demur.sampling.pair import check_pair

STATE = "state.json"
LARGEST_CHOICE = 2_000  # prompts that are compared with each other at once


@dataclass(frozen=True, slots=True)
class Status:
    """How far learning is, for the dashboard and the command line."""

    at: float  # seconds since 1970
    seen: int  # prompts that may be learned from, since learning began
    sampled: int  # of them, with all samples of both models
    told: int  # of those, whose samples tell which model is needed
    serving: int | None  # version that serves
    usd_today: float
    said: str  # what the last step came to
    promise: str = ""  # what clients' feedback shows of answers that were missed; empty without any

    @property
    def sentence(self) -> str:
        """The status as one sentence."""
        share = f", {self.told / self.sampled:.0%} could be labelled" if self.sampled else ""
        now = f"version {self.serving} serves" if self.serving else "no router serves yet, the strong model answers"
        promised = f"; {self.promise}" if self.promise else ""
        return f"{count_of(self.seen, 'prompt')} seen, {self.sampled:,} sampled{share}; {now}; {self.said}{promised}"


@dataclass(frozen=True, slots=True)
class State:
    """What a round remembers of those before it."""

    until: float = 0.0  # seconds since 1970: up to here the ledger was read
    seen: int = 0
    compared: int = 0  # labels that the last candidate had
    told: int = 0
    day: str = ""  # of `spent_before`
    spent_before: float = 0.0  # USD that this folder's samples had cost when the day began
    charged: float = 0.0  # USD of samples that stand in the ledger
    tried_since: float = 0.0  # seconds since 1970: when the canary began
    looks: int = 0  # tests against random order while no router served
    looked_at: int = 0  # labels of the last of them


def learn_round(
    settings: GatewaySettings,
    *,
    now: Callable[[], float] = time.time,
    progress: Progress = no_progress,
) -> Status:
    """Do one round; returns how far learning is. Raises InputError for settings with which it cannot be done."""
    learn = settings.learn or LearnSettings()
    folder, config = Path(learn.folder), learning_run(settings, learn)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # prompts and answers stand in it
    state = _read_state(folder)
    with open_run(config, progress=progress) as run:
        run.lock("learn")
        taken, state = _take(run, settings, learn, state)
        if not taken:
            return _tell(settings, state, 0, 0.0, "waiting for prompts", now())
        config.save()
        state, spent, stopped = _sample(run, settings, learn, taken, state, now())
        complete = sum(map(run.is_complete, run.train_prompts))  # graded prompts are held out
        state = replace(state, compared=min(state.compared, complete))  # prompts were forgotten, or graded
        said = stopped or f"{complete - state.compared} new labels of {learn.every} that a refit waits for"
        tried = watch_canary(settings, state.tried_since, now(), partial(graded_objection, run, settings))
        if complete - state.compared >= learn.every:
            step = _doubt if canary(folder) else _refit
            said, state = step(run, settings, replace(state, compared=complete), now())
        said = tried or said
        _write_state(folder, state)
        sampled = sum(map(run.is_complete, run.prompts))
    return _tell(settings, state, sampled, spent, said, now())


def learning_run(settings: GatewaySettings, learn: LearnSettings) -> RunConfig:
    """The run whose prompts are those of the traffic: both models as they are served. Raises InputError."""
    if settings.weak is None or settings.strong is None:
        raise InputError("learning needs both models in the settings: [weak] and [strong], or --weak and --strong")
    names = set(ModelConfig.__dataclass_fields__)
    weak, strong = (
        from_mapping(ModelConfig, {name: value for name, value in asdict(one).items() if name in names}, where="learn")
        for one in (settings.weak, settings.strong)
    )
    folder = Path(learn.folder)
    config = RunConfig(
        str((folder / "prompts.jsonl").absolute()),
        *(weak, strong),
        run=learn.folder,
        sampling=SamplingSettings(
            learn.samples,
            max_tokens=learn.max_tokens,
            seed=learn.seed,
            system=learn.system,
            template=learn.template,
            chat=learn.chat,
            stop=learn.stop,
        ),
        router=RouterConfig(methods=("kernel",), encoder=learn.encoder),
        test_share=1.0,  # only prompts with a client's better answer have gold answers
        strong_share=learn.strong_share,
    )
    check_pair(config)
    return config


# -- the steps --------------------------------------------------------------------------------------------------------


def _take(run: Run, settings: GatewaySettings, learn: LearnSettings, state: State) -> tuple[list[SeenPrompt], State]:
    """Choose among the prompts that were served since the last round, and keep the choice."""
    folder = run.config.folder
    before = taken = taken_prompts(folder)
    there = Path(settings.ledger).exists()
    if there:
        taken = with_graded(before, graded_prompts(settings.ledger, learn), learn)
    known, graded = {one.id for one in taken}, taken[len(before) :]
    served = seen_prompts(settings.ledger, learn, state.until) if there else []
    first = served[: round(learn.every / max(learn.share_of_traffic, 1 / LARGEST_CHOICE))]  # the rest in later rounds
    served = [one for one in served if first and one.at <= first[-1].at]  # with those of the same moment
    fresh = [one for one in served if one.id not in known and (one.answer or learn.shadow == "both")]
    wanted = round(learn.share_of_traffic * len(fresh))
    if wanted:
        encoder = _encoder(run, learn, [one.prompt for one in (*taken, *fresh)])
        seen, learned = (
            unit_rows(np.asarray(encoder.encode([one.prompt for one in each]), dtype=np.float32))
            if each
            else np.empty((0, 0), dtype=np.float32)
            for each in (fresh, taken[-LARGEST_CHOICE:])
        )
        random = np.random.default_rng([learn.seed, len(taken)])
        taken = [*taken, *(fresh[i] for i in choose(seen, learned, wanted, random))]
    if taken != before:
        write_taken(folder, taken)
    until = max((one.at for one in served), default=state.until)
    new = len(fresh) + sum(one.at > state.until for one in graded)
    state = replace(state, until=until, seen=state.seen + new)
    _write_state(folder, state)
    return taken, state


def _encoder(run: Run, learn: LearnSettings, texts: Sequence[str]) -> Encoder:
    """The encoder for these texts, through the store: the run's own prompts are not written yet."""
    name = KnownLanguages.of(texts).encoder if learn.encoder == AUTO else learn.encoder
    return CachedEncoder(load_encoder(name, progress=run.progress), run.store)


def _sample(
    run: Run, settings: GatewaySettings, learn: LearnSettings, taken: Sequence[SeenPrompt], state: State, now: float
) -> tuple[State, float, str]:
    """Shadow samples of the chosen prompts, within the day's budget; the state, USD of today, and what stopped it."""
    day = datetime.fromtimestamp(now, UTC).date().isoformat()
    if day != state.day:
        state = replace(state, day=day, spent_before=spent_on_samples(run))
        _write_state(run.config.folder, state)
    stopped = sample_shadow(run, learn, taken, state.spent_before + learn.usd_per_day)
    spent = spent_on_samples(run)
    if spent > state.charged:
        charge_learning(settings.ledger, spent - state.charged, f"{run.config.run} {spent:.8f}", now)
        state = replace(state, charged=spent)
        _write_state(run.config.folder, state)
    return state, spent - state.spent_before, stopped


def _refit(run: Run, settings: GatewaySettings, state: State, now: float) -> tuple[str, State]:
    """Label what is complete, train a candidate, and promote it where it is better than the router in force."""
    folder = run.config.folder
    try:
        labels = label_stage(run)
        state = replace(state, told=len(labels.preferences))
        candidate = _candidate(run, settings, labels)
    except InputError as error:  # none can be told, or all are told alike
        return str(error), state
    gated = gate_stage(run, candidate)
    calibration = calibrate_stage(run, gated)
    looks = Looks(state.looks, state.looked_at)
    found = compare_with_serving(folder, candidate, labels, looks, settings.endpoints)
    if found.beside == RANDOM:
        looks = looks.after(found.n)
        state = replace(state, looks=looks.done, looked_at=looks.labels)
    objected = graded_objection(run, settings, candidate) if found.better else ""
    number, why = next_number(folder), "; ".join(filter(None, (found.sentence, objected)))
    alone = compare(candidate.training_scores, None, np.array([2 * row.target - 1 for row in labels.preferences]))
    version = Version(
        *(number, now, len(labels.preferences), False, why),
        *(calibration.threshold, calibration.strong_share, alone.gain, alone.low, alone.high),
    )
    keep_version(folder, run.config.served_router, version)
    if found.better and not objected:
        return begin(settings, version, why), replace(state, tried_since=now)
    moved = moved_threshold(settings, folder, [row.prompt for row in labels.preferences], now)
    if moved:
        return moved, replace(state, tried_since=now)
    return f"version {number} is {why}", state


def _candidate(run: Run, settings: GatewaySettings, labels: Labels) -> PromptRouter:
    """A router of all that is labelled; one that learns kinds of prompts apart where that orders what came since the
    router in force was trained better."""
    plain = train_stage(run)
    recent = recent_prompts(run.config.folder, [row.prompt for row in labels.preferences], settings.endpoints)
    if recent.sum() < FEWEST:
        return plain
    own, gains = run.own, np.array([2 * row.target - 1 for row in labels.preferences])
    run.own = replace(own, methods={"kernel": KernelRidge(kinds=KINDS)})
    by_kind = train_stage(run)
    if better_by_kind(plain.training_scores, by_kind.training_scores, gains, recent):
        return by_kind
    run.own = own
    return train_stage(run)


def _doubt(run: Run, settings: GatewaySettings, state: State, now: float) -> tuple[str, State]:
    """Label what is complete, and roll the canary back where it is believed to do harm."""
    try:
        labels = label_stage(run)
    except InputError as error:  # none can be told, or all are told alike
        return str(error), state
    return doubt_canary(settings, run.config.folder, labels), replace(state, told=len(labels.preferences))


# -- what is kept between rounds ---------------------------------------------------------------------------------------


def _read_state(folder: Path) -> State:
    path = folder / STATE
    return from_mapping(State, read_mapping(path), where=str(path)) if path.exists() else State()


def _write_state(folder: Path, state: State) -> None:
    write_whole(folder / STATE, json.dumps(asdict(state)) + "\n")


def _tell(settings: GatewaySettings, state: State, sampled: int, usd: float, said: str, at: float) -> Status:
    learn = settings.learn or LearnSettings()
    folder = Path(learn.folder)
    promised = promise_text(losses(settings.ledger), learn.missed_at_most)
    found = Status(at, state.seen, sampled, state.told, serving_version(folder), usd, said, promised)
    curve = [[one.prompts, one.gain, one.low, one.high, one.promoted] for one in versions(folder) if one.high]
    write_whole(folder / STATUS, json.dumps(asdict(found) | {"sentence": found.sentence, "curve": curve}) + "\n")
    return found


def promise_text(lost: Sequence[float], risk: float) -> str:
    """What judged answers show of a promise that at most a share ``risk`` of better answers is missed."""
    promise = WatchedPromise(risk)
    for loss in lost:
        promise.add(loss)
    return promise.sentence if lost else ""

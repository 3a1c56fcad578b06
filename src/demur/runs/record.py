"""The record of a run, run.json in its folder: written before anything is paid for, never silently replaced by another.

File names in it are absolute, so a run can be used from any directory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from demur.config import (
    RUN_RECORD,
    LabelConfig,
    ModelConfig,
    RouterConfig,
    RunConfig,
    TestConfig,
    load_run,
    read_run_file,
)
from demur.config.names import IMAGES, TEXT_SHARE
from demur.errors import EndpointError, InputError
from demur.files import is_same_path
from demur.models.catalogue import is_known
from demur.models.local import own_spec
from demur.models.swapped_models import dearer_sentence
from demur.prompts import absolute_prompts, check_files
from demur.runs.lineage import REQUESTS, forget_made, keep_own_limits, keep_swapped, run_file_of
from demur.runs.run import Run
from demur.runs.steps import next_command
from demur.sampling.earlier.asked_models import keep_asked
from demur.sampling.earlier.longer_trial import longer_trial
from demur.sampling.pair import endpoints_of, estimate_pair
from demur.sampling.sample_run import Announce, with_kept_limit
from demur.store import Store

SAMPLED = (
    "prompts",
    "weak",
    "strong",
    "between",
    "sampling",
    "store",
)  # what a run's samples, and their cost, come from
# Of a model; no sample depends on them.
HOW_ASKED = ("concurrency", "timeout_seconds")
PRICES = ("priced_as", "service_tiers", *(one.name for one in fields(ModelConfig) if one.name.startswith("usd_per_")))


def check_same_run(config: RunConfig, *, again: bool = False, by_file: bool = False) -> None:
    """Raise InputError where the folder holds another run's samples, unless it is to be begun ``again``.

    ``by_file``: a run file names the folder, not the option --run.
    """
    if again or not (config.folder / RUN_RECORD).exists():
        return
    there = load_run(config.run)
    different = list(differences(there, config))
    # A store that only the folder names is not opened: the folder may be another person's.
    if different and (there.store != config.store or _has_answers(there, different)):
        check_files(config.prompts)
        elsewhere = '`run = "..."` in the run file' if by_file else "--run"
        of_store = (there.sampling.key, there.store) == (config.sampling.key, config.store)
        paid = "only those that are not there yet" if of_store else "all"
        raise InputError(
            f"{config.run} is another run: {', '.join(different)}; name another folder with {elsewhere}, or begin this "
            f"one again with --again: the earlier answers are kept in the store, and {paid} are asked and paid for"
        )


def _has_answers(config: RunConfig, different: Sequence[str]) -> bool:
    """Whether a run has any answers of what is ``different`` now; one without may be replaced, for example after a
    mistyped endpoint. The answers of a model that stays the same do not count: they are found again.
    """
    pair, changed = endpoints_of(config), {line.partition(".")[0] for line in different}
    asked = [getattr(pair, role) for role in ("weak", "strong") if role in changed]
    with Store(config.store_at) as store:
        return any(
            store.has_samples(one.name, config.sampling.key)
            for one in (asked if changed <= {"weak", "strong"} else pair.all)
        )


def begin_run(config: RunConfig, *, again: bool = False, concurrency: int | None = None) -> RunConfig:
    """The record to sample by: the folder's own where it is of the same samples, with the prices, the limit of costs
    and the ``concurrency`` that were given now. Begun ``again``, or with other samples, a run keeps its limit and each
    model's price, where none is given now. Raises InputError as above.
    """
    check_same_run(config, again=again)
    before = with_absolute_paths(load_run(config.run)) if (config.folder / RUN_RECORD).exists() else config
    there = config if again or list(differences(before, config)) else before
    priced = {(one.model, one.base_url): one for one in before.models}
    weak, strong = (
        _with_prices(there_now, given, priced.get((given.model, given.base_url), given))
        for there_now, given in ((there.weak, config.weak), (there.strong, config.strong))
    )
    if concurrency is not None:
        weak, strong = replace(weak, concurrency=concurrency), replace(strong, concurrency=concurrency)
    max_usd = before.max_usd if config.max_usd is None else config.max_usd
    return replace(there, weak=weak, strong=strong, max_usd=max_usd)


def run_of_file(file: str | Path, announce: Announce | None) -> tuple[RunConfig, Announce | None]:
    """The run that a run file describes, with the limit of costs that the run in its folder was given before where it
    names none, and what announces an estimate, which then says so.
    """
    asked = read_run_file(file)
    if asked.max_usd is not None or not (asked.folder / RUN_RECORD).exists():
        return asked, announce
    config = replace(asked, max_usd=load_run(asked.run).max_usd)
    return config, with_kept_limit(announce, asked.max_usd, config)


def _with_prices(model: ModelConfig, given: ModelConfig, before: ModelConfig) -> ModelConfig:
    """A model at the prices that were given for it now, or, if none were, at those of before."""
    priced = before if all(getattr(given, name) in (None, {}) for name in PRICES) else given
    return replace(model, **{name: getattr(priced, name) for name in PRICES})


def begin_sampling(
    run: Run, announce: Announce | None, *, ask: bool = True, command: str = "sample"
) -> Announce | None:
    """Lock a run, ask for a few longer answers first where that is why it is begun again, and write its record: before
    anything else is paid for, so that a sampling that is interrupted can be labelled. Returns whom the estimate is yet
    to be announced to.

    ``ask``: requests are made now; ``command``: that samples, as the lock names it. Raises EndpointError where no
    longer answers are to be had.
    """
    run.lock(command)
    trial = longer_trial(run) if ask else None
    if trial:
        if announce:
            given = (run.config, run.pair, run.prompts, run.samples, run.store)
            announce(replace(estimate_pair(*given, full=run.for_measuring), first=trial.sentence))
        limits = partial(keep_own_limits, run.config.folder, asked=run.config.sampling.max_tokens)
        if refused := trial.ask(run, limits):
            raise EndpointError(f"{refused}; {_next_without(run.config, trial.earlier)}")
    if ask:
        forget_made(run.config.folder, REQUESTS)
    keep_sampling(run.config)
    return None if trial else announce


def _next_without(config: RunConfig, earlier: int) -> str:
    """What comes next in a folder whose run is not begun again: it goes on with answers of ``earlier`` tokens."""
    file = run_file_of(config.folder)
    by_file = file and read_run_file(file).sampling.max_tokens == config.sampling.max_tokens
    back = f"set max_tokens = {earlier} in {file} again, then " if by_file else "next: "
    return f"{back}{next_command(config.folder)}"


def keep_sampling(config: RunConfig) -> None:
    """Write the sampling into the record; the settings of an earlier labelling and training are kept."""
    keep_asked(config)  # with those of the record that is there
    if (config.folder / RUN_RECORD).exists():
        there = load_run(config.run)
        if any(differences(there, config)):
            forget_made(config.folder, "samples")
        config = replace(config, label=there.label, router=there.router)
    config.save()
    pair = endpoints_of(config)
    keep_swapped(config.folder, dearer_sentence(pair.weak, pair.strong))


def differences(there: RunConfig, given: RunConfig) -> Iterator[str]:
    """What of two runs' samples is not the same, as ``key old (now new)``."""
    old, new = (_flat({key: asdict(with_absolute_paths(one))[key] for key in SAMPLED}) for one in (there, given))
    for key, value in old.items():
        if not {*key.split(".")} & {*HOW_ASKED, *PRICES} and not _is_same(key, value, new[key]):
            yield f"{key} {_short(value)} (now {_short(new[key])})"


def _is_same(key: str, old: object, new: object) -> bool:
    """Whether two values of a key are one; files of prompts and models are, where two paths lead to the same."""
    named = key == "prompts" or key.endswith(".model")
    if named and isinstance(old, str) and isinstance(new, str) and Path(old).is_absolute():
        return is_same_path(old, new)
    return old == new


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """The same run from whatever directory, with the name of one of its own models in whole where it judges."""
    return replace(
        config,
        prompts=absolute_prompts(config.prompts),
        weak=_absolute_model(config.weak),
        strong=_absolute_model(config.strong),
        between=tuple(map(_absolute_model, config.between)),
        label=with_absolute_files(config.label, config.models),
        router=with_absolute_encoder(config.router),
        test=with_absolute_sets(config.test, config.models),
    )


def with_absolute_files(label: LabelConfig, models: Sequence[ModelConfig]) -> LabelConfig:
    """The same labels from whatever directory: its file, a folder or a .gguf file that decides or judges; one of the
    run's ``models`` that judges may be named by its name alone."""
    scheme, colon, rest = label.entailment.rpartition(":")
    return replace(
        label,
        file=_absolute(label.file) if label.file else None,
        judge=_judge(label.judge, models),
        entailment=label.entailment if scheme == "hub" else f"{scheme}{colon}{_absolute(rest)}",
    )


def with_absolute_encoder(router: RouterConfig) -> RouterConfig:
    """The same routers from whatever directory: a file or folder of an image encoder."""
    words, joins, images = router.encoder.partition(IMAGES)
    named = images.removesuffix(TEXT_SHARE)
    return replace(router, encoder=f"{words}{joins}{_absolute(named)}{images.removeprefix(named)}") if named else router


def with_absolute_sets(test: TestConfig, models: Sequence[ModelConfig]) -> TestConfig:
    """The same test sets from whatever directory; their judge may be one of the run's ``models``, likewise."""
    spec = "+".join(part.strip() for part in test.prompts.split("+"))
    return replace(test, prompts=absolute_prompts(spec) if spec else "", judge=_judge(test.judge, models))


def _judge(name: str | None, models: Sequence[ModelConfig]) -> str | None:
    return _absolute(own_spec(name, models)) if name else None


def _absolute_model(model: ModelConfig) -> ModelConfig:
    return model if model.base_url else replace(model, model=_absolute(model.model))


def _absolute(name: str) -> str:
    """A file's or folder's name with its directory; any other name unchanged."""
    if is_known(name) or name in ("exact", "shipped"):
        return name
    try:
        return str(Path(name).absolute()) if Path(name).exists() else name
    except OSError:  # longer than a name can be
        return name


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {f"{before}{key}": value}
    return found


def _short(value: object) -> str:
    shown = "none" if value is None else repr(value)
    return shown if len(shown) <= 80 else f"{shown[:38]}...{shown[-38:]}"

"""What a command's options change in a run's settings: those that were given, and what cannot stay beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from demur.config import RUN_RECORD, LabelConfig, RouterConfig, load_run
from demur.config.kinds import KINDS, LABEL_SOURCES, options_of
from demur.config.presets import preset_values
from demur.limits import from_mapping
from demur.records import SamplingSettings


def label_settings(before: LabelConfig, given: Mapping[str, object], preset: str = "") -> LabelConfig:
    """A run's labels with a command's options; None is an option that was not given, and leaves what the run says.

    Where the source or the kind changes, the options of the earlier one are dropped. Raises InputError.
    """
    named = _given_values(given, preset, "label")
    wanted = from_mapping(LabelConfig, named, where="label")
    source = wanted.source if "source" in named else before.source
    if source != before.source:
        before = LabelConfig(entailment=before.entailment, rules=before.rules, state_answers=before.state_answers)
    found = replace(before, **{name: getattr(wanted, name) for name in named})
    own = KINDS[found.name].options if found.name in KINDS else options_of(found.source)
    every = {option for one in LABEL_SOURCES for option in options_of(one)}
    return replace(found, **{name: getattr(LabelConfig(), name) for name in every - {*own, *named}})


def router_settings(before: RouterConfig, given: Mapping[str, object], preset: str = "") -> RouterConfig:
    """The same for a run's routers; a router that is no longer trained does not serve."""
    named = _given_values(given, preset, "router")
    wanted = from_mapping(RouterConfig, named, where="router")
    found = replace(before, **{name: getattr(wanted, name) for name in named})
    return found if "serve" in named or found.serve in (None, *found.methods) else replace(found, serve=None)


def sampling_settings(run: str | None, given: Mapping[str, object]) -> SamplingSettings:
    """The same for sampling, from the run in a folder, or from the defaults where the folder has no run.

    Raises InputError.
    """
    there = run is not None and (Path(run) / RUN_RECORD).exists()
    before = load_run(run).sampling if run is not None and there else SamplingSettings()
    named = _given_values(given, "", "sampling")
    wanted = from_mapping(SamplingSettings, named, where="sampling")
    return replace(before, **{name: getattr(wanted, name) for name in named})


def _given_values(given: Mapping[str, object], preset: str, table: str) -> dict[str, object]:
    return {**preset_values(preset, table), **{name: value for name, value in given.items() if value is not None}}

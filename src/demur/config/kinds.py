"""The kinds of labels by source: what each needs, the options that are its own, and what the help says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Need = Literal["samples", "joint meanings", "belief", "log-probs", "encoder", "gold answers", "file", "judge"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of labels needs. What its targets are: `demur.labels.from_samples` and `demur.labels.label_run`."""

    needs: frozenset[Need]
    options: tuple[str, ...] = ()  # of `LabelConfig` that are its own; entailment and rules serve every kind
    softer: str = ""  # the option that makes soft labels of the same source
    about: str = ""  # for the command's help

    @classmethod
    def of(cls, *needs: Need, options: tuple[str, ...] = (), softer: str = "", about: str = "") -> Kind:
        return cls(frozenset(needs), options, softer, about)


_MEASURED = ("definition",)  # of the entropy
KINDS: Mapping[str, Kind] = {  # by source and kind, as a row of preferences bears them; a source's default first
    "entropy believed": Kind.of("samples", "joint meanings", "belief", options=_MEASURED),
    "entropy support": Kind.of(
        *("samples", "joint meanings", "belief"),
        options=_MEASURED,
        about="believed, of answers over 40 words by their sentences",
    ),
    "entropy combined": Kind.of("samples", "joint meanings", "log-probs", options=_MEASURED),
    "entropy calibrated": Kind.of("samples", options=_MEASURED),
    "entropy margin": Kind.of("samples", options=_MEASURED),
    "entropy hard": Kind.of("samples", options=(*_MEASURED, "delta", "tau"), softer="--kind margin"),
    "entropy auto": Kind.of(
        *("samples", "joint meanings", "belief", "encoder"), options=_MEASURED, about="chosen label-free"
    ),
    "agreement": Kind.of("samples", "joint meanings"),
    "accuracy hard": Kind.of("samples", "gold answers", softer="--kind soft"),
    "accuracy soft": Kind.of("samples", "gold answers"),
    "preference": Kind.of("file", options=("file", "models", "tie_below", "tiers")),
    "quality-gap prob": Kind.of("samples", "gold answers"),
    "quality-gap det": Kind.of("samples", "gold answers", softer="--kind prob"),
    "quality-gap trans": Kind.of("samples", "gold answers"),
    "judge": Kind.of("samples", "judge", options=("judge", "judge_effort", "judge_tokens", "max_usd")),
}
LABEL_SOURCES = tuple(dict.fromkeys(name.partition(" ")[0] for name in KINDS))
ALL_KINDS = tuple(dict.fromkeys(kind for _, _, kind in (name.partition(" ") for name in KINDS) if kind))


def kinds_of(source: str) -> tuple[str, ...]:
    """The kinds of a source's labels, its default first; none for a source that is one kind itself."""
    return tuple(kind for name, _, kind in (each.partition(" ") for each in KINDS) if name == source and kind)


def kinds_help() -> str:
    """The kinds of every source that has some, for the command's help."""
    found = []
    for source in LABEL_SOURCES:
        abouts = {kind: KINDS[f"{source} {kind}"].about for kind in kinds_of(source)}
        shown = [f"{kind} ({about})" if about else kind for kind, about in abouts.items()]
        found += [f"{source}: {', '.join(shown)}"] if shown else []
    return f"Kind of label; the first of a source is its default. {'; '.join(found)}."


def options_of(source: str) -> tuple[str, ...]:
    """Options that belong to a source's kinds alone."""
    names = (source, *(f"{source} {kind}" for kind in kinds_of(source)))
    return tuple(dict.fromkeys(option for name in names if name in KINDS for option in KINDS[name].options))

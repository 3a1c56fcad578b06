"""By what a threshold is set: by a share of calls, by money, by an estimate of quality, or with a guarantee."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from demur.errors import InputError

USUAL_SHARE = 0.3  # of calls to the strong model
CRITERIA = ("strong_share", "usd_per_1k", "keep_quality", "risk")
_INSIDE = {"above": 0, "below": 1}


@dataclass(frozen=True, slots=True)
class Criterion:
    """One of the first four; without any, `USUAL_SHARE`."""

    strong_share: float | None = field(
        default=None, metadata={"at_least": 0, "at_most": 1, "help": "Fraction of calls for the strong model."}
    )
    usd_per_1k: float | None = field(
        default=None, metadata={"at_least": 0, "help": "Largest cost of 1,000 such prompts, in USD."}
    )
    keep_quality: float | None = field(
        default=None,
        metadata={
            "above": 0,
            "at_most": 1,
            "help": "Fraction of the strong model's quality, estimated without labels.",
        },
    )
    risk: float | None = field(
        default=None, metadata=_INSIDE | {"help": "Guarantee: at most this loss against always-strong ..."}
    )
    confidence: float = field(default=0.95, metadata=_INSIDE | {"help": "... with this confidence."})
    loss: Literal["missed", "difference"] = field(
        default="missed", metadata={"help": "missed (a better answer was missed) or difference (in quality)."}
    )

    @property
    def options(self) -> str:
        """The same as options of `demur calibrate`."""
        wish = next((name for name in CRITERIA if getattr(self, name) is not None), "strong_share")
        named = [(wish, self.share if wish == "strong_share" else getattr(self, wish))]
        if wish == "risk":
            named += [(name, getattr(self, name)) for name, usual in RISK_OPTIONS if getattr(self, name) != usual]
        return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in named)

    @property
    def share(self) -> float:
        """The share that is asked for, where no other criterion is given."""
        return USUAL_SHARE if self.strong_share is None else self.strong_share


RISK_OPTIONS = tuple((name, getattr(Criterion(), name)) for name in ("confidence", "loss"))  # with their defaults


def check_criterion(criterion: Criterion) -> None:
    """Raise InputError where more than one is given."""
    given = [name for name in CRITERIA if getattr(criterion, name) is not None]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} are different criteria; give one of them")

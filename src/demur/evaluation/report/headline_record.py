"""What a headline holds, and how it is said: the result in one line, what it rests on in notes, what to be careful
about. Every command, the report and `demur status` say it so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from demur.evaluation.graded_file import beside_rows
from demur.measure.threshold import KEPT, LEAST, KeptPoint
from demur.records import Fact, Role, count_of, dollars, fact_lines
from demur.runs.steps import in_its_words

DECIDED, BY_SCORE = "that could be judged", "that the score decides"
EXPECTED, SAMPLED = "as expected", "on the answers that were sampled"
WORTH_SAYING = 0.01  # of the calls that stay local
WIDTH = 110  # characters of a line of cautions
SENTENCES = re.compile(r"(?<=\.) (?=[A-Z])")  # between two of them
ENOUGH = 0.9  # of always-strong's quality; where less is served, a note says what keeps more
SIZES: dict[Role, str] = {"weak": "small", "strong": "large"}
MEASURED, FORECAST, QUALITY, LEFT, TO_KEEP = "measured on", "forecast for", "quality", "kept", f"to keep {KEPT:.0%}"
ALSO = ""  # names of notes: this one goes on with the note before
GATE = {
    EXPECTED: "counted as it is expected to decide, before any answer is seen",
    SAMPLED: f"counted as it decided {SAMPLED}",
}
FREE = (
    "The large model counts as $0, because its address is private. If it costs: `demur sample` again with "
    "`--strong-usd IN/OUT`, then `demur train`"
)


@dataclass(frozen=True, slots=True)
class HeadlineBlock:
    """A headline as it is shown."""

    sentence: str  # the result
    notes: tuple[Fact, ...] = ()  # what it rests on
    cautions: tuple[str, ...] = ()  # what to be careful about, the gravest first
    threshold: float | None = None  # that it is of; None: kept by an earlier version, likewise below
    saved: float | None = None  # fraction of always-strong's cost; None also where it is unknown

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> HeadlineBlock | None:
        """What `dataclasses.asdict` made of a block, be it read from JSON; None where nothing is there."""
        if not record:
            return None
        notes = tuple((str(name), str(fact)) for name, fact in record["notes"])
        promise = record.get("threshold"), record.get("saved")
        return cls(record["sentence"], notes, tuple(record["cautions"]), *promise)

    def of_router(self, router: Path) -> HeadlineBlock:
        """The block of the router that is saved in a folder: the commands that its notes and cautions propose name
        it, or the run file of its run."""
        notes = tuple((name, in_its_words(fact, router)) for name, fact in self.notes)
        return replace(self, notes=notes, cautions=tuple(in_its_words(one, router) for one in self.cautions))

    @property
    def lines(self) -> tuple[str, ...]:
        """The block as lines of text."""
        return (
            self.sentence,
            *fact_lines(self.notes),
            *(line for one in self.cautions for line in _caution_lines(one)),
        )


def _caution_lines(caution: str) -> tuple[str, ...]:
    """A caution in as few lines as hold its sentences; none is cut, so that a command in it can be copied."""
    first, *others = SENTENCES.split(caution)
    lines = [f"- {first}"]
    for sentence in others:
        if len(lines[-1]) + 1 + len(sentence) <= WIDTH:
            lines[-1] += f" {sentence}"
        else:
            lines.append(f"  {sentence}")
    return tuple(lines)


@dataclass(frozen=True, slots=True)
class NoGap:
    """Quality of always-weak and of always-strong on graded prompts that do not show that strong is better."""

    weak: float
    strong: float
    by_score: int = 0  # how many these are, where they are those that the score decides alone, and quality is of all
    reversed: bool = False  # they show that weak is better


@dataclass(frozen=True, slots=True)
class Headline:
    """A router at a threshold on some prompts. Money is in USD per 1,000 prompts, None where a price is unknown."""

    threshold: float
    calibrated: bool  # False: the threshold is the one that a router has before anybody has set one
    prompts: int
    on: str  # which prompts, such as "test prompts"
    strong_share: float
    quality: tuple[float, float, float] | None  # routed, with its 95 % interval over prompts; None: not known
    strong_quality: float | None  # of always-strong, in [0, 1]
    believed: bool  # the quality is believed by the strong model's own samples, without labels
    usd: float | None
    usd_strong: float | None  # of always-strong
    usd_strong_part: float | None  # what the strong model's answers cost of it
    unpriced: tuple[str, ...] = ()  # models whose price is unknown
    judged: int | None = None  # prompts that `quality` is of; None: all
    judged_rows: int = 0  # of the prompts that are these, where some of these repeat; 0: none does
    judged_share: float | None = None  # the strong share of those; None: as of all
    local_unjudged: float = 0.0  # fraction of the calls that stay local whose quality is not in `quality`
    gate: str = ""  # how a gate takes part; empty: none does
    by_setting: float = 0.0  # fraction of the prompts whose need is unknown, which go to one model whatever their score
    setting: Role = "strong"  # that model
    shares: tuple[tuple[str, float], ...] = ()  # of calls, by tier, where there are more than two models
    # Where most of the large model's quality is kept on these prompts; empty where no threshold keeps it; None where it
    # was not looked for.
    kept: KeptPoint | tuple[()] | None = None
    strong_private: bool = False  # the strong model counts as $0 for its private address alone
    by_grades: bool = False  # a person graded the `judged` prompts
    weighed: int = 0  # of these, those that the setting decides: quality is of all prompts, each part by its share
    quality_unknown: str = ""  # why quality is not known, where that has a reason of its own
    without_gap: NoGap | None = None  # None: grades show that strong is better, or there are none
    by_belief: Headline | None = None  # by which is said what is kept where `by_grades` does not tell that
    forecast: bool = False  # no model was asked most of the `judged` prompts: quality is told by their scores alone
    labels: str = ""  # where the router's labels are from, if not from its samples, such as "the judge gpt-4o"
    set_for: str = ""  # what the threshold was set for, such as "a strong share of 30%"; empty: nothing was asked for

    @property
    def saved(self) -> float | None:
        """Fraction of always-strong's cost that is saved; negative for a loss, None where it is unknown or nothing."""
        return 1 - self.usd / self.usd_strong if self.usd is not None and self.usd_strong else None

    @property
    def quality_name(self) -> str:
        """What the quality is by its source: forecast from scores, believed from samples, or measured."""
        return "forecast quality" if self.forecast else "believed quality" if self.believed else "quality"

    @property
    def least_share(self) -> float:
        """The least strong share that a threshold can give."""
        return self.by_setting if self.setting == "strong" else 0.0

    @property
    def largest_share(self) -> float:
        """The largest strong share that a threshold can give."""
        return 1 - self.by_setting if self.setting == "weak" else 1.0

    @property
    def sentence(self) -> str:
        """The result, and nothing else, as one line."""
        name = "this threshold" if self.calibrated else "the threshold before calibration"
        local = f"At {name} {1 - self.strong_share:.0%} of calls stay local"
        if self.shares:
            local = f"At {name} {', '.join(f'{tier} answers {share:.0%}' for tier, share in self.shares)} of calls"
        return f"{local}, {self._quality}, {self._cost}"

    @property
    def notes(self) -> tuple[Fact, ...]:
        """What the result rests on, one fact each."""
        on = self.on.replace("prompts", "prompt", 1) if self.prompts == 1 else self.on
        kind = SIZES[self.setting]
        unknown = f"{self.by_setting:.0%} of the prompts go to the {kind} model whatever the threshold"
        return (
            (FORECAST if self.forecast else MEASURED, f"{self.prompts:,} {on}"),
            *((QUALITY, one) for one in self._quality_rests_on),
            *self._kept_notes,
            *([("labels", f"by {self.labels}")] if self.labels else []),
            *([("unknown", unknown)] if self.by_setting else []),
            *([("gate", GATE[self.gate])] if self.gate else []),
            *([("threshold", f"{self.threshold:.4f}, for {self.set_for}")] if self.set_for else []),
        )

    @property
    def cautions(self) -> tuple[str, ...]:
        """What to be careful about that its own figures tell."""
        return tuple(filter(None, [self.no_gap, FREE if self.saved is None and self._is_free else ""]))

    def block(self, *, notes: Iterable[Fact] = (), cautions: Iterable[str] = ()) -> HeadlineBlock:
        """The headline with what else is known of the router; empty ones are left out."""
        more = tuple((name, fact) for name, fact in notes if fact)
        said = (*self.cautions, *filter(None, cautions))
        return HeadlineBlock(self.sentence, (*self.notes, *more), said, self.threshold, self.saved)

    @property
    def judged_prompts(self) -> str:
        """The prompts that quality is of, such as "the 100 graded prompts that the score decides"."""
        if self.judged is None:
            return "these prompts"
        alone = self.by_setting and not self.weighed
        if self.by_grades:
            return f"the {self._graded_prompts}{f' {BY_SCORE}' if alone else ''}"
        return f"the {self.judged:,} prompts {self.decided}"

    def scope(self, of: str = "") -> str:
        """Which prompts quality is of, such as "the 54% that could be judged"; empty where it is of all."""
        if self.judged is None or self.weighed or (self.by_grades and not self.by_setting):
            return ""
        if self.by_grades:
            return f"the {1 - self.by_setting:.0%}{of} {BY_SCORE}"
        return f"the {self.judged / self.prompts:.0%}{of} {self.decided}"

    @property
    def decided(self) -> str:
        """Which prompts believed quality is of: that a judge labels all does not let the samples tell more."""
        return f"{DECIDED}{' by samples' if self.labels else ''}"

    @property
    def brief(self) -> str:
        """What it does, for somebody who decides: calls, quality and cost beside the large model alone."""
        said, line = [], self._telling
        if line is not None and line.kept_here is not None:
            said.append(f"keeps {line._kept_with_source}{line._by_few}")
        if self.saved is not None:
            gains = round(self.saved, 2) >= 0
            word = "saves" if gains else "adds"
            whose = "it" if said else "the large model"
            said.append(f"{word} {abs(self.saved):.0%} {'of' if gains else 'to'} what {whose} costs alone")
        local = (
            f"{1 - self.strong_share:.0%} of calls stay with {'smaller models' if self.shares else 'the small model'}"
        )
        gap = f". {self.no_gap}" if self.no_gap else ""
        return f"{local}{'; this ' if said else ''}{' and '.join(said)}{gap}"

    @property
    def kept_here(self) -> float | None:
        """Which fraction of the large model's quality is kept, of the prompts that quality is of; None: not known."""
        return self.quality[0] / self.strong_quality if self.quality is not None and self.strong_quality else None

    @property
    def _telling(self) -> Headline | None:
        """The line that tells what is kept: by belief until grades show that the large model is better. None where they
        show that the small one is, of whose calls nothing is lost then."""
        if self.without_gap is None:
            return self
        return None if self.without_gap.reversed else self.by_belief

    @property
    def _source(self) -> str:
        """How quality is known where it is not measured, such as " (believed)"."""
        return "" if self.quality_name == "quality" else f" ({self.quality_name.split()[0]})"

    @property
    def _kept_with_source(self) -> str:
        whose = f" on {self.scope(' of the prompts')}" if self.scope() else ""
        return f"{self.kept_here or 0.0:.0%} of the large model's quality{whose}{self._source}"

    @property
    def no_gap(self) -> str:
        """That graded prompts do not show that the large model is better; empty where they do, or none is graded."""
        found, small = self.without_gap, "smallest" if self.shares else "small"
        if found is None:
            return ""
        on = self._graded if self.by_grades else "these graded prompts"
        if found.by_score:
            on = f"{count_of(found.by_score, 'graded prompt')} that the score decides"
        return (
            f"The {small} model's quality is {short(found.weak)} and the large one's {short(found.strong)}, measured "
            f"on {on}: they do not show that the large model is better"
        )

    @property
    def _by_few(self) -> str:
        """On how many graded prompts the quality was measured, with its interval; empty without grades."""
        if not self.by_grades or self.quality is None or self.strong_quality is None:
            return ""
        routed, low, high = map(short, self.quality)
        strong = short(self.strong_quality)
        return f", measured on {self._graded} ({routed} [{low}, {high}] of {strong}),"

    @property
    def _graded(self) -> str:
        """The same, and how prompts of two parts are weighed."""
        return f"{self._counted}{', each part weighed by its share of the prompts' if self.weighed else ''}"

    @property
    def _counted(self) -> str:
        """The graded prompts, and which part of all prompts they stand for."""
        judged, count = self.judged or 0, self._graded_prompts
        if self.weighed:
            return (
                f"{count}, {judged - self.weighed:,} of the {1 - self.by_setting:.0%} {BY_SCORE} and "
                f"{self.weighed:,} of the others"
            )
        return count if self.judged_share is None else f"{count}, {1 - self.judged_share:.0%} of which stay local"

    @property
    def _graded_prompts(self) -> str:
        return f"{count_of(self.judged or 0, 'graded prompt')}{beside_rows(self.judged_rows)}"

    @property
    def _quality_rests_on(self) -> tuple[str, ...]:
        """By what the quality is known and of which prompts; nothing where it is measured on all of them."""
        if self.quality is None:
            return (f"not known: {self.quality_unknown}",) if self.quality_unknown else ()
        source = ""
        if self.by_grades:
            source = f"measured on {self._counted}"
        elif self.forecast:
            source = "from the scores alone, no answers or grades"
        elif self.believed:
            source = f"believed, from how the answers agree{', not from the labels' if self.labels else ''}"
        scope = f"of {self.scope(' of the prompts')}" if self.scope() else ""
        parts = "each part is weighed by its share of the prompts" if self.weighed else ""
        could_not = self.decided.replace("that could", "could not")
        lost = f"not of {self.local_unjudged:.0%} of the calls that stay local, which {could_not}"
        unjudged = not self.by_grades and self.local_unjudged >= WORTH_SAYING
        whose = (source, scope) if self.by_grades else ("; ".join(filter(None, [source, scope])),)
        return tuple(filter(None, [*whose, parts, lost if unjudged else ""]))

    @property
    def enough(self) -> KeptPoint | None:
        """The strong share that a note says keeps most of the large model's quality; None where no note does."""
        return self.kept or None if any(name == TO_KEEP for name, _ in self._kept_notes) else None

    @property
    def _kept_notes(self) -> tuple[Fact, ...]:
        """Which part of the large model's quality is left, which the sentence's two digits do not tell, and where that
        is little what keeping more would cost.

        Before calibration the command that comes next says the second.
        """
        line = self._telling
        if line is None or line.kept_here is None:
            return ()
        left = f"{line.kept_here:.0%} of the large model's quality" if line is self else line._kept_with_source
        return (LEFT, left), *(self._to_keep if self.calibrated and line.kept_here < ENOUGH else ())

    @property
    def _to_keep(self) -> tuple[Fact, ...]:
        """Which strong share keeps most of the quality; by belief until there are grades enough, then with what this
        threshold is believed to keep where that is measured otherwise."""
        line = self if self.kept is not None else self.by_belief
        if line is None or line.kept is None:
            return ()
        point, graded = line.kept, line.judged or line.prompts
        if not point:
            return ((TO_KEEP, f"no threshold does so on these prompts{'' if line is self else line._source}"),)
        if line is not self and point.share <= self.strong_share:  # it is believed to keep enough
            return ()
        money = f" and {point.money}" if point.money else ""
        by = line._source if line.believed else f" by {count_of(graded, 'graded prompt')}"
        if line is not self and self._telling is self and line.kept_here is not None:
            by = f"{by[:-1]}; this threshold keeps {line.kept_here:.0%})"
        # The share that seems the least one by grades is a lucky one: docs/method.md says by how much.
        less = "" if line.believed else "; on other prompts it likely keeps less"
        share = (TO_KEEP, f"a strong share of {point.share:.0%} keeps {point.kept:.0%}{by}{money}{less}")
        return share, *([(ALSO, LEAST)] if round(point.kept, 2) > KEPT else [])

    @property
    def _quality(self) -> str:
        if self.quality is None or self.strong_quality is None:
            return "quality not known"
        routed, low, high = map(short, self.quality)
        return f"{self.quality_name} {routed} [{low}, {high}] of {short(self.strong_quality)} always-strong"

    @property
    def _is_free(self) -> bool:
        return self.usd is not None and self.strong_private

    @property
    def _cost(self) -> str:
        if self.usd is None:
            missing = f"no price of {' and '.join(self.unpriced)} is known"
            if self.usd_strong is None or self.usd_strong_part is None:
                return f"cost unknown: {missing}"
            part = (
                f"{dollars(self.usd_strong_part)} for the strong model instead of {dollars(self.usd_strong)} per 1,000"
            )
            return f"{part} ({missing})"
        if self.saved is None:
            return f"{dollars(self.usd)} per 1,000"
        change = f"saves {abs(self.saved):.0%}" if round(self.saved, 2) >= 0 else f"costs {-self.saved:.0%} more"
        return f"{dollars(self.usd)} instead of {dollars(self.usd_strong or 0.0)} per 1,000 ({change})"


def short(quality: float) -> str:
    """A quality in two digits, such as .81."""
    return f"{quality:.2f}".removeprefix("0")

"""A day's prompts again, under a router's threshold or another: strong share, cost, and quality where it is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

import numpy as np

from demur.config import GRADED_FILE, ROUTER, RUN_RECORD, load_run
from demur.config.named_run import run_folder_of
from demur.errors import ArtifactError, InputError, StoreError
from demur.evaluation.evaluate_run import trained_on_meanings
from demur.evaluation.gate_rows import sampled_answers, served_on_samples
from demur.evaluation.graded_file import FIELDS, GradedFile, read_graded
from demur.evaluation.report.cautions import cautions_of, unlike_setting_note
from demur.evaluation.report.headline import expected_costs, expected_use, headline
from demur.evaluation.report.headline_record import SAMPLED, SIZES, Headline, HeadlineBlock
from demur.evaluation.report.kinds_table import new_kinds_notes
from demur.evaluation.report.which_prompts import which_prompts
from demur.evaluation.results import TestSet, grade_test_set
from demur.evaluation.thresholds.measured_quality import measured_headline
from demur.evaluation.tiers import tier_choices, tier_usd, tiers_of
from demur.files import is_same_path
from demur.gate.quality.two_stages import Use
from demur.gate.router import Router
from demur.limits import check_number
from demur.measure.tiers import take_chosen
from demur.models.encoders.encoder import WatchedEncoder
from demur.prompts import load_prompts
from demur.prompts.rows import read_rows
from demur.records import Encoder, FloatArray, Progress, Prompt, Role, dollars, no_progress, percent
from demur.routing.known.known_prompts import Looked
from demur.routing.prompt_router import PromptRouter
from demur.runs.run import Run, open_run
from demur.runs.steps import config_of
from demur.statistics import interval, mean_interval


@dataclass(frozen=True, slots=True)
class AskedPrompts:
    """The prompts of a file, with their grades, if there are any."""

    file: str
    prompts: tuple[Prompt, ...]
    graded: GradedFile | None

    @property
    def texts(self) -> list[str]:
        return [prompt.text for prompt in self.prompts]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a file of prompts would have cost; USD with 95 % bootstrap intervals over prompts."""

    prompts: int
    threshold: float
    strong_share: float
    unfamiliar_share: float  # of prompts unlike any training prompt
    unknown_share: float  # of prompts that go to one model whatever the threshold, since their need is unknown
    checked_share: float  # of prompts whose weak answer the gate looks at
    extra_samples: float  # of the weak model a prompt: expected, or as sampled where the headline is
    usd: tuple[float, float, float] | None  # expected, low, high; None when a price is unknown
    usd_weak: float | None  # always weak
    usd_strong: float | None  # always strong
    quality: tuple[float, float, float] | None  # routed, always weak, always strong; where prompts are graded
    headline: Headline
    unlabelled_share: float = 0.0  # of prompts nearest to one without a label; the score decides some of these
    guessed_share: float = 0.0  # of these those on which both models guess and that the score decides
    saved: tuple[float, float] | None = None  # ends of the interval of the headline's saving, as fractions
    unlike: str = ""  # how prompts unlike any training prompt go; empty where they are few
    cautions: tuple[str, ...] = ()  # what to be careful about with the router on these prompts, the gravest first
    kinds: tuple[str, ...] = ()  # how the prompts differ in kind from the training prompts
    gold_unused: str = ""  # what to do with gold answers of prompts that are not graded; empty without such

    @property
    def _guessed(self) -> str:
        if not self.guessed_share:
            return ""
        whose = "as they do on all of these" if self.guessed_share == 1 else f"as on {self.guessed_share:.0%} of these"
        return f"; where both models guess, {whose}, the score decides"

    @property
    def block(self) -> HeadlineBlock:
        """The result, what all the prompts would have cost, and what to be careful about."""
        notes = [("cost", self._cost), ("models alone", self._alone)]
        return self.headline.block(notes=notes, cautions=self.every_caution)

    @property
    def every_caution(self) -> tuple[str, ...]:
        """What to be careful about beside what the headline's own figures tell."""
        unpriced = [role for role, usd in (("weak", self.usd_weak), ("strong", self.usd_strong)) if usd is None]
        return tuple(filter(None, [*self.cautions, _price_advice(unpriced), self.gold_unused]))

    @property
    def lines(self) -> tuple[str, ...]:
        """The result as lines of text."""
        return self.block.lines

    @property
    def details(self) -> tuple[str, ...]:
        """What else is known of the prompts, as lines of text."""
        found = [f"{self.unfamiliar_share:.1%} of the prompts are unlike any training prompt"]
        if self.unlabelled_share:
            like = "resemble prompts that could not be labelled, or are in a language that was not learned"
            found.append(f"{self.unlabelled_share:.1%} {like}{self._guessed}")
        if self.checked_share:
            looks, how = "would look", " (estimated from drafts of training prompts)"
            if self.headline.gate == SAMPLED:
                looks, how = "looked", f" ({SAMPLED})"
            found.append(
                f"of {self.checked_share:.1%} the gate {looks} at the small model's answer, with "
                f"{self.extra_samples:.2f} extra samples per prompt{how}"
            )
        found += self.kinds
        if self.usd is not None:
            found.append(
                "a ledger of the same requests can differ: it counts the answers' real lengths, this expects them, "
                "without budgets, outages and conversations that stay with their model"
            )
        return tuple(found)

    @property
    def _cost(self) -> str:
        """What all the prompts would have cost; of the large model alone where the other's price is unknown."""
        whole = "for this prompt" if self.prompts == 1 else f"for all {self.prompts:,}"
        if self.usd is not None:
            mean, low, high = map(dollars, self.usd)
            saved = "" if self.saved is None else ", saving {} to {}".format(*map(percent, self.saved))
            return f"{mean} [{low}, {high}] {whole}{saved}"
        if self.usd_strong is None:
            return ""
        return f"about {dollars(self.strong_share * self.usd_strong)} {whole}, for the large model's part"

    @property
    def _alone(self) -> str:
        """What either model alone costs on all the prompts, and how good it is where they are graded."""
        sides = (("large", self.usd_strong, 2), ("small", self.usd_weak, 1))
        return ", ".join(
            f"{size} {', quality '.join(known)}"
            for size, usd, at in sides
            if (known := [*([dollars(usd)] if usd is not None else []), *self._quality_of(at)])
        )

    def _quality_of(self, model: int) -> list[str]:
        return [] if self.quality is None else [f"{self.quality[model]:.3f}"]


def replay(
    file: str | Path,
    *,
    router: str = "run/router",
    threshold: float | None = None,
    encoder: Encoder | None = None,
    method: object | None = None,
    allow_endpoints: Sequence[str] = (),
    progress: Progress = no_progress,
) -> Replayed:
    """Route a file of prompts (or graded prompts) as a saved router would. Raises InputError, ArtifactError.

    A gate counts as it is expected to decide; on graded test prompts of the router's own run as it decides on their
    sampled answers, as in `demur.evaluate`. The headline's notes say which.

    ``encoder``, ``method`` and ``allow_endpoints``: as `demur.Router.load` takes them.
    """
    check_number(threshold, "threshold")
    loaded = with_progress(
        Router.load(router, encoder=encoder, method=method, allow_endpoints=allow_endpoints), progress
    )
    asked = read_asked(file, Path(router))
    return replay_with(loaded, Path(router), asked, threshold=threshold, allow_endpoints=allow_endpoints)


def read_asked(file: str | Path, router: Path) -> AskedPrompts:
    """The prompts of a file, with the grades that it has of them, or that a router's run has. Raises InputError."""
    if Path(file).is_file() and _is_graded(Path(file)):
        graded = read_graded(file)
        return AskedPrompts(str(file), tuple(Prompt(text, text) for text in graded.prompts), graded)
    given = load_prompts(file)
    return AskedPrompts(str(file), tuple(given), _own_grades(router, [prompt.text for prompt in given]))


def replay_with(
    loaded: Router,
    router: Path,
    asked: AskedPrompts,
    *,
    threshold: float | None = None,
    looked: Looked | None = None,
    allow_endpoints: Sequence[str] = (),
) -> Replayed:
    """`replay` of prompts that were read, with a router that is ``loaded`` from the folder ``router``; ``looked``: at
    the prompts, where it has looked at them before."""
    prompt_router, graded, texts = loaded.prompt_router, asked.graded, asked.texts
    used = prompt_router.threshold if threshold is None else threshold
    looked = prompt_router.look_held_out(texts) if looked is None else looked
    several = looked.values is not None  # models: grades are of two alone
    usd = (graded.usd if graded and not several else None) or expected_costs(loaded, texts, looked.like)
    priced = not (graded and graded.usd)  # by what is expected, not by what was measured
    sampled = _on_own_samples(loaded, router, graded, looked, threshold, allow_endpoints) if graded else None
    use, line = sampled or (
        expected_use(loaded, looked, used),
        (None if graded else measured_headline(loaded, router, texts, threshold))
        or headline(
            *(loaded, looked, texts),
            on=which_prompts(texts, prompt_router, graded=graded is not None),
            threshold=threshold,
            quality=graded.means if graded else None,
            usd=usd,
        ),
    )
    strong = use.strong.mean(axis=1)  # how likely each goes to the strong model
    cost = None if usd[0] is None or usd[1] is None else use.cost(usd[0], usd[1])
    if looked.values is not None:
        settled = prompt_router.unknown_setting.settled_rows(looked.untold)
        at = tier_choices(prompt_router, looked.values, used, settled)
        strong, cost = at == tiers_of(prompt_router).last, take_chosen(tier_usd(prompt_router, texts, looked.like), at)
    return Replayed(
        prompts=len(texts),
        threshold=used,
        strong_share=float(strong.mean()),
        unfamiliar_share=1.0 - float(np.mean(looked.familiar)),
        unknown_share=float(np.mean(prompt_router.unknown_setting.settled_rows(looked.untold))),
        unlabelled_share=float(np.mean(looked.unknown)),
        guessed_share=_guessed_share(prompt_router, looked),
        checked_share=float(use.checked.mean()),
        extra_samples=float(use.extra.mean()),
        usd=None if cost is None else _with_interval(cost),
        saved=None if cost is None or usd[1] is None else saved_interval(cost, usd[1]),
        usd_weak=None if usd[0] is None else float(usd[0].sum()),
        usd_strong=None if usd[1] is None else float(usd[1].sum()),
        quality=_mean_quality(line, graded) if graded and not several else None,
        headline=line,
        unlike=unlike_setting_note(prompt_router, looked),
        cautions=cautions_of(loaded, looked, threshold=threshold, folder=run_folder_of(router), priced=priced),
        kinds=new_kinds_notes(loaded, asked.prompts, priced=priced),
        gold_unused="" if graded or _are_of_run(asked.file, router) else _gold_unused(asked),
    )


def _own_grades(router: Path, texts: Sequence[str]) -> GradedFile | None:
    """The rows of `demur evaluate` for test prompts of the router's own run; None where others are among them."""
    known = router.parent / GRADED_FILE
    if router.name != ROUTER or not known.is_file():
        return None
    found = read_graded(known)
    at = {text: i for i, text in enumerate(found.prompts)}
    return found.take([at[text] for text in texts]) if set(texts) <= at.keys() else None


def _on_own_samples(
    router: Router,
    folder: Path,
    graded: GradedFile,
    looked: Looked,
    threshold: float | None,
    allow_endpoints: Sequence[str],
) -> tuple[Use, Headline] | None:
    """What the gate of the router in ``folder`` does with the sampled answers of its run's test prompts.

    None without a gate; where a prompt is not one of those, or has not the grades of the run's samples by its gold
    answers; and where the run's prompts or samples cannot be read.
    """
    if router.serving_gate is None or looked.values is not None or not (folder.parent / RUN_RECORD).is_file():
        return None
    try:
        with open_run(load_run(folder.parent), allow_endpoints=allow_endpoints) as run:
            if folder.resolve() != run.config.served_router.resolve():
                return None
            test = _own_test_set(run, graded)
            if test is None:
                return None
            answers = sampled_answers(router, looked, test, run.meanings if trained_on_meanings(run, router) else None)
            return served_on_samples(router, looked, test, answers, threshold)
    except (ArtifactError, InputError, StoreError):
        return None


def _own_test_set(run: Run, graded: GradedFile) -> TestSet | None:
    """Graded prompts with the run's samples of them; None where these are not what was graded."""
    there = {prompt.text: prompt for prompt in run.complete(run.held_back)}
    if not set(graded.prompts) <= there.keys():
        return None
    prompts, samples = [there[text] for text in graded.prompts], run.samples
    found = grade_test_set(prompts, samples.weak, samples.strong, (run.pair.weak.price, run.pair.strong.price))
    same = np.allclose(graded.means, (found.weak_quality, found.strong_quality))
    return found if same else None


def _mean_quality(line: Headline, graded: GradedFile) -> tuple[float, float, float] | None:
    """Routed, always weak and always strong."""
    weak, strong = graded.means
    return None if line.quality is None else (line.quality[0], float(weak.mean()), float(strong.mean()))


def _guessed_share(router: PromptRouter, looked: Looked) -> float:
    """Of the unknown prompts those whose score decides although all are not left to it: both models guess on them."""
    left = looked.unknown & ~router.unknown_setting.settled_rows(looked.untold)
    everything = router.on_unknown == "score"
    return 0.0 if everything or not looked.unknown.any() else float(left.sum() / looked.unknown.sum())


def with_progress(router: Router, progress: Progress) -> Router:
    """A router that decides alike, and tells how many of many prompts it has embedded."""
    first = router.prompt_router
    return replace(router, prompt_router=replace(first, encoder=WatchedEncoder(first.encoder, progress)))


def _are_of_run(file: str, router: Path) -> bool:
    """Whether a file is the prompts of the router's own run, whose gold answers `demur evaluate` measures by."""
    config = config_of(router.parent) if router.name == ROUTER else None
    return config is not None and is_same_path(config.prompts, file)


def _price_advice(unpriced: Sequence[Role]) -> str:
    """Of which models no price is known, and how it is given; empty where all are known."""
    if not unpriced:
        return ""
    sizes = " and the ".join(SIZES[role] for role in unpriced)
    options = " ".join(f"--{role}-usd IN/OUT" for role in unpriced)
    return f"No price of the {sizes} model is known: `demur sample` again with `{options}`, then `demur train`"


def _gold_unused(asked: AskedPrompts) -> str:
    """What a replay does not measure: the gold answers of a file's prompts that are not graded."""
    gold = sum(bool(prompt.answers) for prompt in asked.prompts)
    if not gold:
        return ""
    have = "has" if gold == 1 else "have"
    return (
        f"{gold:,} of these prompts {have} gold answers, which are not used, because no answer is graded. To measure: "
        f"`demur sample {quote(asked.file)} --n 2 --run unseen` with both models, `demur grade --run unseen --gold`, "
        "`demur replay unseen/grades.jsonl`"
    )


def _is_graded(path: Path) -> bool:
    first = next(iter(read_rows(path)), None)
    if first is None:
        raise InputError(f"{path}: no prompts in it")
    return all(field in first[1] for field in FIELDS)


def saved_interval(usd: FloatArray, usd_strong: FloatArray) -> tuple[float, float] | None:
    """Ends of the interval of the fraction that is saved, over prompts: (n,) USD as routed and of always-strong.

    None where it says nothing: of one prompt, or of prompts that cost nothing.
    """
    if len(usd) < 2 or not usd_strong.all():
        return None
    rows = np.column_stack([usd, usd_strong])[np.lexsort((usd, usd_strong))]
    return interval(rows, lambda drawn: 1 - float(drawn[:, 0].sum() / drawn[:, 1].sum()))


def _with_interval(usd: FloatArray) -> tuple[float, float, float]:
    mean, low, high = mean_interval(usd)
    return len(usd) * mean, len(usd) * low, len(usd) * high

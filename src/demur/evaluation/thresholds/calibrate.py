"""`demur calibrate`: set a saved router's threshold on one's own prompts, by share, by budget, or with a guarantee.

It connects a router, prompts, and the rules of `demur.measure.threshold` and `demur.measure.certificate`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from demur.errors import InputError
from demur.evaluation.graded_file import NEAR, GradedFile, new_rows, read_graded, refuse_training_prompts
from demur.evaluation.replay import read_asked, replay, replay_with, with_progress
from demur.evaluation.report.headline_record import Headline, HeadlineBlock
from demur.evaluation.thresholds.criterion import Criterion, check_criterion
from demur.evaluation.thresholds.measured_quality import wish_note
from demur.evaluation.thresholds.promises import keep_promise, promise_number
from demur.evaluation.tiers import calibrate_tiers
from demur.files import write_whole
from demur.gate.quality.believed_quality import believed_where_judged, check_belief, judged_prompts
from demur.gate.quality.two_stages import StagedScores
from demur.gate.router import Router
from demur.gate.shares import as_served, calibration_of_share
from demur.labels.beliefs.unknown import SETTING
from demur.limits import from_mapping
from demur.measure.certificate import Loss, certify, confidence_of, fixed_thresholds, prompts_needed
from demur.measure.threshold import (
    Calibration,
    threshold_for_quality,
    threshold_for_usd,
    threshold_from_certificate,
)
from demur.methods.estimator import unit_rows
from demur.models.images.joined_encoder import embed
from demur.records import BoolArray, Encoder, FloatArray, Progress, content_hash, count_of, no_progress
from demur.routing.artifact import CERTIFICATE, save_calibration, weights_hash
from demur.routing.known.known_prompts import Looked
from demur.routing.prompt_router import PromptRouter
from demur.routing.verdict import check_learned
from demur.runs.lineage import keep_headline, keep_wish

log = logging.getLogger("demur.calibrate")


def calibrate(
    prompts: str | Path,
    *,
    router: str = "run/router",
    strong_share: float | None = None,
    usd_per_1k: float | None = None,
    keep_quality: float | None = None,
    risk: float | None = None,
    confidence: float = 0.95,
    loss: Loss = "missed",
    allow_endpoints: Sequence[str] = (),
    encoder: Encoder | None = None,
    method: object | None = None,
    anyway: bool = False,
    dry_run: bool = False,
    progress: Progress = no_progress,
) -> Calibration:
    """Set a saved router's threshold on your own prompts, by one of four criteria; see `calibrate_and_measure`."""
    given = {"strong_share": strong_share, "usd_per_1k": usd_per_1k, "keep_quality": keep_quality, "risk": risk}
    criterion = from_mapping(Criterion, {**given, "confidence": confidence, "loss": loss}, where="calibrate")
    found, _, block = calibrate_and_measure(
        *(prompts, criterion),
        router=router,
        allow_endpoints=allow_endpoints,
        encoder=encoder,
        method=method,
        anyway=anyway,
        dry_run=dry_run,
        progress=progress,
    )
    for caution in block.cautions:
        log.warning("%s", caution)
    return found


def calibrate_and_measure(
    prompts: str | Path,
    criterion: Criterion,
    *,
    router: str = "run/router",
    allow_endpoints: Sequence[str] = (),
    encoder: Encoder | None = None,
    method: object | None = None,
    anyway: bool = False,
    dry_run: bool = False,
    progress: Progress = no_progress,
) -> tuple[Calibration, Headline, HeadlineBlock]:
    """Set a saved router's threshold on your own prompts; returns it, and what it does on the same prompts, as
    figures and as it is shown.

    ``strong_share`` (.3 if none is given) and ``usd_per_1k`` need no labels; ``keep_quality``, a fraction of
    the strong model's, is estimated without labels from the strong model's samples, without a guarantee. ``risk`` needs
    graded prompts (see `demur.evaluation.graded_file`), writes certificate.json beside the router, holds for the
    router without its gate, and raises InputError where no guarantee can be given. ``encoder``, ``method`` and
    ``allow_endpoints``: as `demur.Router.load` takes them.

    What it does is what `demur.replay` says of the same prompts: it is measured where these are graded, or are those
    that the run's router was to learn from and enough of them are graded; the threshold itself is set without grades.

    Unknown prompts count as where the router sends them. A router not shown to beat random is refused
    unless ``anyway``. A ``dry_run`` does not save the threshold; with ``risk`` it is refused, since each look at graded
    prompts counts as a promise. Quality is not estimated where too few prompts could be labelled, or the strong model
    does not agree with itself.
    """
    check_criterion(criterion)
    loaded = Router.load(router, encoder=encoder, method=method, allow_endpoints=allow_endpoints)
    loaded = with_progress(loaded, progress)
    prompt_router = loaded.prompt_router
    if criterion.risk is not None:
        check_promise(prompt_router)
        given = read_graded(prompts)  # before a dry run is refused: where nothing is graded, that is what is missing
        if dry_run:
            raise InputError(
                "each look at graded prompts counts as a promise, and so would a dry run; leave out --dry-run"
            )
        found = _certify(prompt_router, Path(router), given, criterion.risk, criterion.confidence, criterion.loss)
        _keep_wish(Path(router), prompts, criterion)
        again = replay(
            prompts,
            router=router,
            encoder=encoder,
            method=method,
            allow_endpoints=allow_endpoints,
            progress=progress,
        )
        _keep_headline(Path(router), again.block)
        return found, again.headline, again.block
    check_learned(prompt_router.record, router, anyway=anyway)
    asked = read_asked(prompts, Path(router))
    looked = prompt_router.look_held_out(asked.texts)
    found = _set_threshold(_score_prompts(loaded, asked.texts, looked), criterion, router)
    calibrated = replace(loaded, prompt_router=replace(prompt_router, calibration=found))
    again = replay_with(calibrated, Path(router), asked, looked=looked, allow_endpoints=allow_endpoints)
    line, keep = again.headline, criterion.keep_quality
    wish = wish_note(line, keep, Path(router)) if keep else ""
    block = line.block(cautions=(wish, *again.every_caution))
    if not dry_run:
        save_calibration(Path(router), found)
        _keep_wish(Path(router), prompts, criterion)
        _keep_headline(Path(router), block)
    return found, line, block


def check_promise(router: PromptRouter) -> None:
    """Raise InputError where no promise of risk can be given: for a router of several models."""
    if router.tiers is not None:
        raise InputError(
            "a promise of risk compares two models, and this router chooses among several; ask for a share, a budget "
            "or a quality"
        )


@dataclass(frozen=True)
class _ScoredPrompts:
    """A router's prompts, as it scores them."""

    router: Router
    texts: Sequence[str]
    looked: Looked
    staged: StagedScores
    told: BoolArray  # (n,) where the score decides, and not the setting for unknown prompts
    on: str

    @property
    def beside(self) -> tuple[int, int]:
        """How many prompts go to the strong and to the weak model whatever their score."""
        _, strong, weak = self.router.prompt_router.unknown_setting.count_sides(self.looked.untold)
        return strong, weak


def _score_prompts(router: Router, texts: Sequence[str], looked: Looked) -> _ScoredPrompts:
    gate = router.active_gate
    told = ~router.prompt_router.unknown_setting.settled_rows(looked.untold)
    on = "your prompts" if gate is None else "your prompts, as the gate is expected to decide"
    return _ScoredPrompts(router, texts, looked, router.expected_scores(looked.scores, gate), told, on)


def _set_threshold(scored: _ScoredPrompts, criterion: Criterion, router: str) -> Calibration:
    """The threshold of a share, a budget or a quality; ``router`` is where it is saved, for errors."""
    if criterion.keep_quality is not None:
        check_belief(scored.router, scored.looked)
    if scored.looked.values is not None and (criterion.usd_per_1k is not None or criterion.keep_quality is not None):
        return calibrate_tiers(
            *(scored.router.prompt_router, scored.texts, scored.looked.values, ~scored.told),
            like=scored.looked.like,
            usd_per_1k=criterion.usd_per_1k,
            keep_quality=criterion.keep_quality,
        ).beside(*scored.beside)
    if criterion.usd_per_1k is not None:
        found = _for_usd(scored, criterion.usd_per_1k, router)
    elif criterion.keep_quality is not None:
        found = _for_quality(scored, criterion.keep_quality)
    else:
        found = calibration_of_share(scored.router, criterion.share, scored.looked, scored.staged, on=scored.on)
        return replace(found, asked=f"{found.asked}{_out_of_reach(scored, criterion.share)}")
    return as_served(scored.router, scored.looked, scored.staged, found.beside(*scored.beside))


def _out_of_reach(scored: _ScoredPrompts, share: float) -> str:
    """That no threshold gives a share, because some prompts' model does not depend on it; empty where one does."""
    strong, weak = scored.beside
    n = len(scored.texts)
    if strong / n <= share <= 1 - weak / n:
        return ""
    return f", which no threshold gives (`{SETTING}` changes that)"


def _for_usd(scored: _ScoredPrompts, budget: float, router: str) -> Calibration:
    costs = scored.router.prompt_router.expected_usd(scored.texts, scored.looked.like)
    if costs is None:
        raise InputError(f"{router}: a price is unknown; give it in the run file, or ask for strong_share")

    def usd_at(threshold: float) -> float:
        return float(scored.router.use(scored.staged, scored.looked, threshold).cost(*costs).mean())

    finals = _some(scored.staged.final, scored.told)
    strong = scored.beside[0]
    goes = count_of(strong, "unknown prompt goes", "unknown prompts go")
    why = f", because {goes} to the strong model (`{SETTING}` changes that)" if strong else ""
    return threshold_for_usd(finals, usd_at, budget, on=scored.on, why=why)


def _for_quality(scored: _ScoredPrompts, kept: float) -> Calibration:
    weak, strong = believed_where_judged(scored.router, scored.looked, scored.texts)
    judged = judged_prompts(scored.router, scored.looked)[scored.told]  # as in the headline
    estimates = weak[scored.told], strong[scored.told]
    return threshold_for_quality(scored.staged.final[scored.told], *estimates, kept, on=scored.on, judged=judged)


def _keep_wish(router: Path, prompts: str | Path, criterion: Criterion) -> None:
    """Keep what was wished for in the run that the router is of, if it is of one."""
    if router.name == "router":
        keep_wish(router.parent, str(prompts), criterion.options)


def _keep_headline(router: Path, block: HeadlineBlock) -> None:
    """Keep what the threshold does likewise."""
    if router.name == "router":
        keep_headline(router.parent, asdict(block))


def _some(scores: FloatArray, told: BoolArray) -> FloatArray:
    """The scores that have a say. Raises InputError where none has."""
    if not told.any():
        raise InputError(
            f"none of {count_of(len(told), 'prompt')} has a score that counts, because all resemble prompts that could "
            "not be labelled; no threshold has an effect on them: give other prompts"
        )
    return np.asarray(scores[told])


def _certify(
    router: PromptRouter, folder: Path, given: GradedFile, risk: float, confidence: float, loss: Loss
) -> Calibration:
    graded, vectors = _drop_seen_prompts(router, given.distinct)
    promise = {"router": weights_hash(folder), "risk": risk, "confidence": confidence, "loss": loss}
    number = promise_number(graded.prompts, promise, folder.parent)
    needed = prompts_needed(risk, confidence_of(number, confidence), loss)
    if needed is not None and len(graded.prompts) >= needed:  # fewer are refused without a look at them
        keep_promise(graded.prompts, promise, number, folder.parent)
    certificate = certify(
        router.score_vectors(vectors, graded.prompts),
        graded.weak_quality,
        graded.strong_quality,
        fixed_thresholds(router.training_scores),
        risk=risk,
        confidence=confidence,
        loss=loss,
        number=number,
    )
    found = threshold_from_certificate(certificate)
    save_calibration(folder, found)
    hashes = {"prompts_hash": content_hash(list(graded.prompts)), "router_hash": weights_hash(folder)}
    kept = asdict(certificate) | hashes | {"promise": certificate.sentence}
    write_whole(folder / CERTIFICATE, json.dumps(kept, indent=2, allow_nan=False) + "\n")
    return found


def _drop_seen_prompts(router: PromptRouter, graded: GradedFile) -> tuple[GradedFile, FloatArray]:
    """The graded prompts that the router has not seen, with their embeddings; near duplicates are left out, and said.

    Raises InputError for prompts that trained it, and where none is left.
    """
    refuse_training_prompts(graded.prompts, [one.prompt for one in router.training])
    vectors = embed(router.encoder, graded.prompts)
    rows = new_rows(unit_rows(vectors), router.vectors)
    left_out = len(graded.prompts) - len(rows)
    if not rows:
        raise InputError(
            f"all {left_out} graded prompts are near duplicates (cosine above {NEAR:g}) of training prompts or of each "
            "other; a certificate needs prompts that the router has not seen"
        )
    if left_out:
        log.warning(
            "%d of %d graded prompts are left out: near duplicates (cosine above %g) of training prompts or each other",
            *(left_out, len(graded.prompts), NEAR),
        )
    return graded.take(rows), vectors[rows]

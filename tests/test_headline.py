"""The headline: what a router does at its threshold, the same wherever it is printed, with gold answers or without."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from typer.testing import CliRunner

import demur
from demur.cli.main import app
from demur.config import load_run
from demur.config.named_run import of_router
from demur.errors import InputError
from demur.evaluation.evaluate_run import evaluate_by_gold
from demur.evaluation.graded_file import read_graded
from demur.evaluation.grades import grade_by_gold, grade_more, open_grading, read_grades
from demur.evaluation.held_out import evaluate_held_out
from demur.evaluation.report.cautions import kept_headline, unknown_setting_note
from demur.evaluation.report.figures import curve_figure
from demur.evaluation.report.headline import headline, learned_prompts, sampled_headline, training_headline
from demur.evaluation.report.headline_record import EXPECTED, SAMPLED, Headline, HeadlineBlock
from demur.evaluation.report.page import page
from demur.evaluation.report.tables import choice_rows
from demur.evaluation.report.which_prompts import TRAINING
from demur.evaluation.results import payback, usd_at_share
from demur.evaluation.signals import signals
from demur.evaluation.thresholds.calibrate import calibrate_and_measure
from demur.evaluation.thresholds.criterion import Criterion
from demur.evaluation.thresholds.share_figures import figures_at
from demur.gate.explanation import CHANCE
from demur.gate.quality.two_stages import Use
from demur.gate.router import Router
from demur.gate.shares import calibration_of_share
from demur.labels.beliefs.unknown import NONE_EQUAL
from demur.measure.threshold import LEAST, Calibration, KeptPoint, threshold_for_quality, threshold_for_share
from demur.methods import SimilarityWeighted
from demur.models.encoders.encoder import LetterEncoder
from demur.prompts import load_prompts
from demur.records import OnUnknown, percent
from demur.routing.known.known_prompts import Looked
from demur.routing.prompt_router import TrainingPrompt
from demur.routing.train import train_router
from demur.runs import run as opened
from demur.runs.lineage import GRADES_FILE, least_share_of
from pairs import Answerer, Pair, running_pair, strong, weak, write_questions

RUNNER = CliRunner()
SAID = Headline(0.5, True, 86, "test prompts", 0.31, (0.812, 0.741, 0.868), 0.899, False, 0.0704, 0.22, 0.06)


@pytest.mark.parametrize(
    ("labelling", "usd", "usd_strong", "said"),
    [
        # .22 - .07 is .15 per 1,000: two dollars are back after 13,333.3 calls
        (
            2.0,
            0.07,
            0.22,
            "cost $0.07 as served instead of $0.22, $0.15 less, so it is earned back after 13,334 calls",
        ),
        (2.0, 0.22, 0.22, "never: 1,000 calls cost $0.22 as served and $0.22 always-strong"),
        (None, 0.07, 0.22, "a price is unknown"),
        (2.0, None, 0.22, "a price is unknown"),
        (2.0, None, None, "a price is unknown"),
    ],
)
def test_labelling_is_earned_back_by_the_headlines_own_figures(
    labelling: float | None, usd: float | None, usd_strong: float | None, said: str
) -> None:
    assert said in payback(labelling, replace(SAID, usd=usd, usd_strong=usd_strong))


@pytest.fixture(autouse=True)
def letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """No encoder is fetched: prompts are embedded by their letters."""
    monkeypatch.setattr(opened, "load_encoder", lambda spec, progress: LetterEncoder())
    monkeypatch.setattr("demur.routing.restoring.load_encoder", lambda spec: LetterEncoder(), raising=False)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with running_pair() as found:
        yield found


def trained(tmp_path: Path, pair: Pair, *, gold: bool) -> str:
    prompts = write_questions(tmp_path / "prompts.jsonl", gold=gold)
    run = str(tmp_path / "run")
    demur.sample(prompts, **pair.names, run=run, n=4, weak_usd="0", strong_usd="10/10")
    demur.label(run=run, entailment="exact")
    demur.train(run=run, methods=("logistic", "sw"), serve="logistic")
    return run


def test_the_headline_in_words() -> None:
    """Nothing but the result, in one line; what it rests on stands below it."""
    assert SAID.sentence == (
        "At this threshold 69% of calls stay local, quality .81 [.74, .87] of .90 always-strong, $0.0704 instead of "
        "$0.22 per 1,000 (saves 68%)"
    )
    assert dict(SAID.notes) == {"measured on": "86 test prompts", "kept": "90% of the large model's quality"}


def test_a_block_is_the_result_then_facts_in_columns_then_cautions() -> None:
    block = replace(SAID, by_setting=0.25, believed=True).block(notes=[("gate", "")], cautions=["", "take care: `x`"])
    first, *notes, last = block.lines
    assert first == replace(SAID, believed=True).sentence
    assert [line[2:15].rstrip() for line in notes] == ["measured on", "quality", "kept", "unknown"]
    assert {line[:2] for line in notes} == {"  "}
    assert last == "- take care: `x`"
    assert HeadlineBlock.from_record(json.loads(json.dumps(asdict(block)))) == block
    assert HeadlineBlock.from_record({}) is None


def test_a_caution_that_is_too_long_for_a_line_is_broken_between_sentences() -> None:
    """Inside of one a command would be cut, which could then not be copied."""
    first, command, last = f"{'Long ' * 19}first.", f"Then `demur {'x' * 60} --option 3.5 Value`.", "Short."
    assert HeadlineBlock("", cautions=(f"{first} {command} {last}",)).lines[1:] == (
        *(f"- {first}", f"  {command} {last}"),
    )
    assert HeadlineBlock("", cautions=("One. Two.",)).lines[1:] == ("- One. Two.",)


WIDEST = 110  # columns


def test_no_note_is_wide_or_has_more_than_two_parts() -> None:
    """The longest ones that there are: figures of all digits, and every part that a note can have."""
    worst = replace(
        SAID, prompts=123_456, on=TRAINING, believed=True, judged=98_765, local_unjudged=0.5, by_setting=0.25,
        gate=EXPECTED, set_for="a strong share of 79%", quality=(0.18, 0.1, 0.2), kept=KeptPoint(0.9, 0.95, 0.1),
    )  # fmt: skip
    graded = replace(worst, gate=SAMPLED, by_grades=True, judged=987, judged_share=0.3)
    for said in (worst, replace(worst, forecast=True), graded, replace(graded, weighed=123)):
        notes = said.block().lines[1:]
        assert max(map(len, notes)) <= WIDEST, max(notes, key=len)
        assert max(note.count(";") for note in notes) <= 1


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"calibrated": False}, "At the threshold before calibration 69%"),
        ({"believed": True}, r", believed quality .81 \[.74, .87\] of .90"),
        ({"believed": True, "forecast": True}, r", forecast quality .81 \[.74, .87\] of .90"),
        ({"quality": None}, r"quality not known, \$0.0704 "),
        ({"usd": 0.275}, r"\$0.275 instead of \$0.22 per 1,000 \(costs 25% more\)"),
        ({"usd": 0.0, "usd_strong": 0.0}, r"\$0 per 1,000"),
        (
            {"usd": None, "unpriced": ("small",)},
            r"\$0.06 for the strong model instead of \$0.22 per 1,000 \(no price of small is known\)",
        ),
        ({"usd": None, "usd_strong": None, "unpriced": ("large",)}, "cost unknown: no price of large is known"),
    ],
)
def test_what_is_not_known_is_said(changed: dict[str, object], says: str) -> None:
    assert re.search(says, replace(SAID, **changed).sentence)  # type: ignore[arg-type]  # each of its field's type


@pytest.mark.parametrize(
    ("changed", "name", "says"),
    [
        ({"gate": "as expected"}, "gate", "expected to decide, before any answer is seen"),
        ({"believed": True, "judged": 60}, "quality", "believed, .*; of the 70% of the prompts that could be judged$"),
        ({"believed": True, "forecast": True}, "quality", "from the scores alone"),
        ({"quality": None, "quality_unknown": "too few are judged"}, "quality", "not known: too few are judged$"),
        ({"by_setting": 0.25}, "unknown", "25% of the prompts go to the large model whatever the threshold"),
        ({"by_setting": 0.25, "setting": "weak"}, "unknown", "to the small model"),
        ({"set_for": "a strong share of 31%"}, "threshold", r"0\.5000, for a strong share of 31%$"),
        ({"prompts": 1}, "measured on", "^1 test prompt$"),
    ],
)
def test_what_a_result_rests_on_is_said_below_it(changed: dict[str, object], name: str, says: str) -> None:
    said = replace(SAID, **changed)  # type: ignore[arg-type]  # each of its field's type
    assert re.search(says, dict(said.notes)[name])
    assert said.sentence.endswith("(saves 68%)")


def test_a_private_address_counts_as_free_with_a_caution() -> None:
    said = replace(SAID, usd=0.0, usd_strong=0.0, strong_private=True)
    assert said.sentence.endswith("$0 per 1,000")
    (caution,) = said.cautions
    assert "--strong-usd IN/OUT" in caution
    assert replace(SAID, strong_private=True).cautions == ()


@pytest.mark.parametrize(
    ("kept", "says"),
    [
        (KeptPoint(0.9, 0.952, 0.08), ["a strong share of 90% keeps 95% (believed) and saves 8% of its cost"]),
        (KeptPoint(0.9, 0.95, -0.03), ["a strong share of 90% keeps 95% (believed) and costs 3% more"]),
        (KeptPoint(0.9, 0.97, None), ["a strong share of 90% keeps 97% (believed)", LEAST]),
        ((), ["no threshold does so on these prompts"]),
        (None, []),
    ],
)
def test_a_high_price_in_quality_is_said_in_words(kept: KeptPoint | tuple[()] | None, says: list[str]) -> None:
    """.18 of .35 is 51 %. Before a threshold is set, the next command names the share that keeps more."""
    said = replace(SAID, quality=(0.18, 0.15, 0.21), strong_quality=0.35, kept=kept, believed=True)
    assert dict(said.notes)["kept"] == "51% of the large model's quality"
    assert [fact for name, fact in said.notes if name in ("to keep 95%", "")] == says
    assert not any("to keep" in one for one, _ in replace(said, calibrated=False).notes)


@pytest.mark.parametrize(("of", "graded"), [({"by_grades": True, "judged": 100}, "100"), ({}, "86")])
def test_a_share_found_by_grades_is_said_to_keep_less_elsewhere(of: dict[str, Any], graded: str) -> None:
    """By 100 grades the threshold that seems to keep .95 keeps .90 to .95 of other prompts' quality."""
    said = replace(SAID, quality=(0.18, 0.15, 0.21), strong_quality=0.35, kept=KeptPoint(0.9, 0.95, 0.08), **of)
    told = f"keeps 95% by {graded} graded prompts and saves 8% of its cost; on other prompts it likely keeps less"
    assert dict(said.notes)["to keep 95%"] == f"a strong share of 90% {told}"


def test_the_commands_of_a_caution_name_their_router(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = (("threshold", "none gives that (`demur train --unknown` changes it)"),)
    block = HeadlineBlock("x", cautions=("See `demur report`", "Set it: `demur calibrate`"))
    told = replace(block, notes=notes).of_router(Path("mine/router"))
    assert dict(told.notes)["threshold"] == "none gives that (`demur train --unknown --run mine` changes it)"
    of_run = block.of_router(Path("a b/router"))
    assert of_run.lines[1:] == ("- See `demur report --run 'a b'`", "- Set it: `demur calibrate --run 'a b'`")
    assert block.of_router(Path("run/router")) == block
    monkeypatch.chdir(tmp_path)
    Path("alone").mkdir()
    alone = ("- See `demur report --run ITS_RUN`", "- Set it: `demur calibrate --router alone`")
    assert block.of_router(Path("alone")).lines[1:] == alone
    said = "none here: `demur train`, `demur replay x --router no`"
    assert of_router("none here: `demur train`, `demur replay x`", Path("no")) == said


def test_a_loss_that_is_rounded_to_nothing_has_no_sign() -> None:
    assert [percent(one) for one in (-0.004, 0.004, -0.006, 0.5)] == ["0%", "0%", "-1%", "50%"]
    little = replace(SAID, usd=0.2207, usd_strong=0.22)
    assert little.sentence.endswith("(saves 0%)")
    assert "adds" not in little.brief


def test_where_little_is_given_up_what_is_kept_is_said_and_nothing_else() -> None:
    """.264 of .276 is 96 %, though .26 of .28 looks like 93 %; a share that keeps more is proposed below 90 % alone."""
    kept = KeptPoint(0.5, 0.95, 0.4)
    served = replace(SAID, quality=(0.264, 0.23, 0.3), strong_quality=0.276, kept=kept)
    assert ".26 [.23, .30] of .28 always-strong" in served.sentence
    assert dict(served.notes) == {"measured on": "86 test prompts", "kept": "96% of the large model's quality"}
    assert "kept" not in dict(replace(served, quality=None, strong_quality=None).notes)
    assert replace(served, quality=(0.24, 0.2, 0.3)).enough == kept
    assert served.enough is None


def test_what_keeping_the_quality_leaves_local(tmp_path: Path, pair: Pair) -> None:
    """Half the prompts need the strong model, and are told apart: for 95 % of quality 1 at most .05 n of them stay."""
    run = trained(tmp_path, pair, gold=True)
    texts = [json.loads(line)["prompt"] for line in (tmp_path / "prompts.jsonl").read_text().splitlines()]
    router = Router.load(f"{run}/router")
    looked = router.prompt_router.look_held_out(texts)
    sums = np.array(["plus" in text for text in texts])
    quality = (1.0 - sums, np.ones(len(texts)))
    costs = (np.zeros(len(texts)), np.ones(len(texts)))
    said = headline(router, looked, texts, on="prompts", threshold=2.0, quality=quality, usd=costs)
    assert said.quality
    assert said.quality[0] == pytest.approx(1 - sums.mean())
    order = np.argsort(-looked.scores, kind="stable")
    missed = np.cumsum(sums[order])[-1] - np.cumsum(sums[order])  # by how many go to the strong model
    least = int(np.flatnonzero(missed <= 0.05 * len(texts))[0]) + 1
    assert said.kept
    assert said.kept.strong_share == pytest.approx(least / len(texts), abs=0.02)
    assert said.kept.saved == pytest.approx(1 - said.kept.share, abs=0.02)  # the weak model is free


def test_the_share_that_keeps_most_quality_is_the_one_that_calibrate_would_set() -> None:
    """Of 300 prompts with rising scores the weak model fails on the last 31: .95 of always-strong allows 15 misses, a
    fifth of the gain six. So 25 go to the strong model, which is 8.3 %: a share is asked for in whole hundredths, and
    9 % are 27. Then four are missed, and at prices of 0 and 1 273 of 300 are saved.
    """
    rows = [TrainingPrompt(text, float("z" in text), 1.0, 0.0) for text in ("zz z", "aa a", "za z", "a aa") * 2]
    prompts = train_router(LetterEncoder(), SimilarityWeighted(), rows, weak="small", strong="large")
    n, looked = 300, Looked(np.arange(300) / 300, np.ones(300, dtype=bool), [""] * 300)
    quality = (np.arange(n) < n - 31).astype(float), np.ones(n)
    texts, usd = [f"new {i}" for i in range(n)], (np.zeros(n), np.ones(n))
    said = headline(Router(prompts), looked, texts, on="prompts", threshold=2.0, quality=quality, usd=usd)
    assert said.kept
    found = said.kept.strong_share, said.kept.kept, said.kept.saved
    assert found == pytest.approx((25 / 300, 296 / 300, 273 / 300))
    told = "a strong share of 9% keeps 99% by 300 graded prompts and saves 91% of its cost"
    assert next(fact for name, fact in said.notes if name == "to keep 95%").startswith(told)
    again = threshold_for_quality(looked.scores, *quality, 294 / 300, on="prompts")
    assert again.strong_share == pytest.approx(25 / 300)
    assert threshold_for_share(looked.scores, said.kept.share).strong_share == pytest.approx(27 / 300)


def test_of_prompts_that_are_all_unknown_it_is_said_why_no_quality_is_known() -> None:
    """Nothing is the mean of none of them: numpy would warn of that, and a warning is an error here."""
    rows = [TrainingPrompt(text, float("z" in text), 1.0, 0.0) for text in ("zz z", "aa a", "za z", "a aa") * 2]
    router = Router(train_router(LetterEncoder(), SimilarityWeighted(), rows, weak="small", strong="large"))
    looked = Looked(np.arange(3) / 3, np.ones(3, dtype=bool), ["no two answers mean the same"] * 3)
    said = headline(router, looked, ["one", "two", "three"], on="prompts")
    assert said.judged_share is None
    why = "only 0% of these prompts can be judged by samples, and 50% are needed"
    assert "quality not known, " in said.sentence
    assert dict(said.notes)["quality"] == f"not known: {why}"


def test_evaluate_and_replay_say_the_same_of_the_same_prompts(tmp_path: Path, pair: Pair) -> None:
    run = trained(tmp_path, pair, gold=True)
    demur.calibrate(tmp_path / "prompts.jsonl", router=f"{run}/router", strong_share=0.4, anyway=True)
    found = demur.evaluate(run=run)
    again = demur.replay(f"{run}/graded.jsonl", router=f"{run}/router")
    assert replace(again.headline, on="") == replace(found.headline, on="")
    assert again.quality is not None
    assert again.quality[2] == pytest.approx(found.rows[0].curve.strong_quality)
    assert again.usd_strong is not None
    assert found.usd_alone[1] == pytest.approx(1000 * again.usd_strong / again.prompts)
    assert found.headline.usd_strong == pytest.approx(found.usd_alone[1])
    # Half the prompts are sums, which the weak model does not know; about .4 go to the strong one.
    assert found.headline.quality
    assert found.headline.quality[0] == pytest.approx(0.5 + found.headline.strong_share, abs=0.1)
    assert found.headline.sentence in page(found)


@pytest.mark.parametrize("of", ["graded", "gold", "plain"])
def test_calibrate_and_replay_say_the_same_of_prompts_that_have_not_trained_the_router(
    tmp_path: Path, pair: Pair, of: str
) -> None:
    """Of graded prompts calibrate forecast a quality that replay measured; of gold answers that are not used it was
    silent."""
    run = trained(tmp_path, pair, gold=True)
    demur.calibrate(tmp_path / "prompts.jsonl", router=f"{run}/router", strong_share=0.4, anyway=True)
    demur.evaluate(run=run)
    file = f"{run}/graded.jsonl" if of == "graded" else write_questions(tmp_path / "new.jsonl", gold=of == "gold")
    set_to = partial(calibrate_and_measure, file, Criterion(strong_share=0.6), router=f"{run}/router", anyway=True)
    _, tried, _ = set_to(dry_run=True)
    _, said, block = set_to()
    again = demur.replay(file, router=f"{run}/router")
    assert said == tried == again.headline
    assert block.cautions == again.block.cautions
    assert said.quality_name == ("quality" if of == "graded" else said.quality_name)
    assert any("gold answers, which are not used" in one for one in block.cautions) == (of == "gold")


@pytest.mark.parametrize("share", [0.2, 0.35, 0.6])
@pytest.mark.parametrize("gate", ["on", "off"])
def test_a_share_of_a_runs_own_prompts_gives_the_same_wherever_it_is_asked_for(
    tmp_path: Path, pair: Pair, share: float, gate: Literal["on", "off"]
) -> None:
    """The proposal, the run, calibrate, replay and the advised share: one threshold, share, quality and saving."""
    run = trained(tmp_path, pair, gold=False)
    demur.train(run=run, methods=("logistic",), gate=gate)
    folder = Path(run) / "router"
    router = Router.load(folder)
    assert bool(router.serving_gate) == (gate == "on")
    proposed = figures_at(router, folder, share)
    at = calibration_of_share(router, share)
    found, said, _ = calibrate_and_measure(
        tmp_path / "prompts.jsonl", Criterion(strong_share=share), router=str(folder), anyway=True
    )
    of_run = training_headline(router, at.threshold)
    again = demur.replay(tmp_path / "prompts.jsonl", router=str(folder))
    assert found.threshold == pytest.approx(at.threshold)
    shares = [at.strong_share, found.strong_share, *(one.strong_share for one in (proposed, said, of_run, again))]
    assert shares == pytest.approx([shares[0]] * 6)
    assert round(shares[0], 2) == pytest.approx(share, abs=0.02)
    lines = (said, of_run, again.headline)
    assert [one.quality[0] / one.strong_quality for one in lines] == pytest.approx([proposed.kept] * 3)  # type: ignore
    assert [one.saved for one in lines] == pytest.approx([proposed.saved] * 3)
    advised = of_run.kept
    assert advised
    assert [asdict(one.kept) for one in lines] == [pytest.approx(asdict(advised))] * 3  # type: ignore[arg-type]
    there = figures_at(router, folder, advised.share)
    assert (there.kept, there.saved) == pytest.approx((advised.kept, advised.saved))
    assert there.kept
    assert there.kept >= 0.95
    certified = Calibration(1.0, 0.0, 60, "risk 5.0% with 95% confidence (missed)", "graded prompts", gate=False)
    alone = replace(router, prompt_router=replace(router.prompt_router, calibration=certified))
    assert training_headline(alone).kept == advised  # another threshold brings the gate back


def test_with_a_gate_replay_counts_what_it_did_with_the_sampled_answers_of_the_runs_test_prompts(
    tmp_path: Path, pair: Pair
) -> None:
    """As evaluate does, with the same sentence; of others, or without the samples, what it is expected to do."""
    run = trained(tmp_path, pair, gold=True)
    demur.train(run=run, methods=("logistic",), gate="on")
    demur.calibrate(tmp_path / "prompts.jsonl", router=f"{run}/router", strong_share=0.4, anyway=True)
    by_router = partial(demur.replay, router=f"{run}/router")
    said, again = demur.evaluate(run=run).headline, by_router(f"{run}/graded.jsonl")
    assert said.gate == SAMPLED
    assert again.headline == said
    assert again.strong_share == said.strong_share
    assert again.usd and said.usd
    assert 1000 * again.usd[0] / again.prompts == pytest.approx(said.usd)
    assert again.quality and said.quality
    assert again.quality[::2] == pytest.approx((said.quality[0], said.strong_quality))
    assert any("looked at" in line and SAMPLED in line for line in again.details)

    graded = read_graded(f"{run}/graded.jsonl")
    test = write_rows(tmp_path / "test.jsonl", [{"prompt": text} for text in reversed(graded.prompts)])
    assert by_router(test).headline.sentence == said.sentence
    assert by_router(f"{run}/graded.jsonl", threshold=99.0).headline.strong_share == 0.0

    rows = [json.loads(line) for line in Path(f"{run}/graded.jsonl").read_text().splitlines()]
    other = write_rows(tmp_path / "other.jsonl", [*rows, rows[0] | {"prompt": "What is 5 plus 5?"}])
    changed = write_rows(tmp_path / "changed.jsonl", [rows[0] | {"strong_mean_quality": 0.5}, *rows[1:]])
    for file in (other, changed):
        assert by_router(file).headline.gate == EXPECTED
    shutil.copytree(f"{run}/router", tmp_path / "elsewhere" / "router")
    alone = demur.replay(f"{run}/graded.jsonl", router=str(tmp_path / "elsewhere" / "router"))
    assert alone.headline.gate == EXPECTED
    (tmp_path / "prompts.jsonl").unlink()
    assert by_router(f"{run}/graded.jsonl").headline == alone.headline


def write_rows(path: Path, rows: Iterable[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def open_ended(answers: Answerer, name: str) -> Answerer:
    """The same, but asked for a text another one each time: nothing tells which model is better."""
    return lambda prompt, seed: f"{name} {seed}" if prompt.startswith("Which text") else answers(prompt, seed)


def with_open_ended(tmp_path: Path, unknown: OnUnknown = "strong", count: int = 20) -> tuple[Path, str]:
    """60 questions, ``count`` more on which both models guess, and the folder of a run that is trained on them."""
    prompts = write_questions(tmp_path / "prompts.jsonl", gold=False)
    with prompts.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps({"prompt": f"Which text is {i}?"}) + "\n" for i in range(count))
    run = str(tmp_path / "run")
    with running_pair(answers=(open_ended(weak, "a"), open_ended(strong, "b"))) as other:
        demur.sample(prompts, **other.names, run=run, n=4, weak_usd="0", strong_usd="10/10")
    demur.label(run=run, entailment="exact")
    demur.train(run=run, methods=("logistic",), serve="logistic", unknown=unknown)
    return prompts, run


def test_calibrate_and_the_report_say_the_same_of_the_same_prompts(tmp_path: Path) -> None:
    prompts, run = with_open_ended(tmp_path)
    set_to = demur.calibrate(prompts, router=f"{run}/router", strong_share=0.5, anyway=True)
    said = demur.replay(prompts, router=f"{run}/router").headline
    with opened.open_run(load_run(run)) as found:
        evaluation = evaluate_held_out(found, graded=False)
    shown, curve = evaluation.headline, evaluation.rows[0].curve
    alone = usd_at_share(curve, 0.0), usd_at_share(curve, 1.0)  # one table counts the same 60 prompts in all its rows
    assert evaluation.usd_alone == pytest.approx(alone)
    assert said == shown
    assert (said.prompts, said.judged) == (80, 60)
    # The 20 texts go to the strong model, and so do half of all prompts, as was asked: 20 of the 60 others.
    assert said.strong_share == set_to.strong_share == pytest.approx(0.5)
    assert said.judged_share == pytest.approx(20 / 60)
    assert said.by_setting == 0.25
    notes = dict(said.notes)
    assert notes["measured on"] == "80 training prompts, each scored by a router that had not seen it"
    assert notes["unknown"].startswith("25% of the prompts go to the large model")
    assert notes["kept"] == "83% of the large model's quality"
    assert notes["quality"].endswith("of the 75% of the prompts that could be judged")
    assert notes["threshold"] == f"{set_to.threshold:.4f}, for a strong share of 50%"
    assert ", believed quality .83 [" in said.sentence
    # The report's other shares are those that calibrate gives: of all prompts, from the least that can be had.
    assert [round(one.strong_share, 2) for one in evaluation.choices] == [0.25, 0.3, 0.4, 0.5, 0.7, 1.0]
    served = next(one for one in evaluation.choices if round(one.strong_share, 2) == 0.5)
    assert said.quality is not None and said.strong_quality is not None
    assert served.kept == pytest.approx(said.quality[0] / said.strong_quality)
    assert served.saved == pytest.approx(said.saved)
    keeps = "this keeps 83% of the large model's quality on the 75% of the prompts that could be judged (believed)"
    assert keeps in said.brief


def test_what_the_setting_of_unknown_prompts_costs_is_said_and_a_share_below_them_is_not_promised(
    tmp_path: Path,
) -> None:
    """A quarter of the prompts always goes to the strong model: no threshold sends fewer there, and none costs less."""
    prompts, run = with_open_ended(tmp_path)
    assert least_share_of(Path(run)) == 0.25
    calibrate = partial(demur.calibrate, prompts, router=f"{run}/router", anyway=True, dry_run=True)
    low, reached = calibrate(strong_share=0.1), calibrate(strong_share=0.3)
    assert low.strong_share == 0.25
    assert low.asked == "strong share 10%, which no threshold gives (`demur train --unknown` changes that)"
    assert reached.asked == "strong share 30%"
    with pytest.raises(
        InputError, match=r"because 20 unknown prompts go to the strong model \(`demur train --unknown`"
    ):
        calibrate(usd_per_1k=0.0001)
    router = Router.load(f"{run}/router")
    note = unknown_setting_note(router)
    by_score = Router.load(f"{run}/router", unknown="strong-unless-guessed")
    kept = training_headline(by_score).kept
    assert kept
    assert f"a strong share of {kept.share:.0%} keeps {kept.kept:.0%} of its quality" in note
    assert note.endswith("`demur train --unknown strong-unless-guessed`")
    assert kept.strong_share < training_headline(router).kept.strong_share  # type: ignore[union-attr]
    assert unknown_setting_note(Router.load(f"{run}/router", unknown="weak")) == ""
    assert unknown_setting_note(by_score).endswith("`demur train --unknown strong`")


def test_prompts_on_which_both_models_guess_count_as_not_answered_where_the_score_decides(tmp_path: Path) -> None:
    """No answer agrees with another: on 20 of the 80 prompts neither model is believed to be right, on the others the
    strong one is."""
    _, run = with_open_ended(tmp_path)
    beside = training_headline(Router.load(f"{run}/router"))
    assert beside.judged == 60
    assert beside.strong_quality == pytest.approx(1.0)
    demur.train(run=run, unknown="score")
    said = training_headline(Router.load(f"{run}/router"))
    assert (said.prompts, said.judged, said.scope()) == (80, None, "")
    assert said.strong_quality == pytest.approx(0.75)
    assert said.quality_name == "believed quality"
    with opened.open_run(load_run(run)) as found:
        evaluation = evaluate_held_out(found, graded=False)
    assert (evaluation.n_test, evaluation.headline) == (80, said)
    assert "; 20 of them, on which both models guess, count as answered right by neither" in evaluation.findings[0]
    assert evaluation.rows[0].curve.strong_quality == pytest.approx(0.75)
    assert evaluation.rows[0].curve.weak_quality == pytest.approx(0.375, abs=0.02)


def test_questions_on_which_both_guess_count_as_judged_for_the_headline_and_for_calibration(tmp_path: Path) -> None:
    """60 of 140 prompts have a label. Of the others neither model is believed to be right where the score decides."""
    prompts, run = with_open_ended(tmp_path, "strong-unless-guessed", count=80)
    said = demur.replay(prompts, router=f"{run}/router").headline
    assert said.strong_quality == pytest.approx(60 / 140)
    assert said.judged is None
    keep = partial(demur.calibrate, prompts, router=f"{run}/router", keep_quality=0.95, anyway=True)
    keep()
    kept = demur.replay(prompts, router=f"{run}/router").headline
    assert kept.quality
    assert kept.quality[0] >= 0.95 * 60 / 140 - 1e-9
    demur.train(run=run, unknown="strong")
    said = demur.replay(prompts, router=f"{run}/router").headline
    assert "only 43% of these prompts can be judged by samples" in dict(said.notes)["quality"]
    with pytest.raises(InputError, match="only 43% of these prompts can be judged"):
        keep()


def test_how_many_of_the_calls_that_stay_local_could_not_be_judged() -> None:
    """Two of six prompts are texts whose answers all differ; by their scores they and two others stay local."""
    rows = [TrainingPrompt(text, float("z" in text), 1.0, 0.0) for text in ("zz z", "aa a", "za z", "a aa") * 2]
    first = train_router(LetterEncoder(), SimilarityWeighted(), rows, weak="small", strong="large", on_unknown="score")
    router = Router(first, beliefs=np.array([[0.5] * 8, [1.0] * 8]))
    looked = Looked(np.array([0.0, 0.1, 0.2, 0.3, 0.9, 1.0]), np.ones(6, dtype=bool), [NONE_EQUAL] * 2 + [""] * 4)
    said = headline(router, looked, [f"new {i}" for i in range(6)], on="prompts", threshold=0.5)
    assert said.local_unjudged == pytest.approx(0.5)
    quality = [fact for name, fact in said.notes if name == "quality"]
    assert quality[0].endswith("of the 67% of the prompts that could be judged")
    assert "50% of the calls that stay local" in quality[1]
    none_local = headline(router, looked, ["new"] * 6, on="prompts", threshold=-1.0)
    assert not any("stay local" in fact for _, fact in none_local.notes)


def test_a_replay_proposes_the_share_that_it_says_keeps_the_quality(tmp_path: Path) -> None:
    """It proposed only the share that was asked for before. The 20 texts are a quarter of the prompts; of a file in
    which they are a seventh, other shares go to the large model, and half of the calls are not enough."""
    prompts, run = with_open_ended(tmp_path)
    demur.calibrate(prompts, router=f"{run}/router", strong_share=0.5, anyway=True)
    other = tmp_path / "other.jsonl"
    other.write_text("".join(prompts.read_text().splitlines(keepends=True)[:70]))
    shown = RUNNER.invoke(app, ["replay", str(other), "--run", run], env={"COLUMNS": "400"}).output
    told = re.search(r"to keep 95%\s+a strong share of (\d+)% keeps (\d+)% ", shown)
    assert told, shown
    command = f"demur calibrate {other} --strong-share 0.{told[1]} --run {run}"
    found = re.search(rf"^or:   ({command}( --anyway)?)   \((.*)\)$", shown, re.M)
    assert found, shown
    assert found[3] == f"keeps {told[2]}% of the large model's quality on these prompts"
    assert RUNNER.invoke(app, [*found[1].split()[1:], "--anyway"]).exit_code == 0
    line = demur.replay(other, router=f"{run}/router").headline
    assert line.quality
    assert line.strong_quality
    assert line.quality[0] / line.strong_quality == pytest.approx(int(told[2]) / 100, abs=0.006)


def test_what_a_router_gains_over_random_is_said_of_the_prompts_that_it_was_measured_on(tmp_path: Path) -> None:
    """60 of 80 prompts have a label. Beside a quality that is of all prompts, or not known, it seemed to be of all."""
    _, run = with_open_ended(tmp_path)
    trained = kept_headline(Path(run))
    assert trained
    part = "right answers per 100 prompts, of the 60 of 80 with a label (held out, believed, mean over all shares)"
    assert dict(trained.notes)["over random"].endswith(part)
    with opened.open_run(load_run(run)) as there:
        found = dict(evaluate_held_out(there, graded=False).block.notes)["verdict"]
    assert found.endswith(
        "right answers per 100 prompts over random, of the 60 of 80 with a label (held out, believed)"
    )


def test_where_all_prompts_have_a_label_no_part_of_them_is_named(tmp_path: Path) -> None:
    _, run = with_open_ended(tmp_path, count=0)
    trained = kept_headline(Path(run))
    assert trained
    assert "100 prompts (held out, believed" in dict(trained.notes)["over random"]


def graded_run(tmp_path: Path, count: int, *, unknown: tuple[float, float] | None) -> Headline:
    """The headline by grades of ``count`` questions, and, where given, of the 20 prompts that cannot be labelled."""
    prompts, run = with_open_ended(tmp_path)
    demur.calibrate(prompts, router=f"{run}/router", strong_share=0.5, anyway=True)
    texts = [prompt.text for prompt in load_prompts(prompts)]
    rows = [(text, 0.0 if "plus" in text else 1.0, 1.0) for text in texts[:count]]
    rows += [(text, *unknown) for text in texts[60:]] if unknown else []
    with (Path(run) / GRADES_FILE).open("w", encoding="utf-8") as file:
        for text, small, large in rows:
            file.write(json.dumps({"prompt": text, "weak_quality": small, "strong_quality": large}) + "\n")
    return demur.evaluate(run=run).headline


def test_grades_are_asked_of_what_the_score_decides_and_the_line_says_of_which_part_they_are(tmp_path: Path) -> None:
    """A quarter of the prompts go to the strong model whatever their score: their grades say nothing about routing."""
    said = graded_run(tmp_path, 60, unknown=None)
    asked = RUNNER.invoke(app, ["grade", "--run", f"{tmp_path}/run", "--number", "62"], input="nq")
    assert "60 of them are of the 75% of the prompts that the score decides" in asked.output
    assert "1 of the other 25%, which have no label" in asked.output
    assert said.quality
    # Of the 60 that the score decides 20 go to the strong model, sums all of them: 10 of the 30 sums fail.
    assert said.quality[0] == pytest.approx(50 / 60)
    # Of the graded prompts 20 of 60 go to the strong model, of all prompts 40 of 80.
    assert ", quality .83 [" in said.sentence
    assert [fact for name, fact in said.notes if name == "quality"] == [
        "measured on 60 graded prompts, 67% of which stay local",
        "of the 75% of the prompts that the score decides",
    ]
    assert said.sentence.startswith("At this threshold 50% of calls stay local, ")
    keeps = "this keeps 83% of the large model's quality on the 75% of the prompts that the score decides, measured on"
    assert f"{keeps} 60 graded prompts, 67% of which stay local (.83 [" in said.brief


def test_both_halves_of_the_line_are_by_the_same_grades(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another threshold would keep is measured like what this one keeps, or, where grades are few, both are said
    by belief.

    Half of the 60 graded prompts need the strong model: 95 % of its quality leaves 3 of them to the weak one, and
    47 of all 80, those that go to the strong model anyway among them, are 59 %.
    """
    few = graded_run(tmp_path, 60, unknown=None)
    assert few.kept is None
    assert few.by_belief
    assert few.by_belief.kept
    assert dict(few.notes)["kept"] == "83% of the large model's quality"
    by_belief = f"a strong share of {few.by_belief.kept.share:.0%} keeps {few.by_belief.kept.kept:.0%} (believed; this "
    assert dict(few.notes)["to keep 95%"].startswith(f"{by_belief}threshold keeps 83%) and saves ")
    monkeypatch.setattr("demur.evaluation.report.graded_headline.USUAL_GRADES", 60)
    many = demur.evaluate(run=str(tmp_path / "run")).headline
    assert many.kept
    assert many.kept.share == pytest.approx(0.59, abs=0.011)
    assert many.kept.kept == pytest.approx(0.95, abs=0.011)
    texts = (Path(tmp_path) / "run" / GRADES_FILE).read_text().replace('"weak_quality": 0.0', '"weak_quality": 1.0')
    (Path(tmp_path) / "run" / GRADES_FILE).write_text(texts)
    assert demur.evaluate(run=str(tmp_path / "run")).headline.kept is None  # both models are right: there is no gap


def test_prompts_that_the_setting_decides_are_asked_for_first_where_that_is_wished_for(tmp_path: Path) -> None:
    """After 60 grades of what the score decides the advice asks for 20 of the others, which then come at once."""
    assert graded_run(tmp_path, 60, unknown=None).by_grades
    run = str(tmp_path / "run")
    advice = f"demur grade --run {run} --unknown-first --number 80"
    assert advice in " ".join(demur.evaluate(run=run).warnings)
    (Path(run) / GRADES_FILE).rename(tmp_path / "grades.jsonl")
    first = [one.prompt for one in open_grading(run, number=25, unknown_first=True).waiting]
    texts = [f"Which text is {i}?" for i in range(20)]
    assert sorted(first[:20]) == sorted(texts)
    assert first[:20] not in (texts, texts[::-1])  # in random order
    assert first[20:] == [one.prompt for one in open_grading(run, number=5).waiting]
    (tmp_path / "grades.jsonl").rename(Path(run) / GRADES_FILE)
    done = RUNNER.invoke(app, [*advice.split()[1:]], input="b" * 20)
    assert "20 of the other 25%, which have no label" in done.output
    assert demur.evaluate(run=run).headline.weighed == 20


def test_which_prompts_are_unknown_is_not_known_before_there_are_labels(tmp_path: Path, pair: Pair) -> None:
    prompts, run = write_questions(tmp_path / "prompts.jsonl", gold=False), str(tmp_path / "run")
    demur.sample(prompts, **pair.names, run=run, n=4, weak_usd="0", strong_usd="10/10")
    with pytest.raises(InputError, match=r"has no labels.*leave out --unknown-first"):
        open_grading(run, unknown_first=True)


@pytest.mark.parametrize("both", [False, True])
def test_no_share_of_quality_is_said_where_grades_do_not_show_that_the_large_model_is_better(
    tmp_path: Path, both: bool
) -> None:
    """By these grades the small model is always right, and the large one on every second prompt."""
    graded_run(tmp_path, 60, unknown=(1.0, 0.0) if both else None)
    file = tmp_path / "run" / GRADES_FILE
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text(
        "".join(json.dumps(row | {"weak_quality": 1.0, "strong_quality": i % 2}) + "\n" for i, row in enumerate(rows))
    )
    said = demur.evaluate(run=str(tmp_path / "run")).headline
    assert said.without_gap
    assert said.without_gap.weak == pytest.approx(1.0)
    for text in (said.brief, *said.cautions):
        assert "The small model's quality is 1.00 and the large one's .50, measured on" in text
        assert text.endswith("they do not show that the large model is better")
    low = replace(said, quality=(0.4, 0.3, 0.5))
    assert "of the large model's quality" not in " ".join((said.brief, *low.block().lines))
    assert "of what the large model costs alone" in said.brief


def test_grades_of_prompts_that_always_go_to_the_large_model_do_not_show_what_a_router_keeps(tmp_path: Path) -> None:
    """Of the 60 prompts that the score decides both models answer the same 30; of the others the large one all 20. Over
    all prompts the large model is better by a quarter, but wherever the router chooses it is not.
    """
    graded_run(tmp_path, 60, unknown=(0.0, 1.0))
    run, file = str(tmp_path / "run"), tmp_path / "run" / GRADES_FILE
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    same = [row | {"weak_quality": i % 2, "strong_quality": i % 2} for i, row in enumerate(rows[:60])]
    file.write_text("".join(json.dumps(row) + "\n" for row in same + rows[60:]))
    said = demur.evaluate(run=run).headline
    assert said.weighed == 20
    assert said.quality
    assert said.strong_quality == pytest.approx(0.75 * 0.5 + 0.25)
    keeps = "keeps 83% of the large model's quality on the 75% of the prompts that could be judged (believed)"
    assert keeps in said.brief
    assert said.brief.endswith(
        ". The small model's quality is .50 and the large one's .50, measured on 60 graded prompts that the score "
        "decides: they do not show that the large model is better"
    )
    by_quality = Criterion(keep_quality=0.95)
    _, _, block = calibrate_and_measure(tmp_path / "prompts.jsonl", by_quality, router=f"{run}/router", anyway=True)
    assert "60 graded prompts cannot show what is kept" in " ".join(block.cautions)
    over = [row | {"weak_quality": 0, "strong_quality": 1} for row in rows[:60]]
    others = [row | {"weak_quality": 1, "strong_quality": 0} for row in rows[60:]]
    file.write_text("".join(json.dumps(row) + "\n" for row in over[:20] + same[20:60] + others))
    mixed = demur.evaluate(run=run).headline  # better where the score decides, and not over all prompts
    assert "quality on the 75% of the prompts that could be judged (believed)" in mixed.brief
    assert "60 of the 75% that the score decides and 20 of the others" in mixed.brief.partition(". The small")[2]


def kept_of(said: Headline) -> list[str]:
    """The notes on what is kept, and what would keep more."""
    return [fact for name, fact in said.notes if name in ("kept", "to keep 95%", "")]


def test_grades_that_do_not_show_a_better_large_model_take_no_warning_away(tmp_path: Path) -> None:
    """At half the calls to the large model 83 % of its quality is believed to be kept: 50 of 60 prompts. 60 grades by
    which the small model is right on 29 and the large one on 30 of them cannot say otherwise."""
    graded_run(tmp_path, 60, unknown=None)
    prompts, run, file = tmp_path / "prompts.jsonl", str(tmp_path / "run"), tmp_path / "run" / GRADES_FILE
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    file.unlink()
    set_to = partial(calibrate_and_measure, prompts, Criterion(strong_share=0.5), router=f"{run}/router", anyway=True)
    left, more, *others = kept_of(set_to()[1])
    assert left == "83% of the large model's quality"
    assert "(believed) and saves " in more
    same = [row | {"weak_quality": int(i % 2 and i != 1), "strong_quality": i % 2} for i, row in enumerate(rows)]
    file.write_text("".join(json.dumps(row) + "\n" for row in same))
    believed = f"{left} on the 75% of the prompts that could be judged (believed)"
    for said in (set_to()[1], demur.evaluate(run=run).headline):
        assert said.by_grades
        assert kept_of(said) == [believed, more, *others]
        assert f"; this keeps {believed} and saves " in said.brief
        assert said.brief.endswith(": they do not show that the large model is better")
    worse = [row | {"weak_quality": 1, "strong_quality": i % 2} for i, row in enumerate(rows)]
    file.write_text("".join(json.dumps(row) + "\n" for row in worse))
    assert kept_of(set_to()[1]) == []  # by these grades nothing is lost with the small model


def test_status_says_what_is_kept_wherever_the_command_that_set_the_threshold_does(tmp_path: Path) -> None:
    """A day later "saves 50%" stood there without the 83 % of the quality that it keeps."""
    prompts, run = with_open_ended(tmp_path)
    options = ["calibrate", str(prompts), "--strong-share", "0.5", "--run", run, "--anyway"]
    told = RUNNER.invoke(app, options, env={"COLUMNS": "400"}).output
    kept = [line.split(maxsplit=1)[1] for line in told.splitlines() if line.startswith("  kept ")]
    more = [line.split(maxsplit=3)[3] for line in told.splitlines() if line.startswith("  to keep 95% ")]
    assert kept == ["83% of the large model's quality"]
    assert "(believed) and saves " in more[0]
    shown = RUNNER.invoke(app, ["status", "--run", run], env={"COLUMNS": "400"}).output
    assert [line.split(maxsplit=1)[1] for line in shown.splitlines() if line.startswith("  kept ")] == kept
    assert [line.split(maxsplit=3)[3] for line in shown.splitlines() if line.startswith("  to keep 95% ")] == more


def test_what_is_believed_to_keep_more_is_not_said_where_this_threshold_is_believed_to_keep_enough() -> None:
    """By 30 grades 51 % is kept; by belief 97 % is at this share, and 95 % at a smaller one."""
    by_belief = replace(SAID, quality=(0.34, 0.3, 0.4), strong_quality=0.35, believed=True)
    point = KeptPoint(SAID.strong_share - 0.1, 0.95, 0.5)
    said = replace(SAID, quality=(0.18, 0.15, 0.21), strong_quality=0.35, by_grades=True, judged=30)
    low = replace(said, by_belief=replace(by_belief, kept=point))
    assert kept_of(low) == ["51% of the large model's quality"]
    none = replace(said, by_belief=replace(by_belief, kept=()))
    assert kept_of(none)[1:] == ["no threshold does so on these prompts (believed)"]
    assert kept_of(replace(none, calibrated=False)) == ["51% of the large model's quality"]


def test_gold_answers_that_do_not_show_a_better_large_model_give_no_share_of_its_quality() -> None:
    """The small model is right on 4 of 4 prompts or on 2, the large one on 2 of 4."""
    rows = [TrainingPrompt(text, float("z" in text), 1.0, 0.0) for text in ("zz z", "aa a", "za z", "a aa") * 2]
    router = Router(train_router(LetterEncoder(), SimilarityWeighted(), rows, weak="small", strong="large"))
    looked, right = Looked(np.arange(4) / 4, np.ones(4, dtype=bool), [""] * 4), np.array([1.0, 0.0, 1.0, 0.0])
    for small in (np.ones(4), right):
        said = headline(router, looked, list("abcd"), on="prompts", quality=(small, right))
        assert "they do not show that the large model is better" in said.brief
        assert "% of the large model's quality" not in said.brief
    better = headline(router, looked, list("abcd"), on="prompts", quality=(np.zeros(4), np.ones(4)))
    assert "% of the large model's quality" in better.brief


def test_grades_of_both_parts_are_weighed_by_their_share_of_the_prompts(tmp_path: Path) -> None:
    """Graded are all 20 prompts that go to the strong model anyway, and 30 of the other 60: as 20 to 60 they count."""
    one = graded_run(tmp_path, 30, unknown=None)
    (tmp_path / "again").mkdir()
    both = graded_run(tmp_path / "again", 30, unknown=(0.0, 0.5))
    assert one.quality
    assert both.quality
    assert both.quality[0] == pytest.approx(0.75 * one.quality[0] + 0.25 * 0.5)
    assert both.quality[1] < both.quality[0] < both.quality[2]
    assert both.strong_quality == pytest.approx(0.75 * 1.0 + 0.25 * 0.5)
    rests_on = [fact for name, fact in both.notes if name == "quality"]
    assert rests_on[0].endswith("50 graded prompts, 30 of the 75% that the score decides and 20 of the others")
    assert "weighed" in rests_on[1]
    assert both.strong_share == one.strong_share
    run = str(tmp_path / "run")
    assert len(open_grading(run).decided or ()) == 60
    demur.train(run=run, unknown="score")  # all of them go by their score, so all measure the router
    assert len(open_grading(run).decided or ()) == 80


@pytest.mark.parametrize("unknown", [None, (0.0, 0.5)])
@pytest.mark.parametrize("share", [0.4, 0.5, 0.7])
def test_all_that_a_report_draws_and_tables_is_of_the_prompts_that_the_score_decides(
    tmp_path: Path, unknown: tuple[float, float] | None, share: float
) -> None:
    """Graded are 40 of the 60 questions, and none or all of the 20 prompts that go to the strong model anyway.

    With these the first line is of all prompts. No router that chooses among the graded answers can be better than the
    oracle of the same answers, and no point of one lies off its curve.
    """
    graded_run(tmp_path, 40, unknown=unknown)
    run = str(tmp_path / "run")
    demur.calibrate(tmp_path / "prompts.jsonl", router=f"{run}/router", strong_share=share, anyway=True)
    found = demur.evaluate(run=run)
    curve, point = next(row.curve for row in found.rows if row.router == found.served), found.drawn
    assert point.quality and point.judged_share is not None
    assert point.judged == found.n_test == 40
    assert point.strong_quality == pytest.approx(curve.strong_quality)
    assert point.quality[0] == pytest.approx(float(np.interp(point.judged_share, curve.strong_shares, curve.qualities)))
    assert point.quality[0] <= float(np.interp(point.judged_share, curve.oracle.strong_shares, curve.oracle.qualities))
    low, high = curve.band(np.array([point.judged_share]))[:, 0]
    assert low <= point.quality[0] <= high
    table = {row[0]: row[1] for row in choice_rows(found)}
    assert table[f"{share:.0%}, as served"] == f"{point.quality[0]:.3f}" == table.get(f"{share:.0%}")
    assert table["100%"] == f"{curve.strong_quality:.3f}"
    said, of = html.unescape(page(found)), "the 40 graded prompts that the score decides"
    assert f"All of it is of {of}:" in said and f"Measured on {of}," in said and f"quality is of {of}." in said
    whole = f"The first line's quality is of all prompts: also of the 25% that go to {found.strong} whatever their"
    assert (whole in said) == bool(unknown)
    assert found.headline.judged == (60 if unknown else 40)
    assert (found.headline.quality == point.quality) == (unknown is None)


def test_the_first_line_is_of_as_many_prompts_as_are_said_to_be_graded(tmp_path: Path) -> None:
    """30 questions by a judge, 20 other prompts by hand; of the others too few do not count, and are not said."""
    graded_run(tmp_path, 30, unknown=(0.0, 0.5))
    file = tmp_path / "run" / GRADES_FILE
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    marks = ["judge wise"] * 30 + ["hand"] * 20
    lines = [json.dumps(row | {"by": by}) + "\n" for row, by in zip(rows, marks, strict=True)]
    for count, said in ((50, "30 by judge wise, 20 by hand"), (45, "30 by judge wise")):
        file.write_text("".join(lines[:count]))
        found = demur.evaluate(run=str(tmp_path / "run"))
        assert found.graded_by == said
        assert found.headline.judged == sum(int(one.split()[0]) for one in said.split(", "))


@pytest.mark.parametrize("unknown", [None, (0.0, 0.5)])
def test_calibrate_tells_measured_quality_of_the_runs_own_graded_prompts_as_evaluate_does(
    tmp_path: Path, unknown: tuple[float, float] | None
) -> None:
    """Of 60 questions all are graded, or 30 and the 20 prompts that go to the strong model anyway."""
    graded_run(tmp_path, 30 if unknown else 60, unknown=unknown)
    prompts, run = tmp_path / "prompts.jsonl", str(tmp_path / "run")
    set_to = partial(calibrate_and_measure, prompts, router=f"{run}/router", anyway=True)
    _, said, _ = set_to(Criterion(strong_share=0.6))
    assert said.by_grades
    assert said.weighed == (20 if unknown else 0)
    assert said == demur.evaluate(run=run).headline
    _, tried, _ = set_to(Criterion(strong_share=0.4), dry_run=True)  # of the threshold that would be
    assert tried.by_grades
    assert tried.strong_share == pytest.approx(0.4)
    assert demur.evaluate(run=run).headline == said


def test_grade_ends_in_counts_where_evaluate_weighs_two_parts(tmp_path: Path) -> None:
    """Of the 60 questions that the score decides the small model is right on half and the large one on all; of the 20
    others it is the other way round. 62% and 75% of the grades are neither part's quality, nor that of all prompts."""
    graded_run(tmp_path, 60, unknown=(1.0, 0.0))
    run = str(tmp_path / "run")
    assert demur.evaluate(run=run).headline.weighed == 20
    told = RUNNER.invoke(app, ["grade", "--run", run, "--number", "1"]).stdout
    assert told.startswith(f"80 graded ({run}/grades.jsonl)\n  60 of them are of the 75% of the prompts")
    assert "is right in" not in told


def test_calibrate_tells_believed_quality_of_other_prompts_and_with_few_grades(tmp_path: Path) -> None:
    graded_run(tmp_path, 60, unknown=None)
    run, others = str(tmp_path / "run"), tmp_path / "others.jsonl"
    others.write_text("".join((tmp_path / "prompts.jsonl").read_text().splitlines(keepends=True)[:40]))
    by_share = partial(calibrate_and_measure, criterion=Criterion(), router=f"{run}/router", anyway=True, dry_run=True)
    assert by_share(tmp_path / "prompts.jsonl")[1].by_grades
    assert by_share(others)[1].believed
    grades = tmp_path / "run" / GRADES_FILE
    grades.write_text("".join(grades.read_text().splitlines(keepends=True)[:19]))
    assert by_share(tmp_path / "prompts.jsonl")[1].believed


def test_a_headline_is_the_same_in_whatever_order_a_file_has_the_prompts(tmp_path: Path) -> None:
    """`demur calibrate` and `demur replay` count a file's rows, `demur report` and `demur` the router's own."""
    graded_run(tmp_path, 60, unknown=None)
    router = Router.load(tmp_path / "run" / "router")
    texts, _ = learned_prompts(router.prompt_router)
    random = np.random.default_rng(1)
    quality = random.random((len(texts), 2))
    rows = list(zip(texts, quality.tolist(), strict=True))

    def shown(prompts: list[tuple[str, list[float]]]) -> Headline:
        own, (weak_quality, strong_quality) = [text for text, _ in prompts], np.array([both for _, both in prompts]).T
        looked = router.prompt_router.look_held_out(own)
        return headline(router, looked, own, on=TRAINING, quality=(weak_quality, strong_quality))

    found = shown(rows)
    assert found.quality
    for order in (random.permutation(len(rows)) for _ in range(3)):
        assert shown([rows[i] for i in order]).quality == pytest.approx(found.quality, abs=1e-9)


def test_a_wish_for_quality_is_set_by_belief_and_what_grades_say_against_it_is_said(
    tmp_path: Path,
) -> None:
    """Grades say that the small model is wrong on colours, too, which belief keeps there: a third of what is graded."""
    graded_run(tmp_path, 60, unknown=None)
    keep = partial(calibrate_and_measure, tmp_path / "prompts.jsonl", Criterion(keep_quality=0.95), anyway=True)
    keep = partial(keep, router=f"{tmp_path}/run/router", dry_run=True)
    believed, said, block = keep()
    assert not any("grade" in one for one in block.cautions)  # it keeps what was asked for, and a note says by how many
    assert said.quality
    assert said.quality[0] >= 0.9
    grades = tmp_path / "run" / GRADES_FILE
    rows = [json.loads(line) for line in grades.read_text().splitlines()]
    for weak_quality, word in ((0.0, "it keeps"), (1.0, "cannot show what is kept")):
        grades.write_text("".join(json.dumps(row | {"weak_quality": weak_quality}) + "\n" for row in rows))
        found, _, block = keep()
        assert found.threshold == believed.threshold
        (caution,) = [one for one in block.cautions if word in one]
        assert "60 graded prompts" in caution


def test_with_a_gate_evaluate_says_what_was_done_with_the_sampled_answers() -> None:
    """Two prompts with two drafts: the gate drops the one wrong draft of the first, and keeps the rest."""
    rows = [TrainingPrompt(text, float("z" in text), 1.0, 0.0) for text in ("zz z", "aa a", "za z", "a aa") * 2]
    prompts = train_router(LetterEncoder(), SimilarityWeighted(), rows, weak="small", strong="large")
    router = Router(replace(prompts, calibration=Calibration(0.5, 0.5, 8, "strong share 50%")))
    use = Use(np.array([[False, True], [False, False]]), np.ones((2, 2), dtype=bool), np.zeros((2, 2), dtype=int))
    drafts, strong = np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([1.0, 0.5])
    usd = np.zeros(2), np.array([0.002, 0.004])
    said = sampled_headline(router, prompts.look_at(["zz a", "aa z"]), use, drafts, strong, usd, on="test prompts")
    assert said.strong_share == 0.25
    assert said.quality is not None
    assert said.quality[0] == 0.75  # (1 + 1) / 2 of the first, (1 + 0) / 2 of the second
    assert said.strong_quality == 0.75
    assert (said.usd, said.usd_strong) == (0.5, 3.0)  # half of the first prompt's answers: 1,000 (.002 / 2 + 0) / 2
    assert dict(said.notes)["measured on"] == "2 test prompts"
    assert dict(said.notes)["gate"].endswith("on the answers that were sampled")


def test_the_operating_point_is_marked_on_the_curve(tmp_path: Path, pair: Pair) -> None:
    run = trained(tmp_path, pair, gold=True)
    found = demur.evaluate(run=run)
    marks = [line for line in curve_figure(found).axes[0].get_lines() if line.get_marker() == "D"]
    assert len(marks) == 1
    assert found.headline.quality
    assert marks[0].get_xdata() == pytest.approx([100 * found.headline.strong_share])
    assert marks[0].get_ydata() == pytest.approx([found.headline.quality[0]])


def test_a_run_without_gold_has_a_report_of_what_is_believed(tmp_path: Path, pair: Pair) -> None:
    run = trained(tmp_path, pair, gold=False)
    shown = demur.report(run=run).read_text()
    assert "No prompt is graded, so quality is believed" in shown
    assert "believed quality" in shown
    assert "0 of 60 prompts could not be labelled" in shown
    assert "Payback" in shown
    assert "nearest training prompts" in shown
    with opened.open_run(load_run(run)) as found:
        evaluation = evaluate_held_out(found, graded=False)
    assert evaluation.believed
    # The strong model never contradicts itself; the weak one agrees with it on colours, which are half of the prompts.
    assert evaluation.rows[0].curve.strong_quality == pytest.approx(1.0)
    assert evaluation.rows[0].curve.weak_quality == pytest.approx(0.5, abs=0.02)
    assert evaluation.headline == training_headline(Router.load(f"{run}/router"))
    own = {one.prompt: [near.prompt for near in one.neighbours] for one in evaluation.examples}
    assert all(prompt not in near for prompt, near in own.items())


@pytest.mark.parametrize("gold", [True, False])
def test_the_report_says_of_a_score_what_explain_says(tmp_path: Path, pair: Pair, gold: bool) -> None:
    run = trained(tmp_path, pair, gold=gold)
    explained = Router.load(f"{run}/router").explain("What is 12 plus 9?")
    assert explained.glossary[0] == CHANCE
    shown = demur.report(run=run).read_text()
    assert f"<p>The {'; '.join(explained.glossary[:2])}.</p>" in html.unescape(shown)
    assert shown.count("score, a chance") > 0
    assert ("What a score means" in shown) == gold  # whether scores are such chances is measured by grades alone


def test_what_is_said_of_prompts_that_no_model_was_asked_is_a_forecast(tmp_path: Path, pair: Pair) -> None:
    """Of the 60 training prompts both models' answers are there to agree or not; of 70 sums nobody was asked, none."""
    run = trained(tmp_path, pair, gold=False)
    own = [prompt.text for prompt in load_prompts(tmp_path / "prompts.jsonl")]
    new = [f"What is {number} plus {number + 7}?" for number in range(1000, 1070)]
    for number, texts in enumerate((own, new, [*own, *new[:59]], [*own, *new[:61]])):
        file = tmp_path / f"{number}.jsonl"
        file.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts), encoding="utf-8")
    said = [demur.replay(tmp_path / f"{number}.jsonl", router=f"{run}/router").headline for number in range(4)]
    assert [one.quality_name for one in said] == [
        "believed quality",
        "forecast quality",
        "believed quality",
        "forecast quality",
    ]
    assert "forecast quality 1.00 [" in said[1].sentence
    assert "believed" not in said[1].sentence


def test_signals_without_gold_are_measured_by_belief(tmp_path: Path, pair: Pair) -> None:
    run = trained(tmp_path, pair, gold=False)
    card = signals(run=run)
    assert card.believed
    assert "without gold answers" in card.lines[0]
    small = next(table for table in card.tables if table.model == "small")
    assert small.n == 60
    assert small.right == pytest.approx(0.5, abs=0.02)
    discrete = next(row for row in small.rows if row.definition == "discrete")
    assert discrete.auroc is not None
    assert discrete.auroc > 0.95
    assert small.use is not None
    said = RUNNER.invoke(app, ["signals", "--run", run])
    assert f"next: demur label --definition {small.use} --run {run}" in said.stderr
    assert "NAME" not in said.stderr


def test_without_gold_evaluate_says_how_to_get_it_and_takes_grades_by_hand(tmp_path: Path, pair: Pair) -> None:
    run = trained(tmp_path, pair, gold=False)
    with pytest.raises(InputError, match=r"no prompt has gold answers or grades.*: `demur grade`"):
        demur.evaluate(run=run)
    grading = open_grading(run, number=30)
    assert (len(grading.waiting), grading.graded) == (30, 0)
    # What a person would say: a right answer names a colour or the sum.
    keys = "".join(_verdict(one.prompt, one.answers) for one in grading.waiting)
    first = RUNNER.invoke(app, ["grade", "--run", run, "--number", "30"], input=keys[:10] + "q")
    assert first.exit_code == 0, first.output
    assert "10 graded" in first.output
    assert "the same command goes on" in first.output
    with pytest.raises(
        InputError, match="10 prompts are graded, 10 of them are training prompts that the score decides; 20 such are"
    ):
        demur.evaluate(run=run)
    assert "believed" in demur.report(run=run).read_text(encoding="utf-8")  # few grades break no report
    second = RUNNER.invoke(app, ["grade", "--run", run, "--number", "30"], input=keys[10:])
    assert "30 graded" in second.output
    grades = read_grades(Path(run) / GRADES_FILE)
    assert all(grade == ((0.0, 1.0) if "plus" in prompt else (1.0, 1.0)) for prompt, grade in grades.items())
    found = demur.evaluate(run=run)
    assert not found.believed
    assert (found.headline.on, found.headline.prompts) == (
        "training prompts, each scored by a router that had not seen it",
        60,
    )
    assert (found.headline.judged, found.headline.by_grades) == (30, True)
    assert found.n_test == 30
    sums = sum("plus" in prompt for prompt in grades)
    assert found.rows[0].curve.weak_quality == pytest.approx(1 - sums / 30)


def _verdict(prompt: str, answers: tuple[str, str]) -> str:
    right = [one.startswith("colour of") or one == _sum(prompt) for one in answers]
    return {(True, True): "b", (True, False): "1", (False, True): "2", (False, False): "n"}[right[0], right[1]]


def _sum(prompt: str) -> str:
    return str(sum(map(int, re.findall(r"\d+", prompt)))) if "plus" in prompt else ""


def test_a_verdict_is_undone_and_a_prompt_skipped(tmp_path: Path, pair: Pair) -> None:
    run = trained(tmp_path, pair, gold=False)
    done = RUNNER.invoke(app, ["grade", "--run", run, "--number", "3"], input="bsu2q")
    assert done.exit_code == 0, done.output
    (first, *_) = open_grading(run, number=100).waiting  # the prompt that was skipped waits
    rows = [json.loads(line) for line in (Path(run) / GRADES_FILE).read_text().splitlines()]
    assert len(rows) == 1
    assert sorted((rows[0]["weak_quality"], rows[0]["strong_quality"])) == [0.0, 1.0]
    assert first.prompt != rows[0]["prompt"]


def test_answers_are_shown_in_an_order_that_tells_nothing(tmp_path: Path, pair: Pair) -> None:
    run = trained(tmp_path, pair, gold=False)
    waiting = open_grading(run, number=60).waiting
    assert 0.3 < sum(one.weak_first for one in waiting) / len(waiting) < 0.7
    assert waiting == open_grading(run, number=60).waiting
    one = waiting[0]
    assert one.qualities("1") == ((1.0, 0.0) if one.weak_first else (0.0, 1.0))


def test_what_is_graded_by_gold_keeps_what_it_was_measured_by(tmp_path: Path, pair: Pair) -> None:
    run = trained(tmp_path, pair, gold=True)
    with opened.open_run(load_run(run)) as found:
        evaluation = evaluate_by_gold(found)
    assert evaluation
    graded = read_graded(Path(run) / "graded.jsonl")
    assert graded.means[0].mean() == pytest.approx(evaluation.rows[0].curve.weak_quality)
    assert graded.usd
    assert graded.usd[1] is not None
    assert 1000 * graded.usd[1].mean() == pytest.approx(evaluation.usd_alone[1])
    some = graded.take([2, 0])
    assert some.measured["strong_usd"].tolist() == graded.measured["strong_usd"][[2, 0]].tolist()


def test_a_key_that_is_none_is_named_and_an_end_without_verdicts_is_no_result(tmp_path: Path, pair: Pair) -> None:
    run = trained(tmp_path, pair, gold=False)
    wrong = RUNNER.invoke(app, ["grade", "--run", run, "--number", "3"], input="xuq")
    assert any("[q] stop" in line and len(line) <= 80 for line in wrong.output.splitlines())
    assert "'x' is not a key here" in wrong.output
    assert "nothing to undo" in wrong.output
    assert "earlier grades" not in wrong.output
    assert any("good enough to send" in line and len(line) <= 80 for line in wrong.output.splitlines())
    for said in (wrong, RUNNER.invoke(app, ["grade", "--run", run, "--number", "3"], input="")):
        assert said.exit_code == 0
        assert "nothing is graded yet" in said.output
        assert "%" not in said.output.partition("nothing is graded yet")[2]


def test_that_a_guarantee_needs_unseen_prompts_is_said_before_any_is_graded(tmp_path: Path, pair: Pair) -> None:
    run = trained(tmp_path, pair, gold=False)
    with pytest.raises(InputError, match=r"not graded.*have not trained the router.* --n 2 --run unseen"):
        demur.calibrate(tmp_path / "prompts.jsonl", router=f"{run}/router", risk=0.2)
    with pytest.raises(InputError, match=r"demur grade`.*a guarantee .*have not trained the router.*demur docs report"):
        demur.evaluate(run=run)


def test_gold_answers_of_new_prompts_are_named_and_measured_once_both_models_have_answered(
    tmp_path: Path, pair: Pair
) -> None:
    """Of the 60 new prompts the weak model knows the colours, the strong one knows all."""
    run = trained(tmp_path, pair, gold=True)
    questions = write_questions(tmp_path / "new.jsonl", gold=True)
    said = " ".join(map(str.strip, demur.replay(questions, router=f"{run}/router").lines[-2:]))  # a line per sentence
    assert said.startswith("- 60 of these prompts have gold answers, which are not used")
    commands = [f"demur sample {questions} --n 2 --run unseen", "demur grade --run unseen --gold"]
    assert re.findall("`(.*?)`", said) == [*commands, "demur replay unseen/grades.jsonl"]
    (tmp_path / "linked").symlink_to(tmp_path)
    own = tmp_path / "linked" / "run" / ".." / "prompts.jsonl"  # of which `demur evaluate` uses the gold answers
    assert not demur.replay(own, router=f"{run}/router").gold_unused
    with pytest.raises(InputError, match="this prompt is not graded; a guarantee"):
        demur.calibrate(questions, router=f"{run}/router", risk=0.2)

    unseen = str(tmp_path / "unseen")
    demur.sample(questions, **pair.names, run=unseen, n=2, weak_usd="0", strong_usd="10/10")
    graded = RUNNER.invoke(app, ["grade", "--run", unseen, "--gold"])
    assert f"60 graded: the small model is right in 50%, the large one in 100% ({unseen}/grades.jsonl)" in graded.output
    grades = read_grades(Path(unseen) / GRADES_FILE)
    assert all(grade == ((0.0, 1.0) if "plus" in prompt else (1.0, 1.0)) for prompt, grade in grades.items())
    RUNNER.invoke(app, ["grade", "--run", unseen, "--gold"])
    assert len((Path(unseen) / GRADES_FILE).read_text().splitlines()) == 60, "nothing is graded twice"
    found = demur.replay(f"{unseen}/grades.jsonl", router=f"{run}/router")
    assert found.quality is not None
    assert found.quality[1:] == (0.5, 1.0)
    assert not found.gold_unused


def test_prompts_that_count_are_asked_for_first_and_what_is_left_out_is_said(tmp_path: Path, pair: Pair) -> None:
    """Of 60 prompts 30 have a label: 40 grades are of all these and of ten others, which no router learned from."""
    prompts, run = write_questions(tmp_path / "prompts.jsonl", gold=False), str(tmp_path / "run")
    demur.sample(prompts, **pair.names, run=run, n=4, weak_usd="0", strong_usd="10/10")
    demur.label(run=run, entailment="exact")
    labels = Path(run) / "preferences.jsonl"
    rows = labels.read_text().splitlines(keepends=True)[:30]
    labels.write_text("".join(rows))
    demur.train(run=run, methods=("sw",), serve="sw")
    learned = {json.loads(row)["prompt"] for row in rows}
    waiting = open_grading(run, number=40).waiting
    assert {one.prompt for one in waiting[:30]} == learned
    few = RUNNER.invoke(app, ["grade", "--run", run], input="b\n" * 10 + "q")
    needs = f"next: the same command goes on; `demur evaluate --run {run}` needs 20 of prompts that the score decides"
    assert needs in few.output
    more = RUNNER.invoke(app, ["grade", "--run", run, "--number", "40"], input="b2" * 15)
    assert "30 of them are of the 50% of the prompts that the score decides" in more.output
    assert "10 of the other 50%, which have no label" in more.output
    assert f"next: demur evaluate --run {run}" in more.output
    assert "10 of 40 graded prompts are left out" in " ".join(demur.evaluate(run=run).warnings)
    assert grade_more(Path(run)) == ""
    labels.write_text(labels.read_text() + json.dumps(json.loads(rows[0]) | {"id": "new", "prompt": "new"}) + "\n")
    assert grade_more(Path(run)) == f"demur grade --run {run}"


def test_the_number_of_a_prompt_counts_those_that_were_skipped_and_no_line_end(tmp_path: Path, pair: Pair) -> None:
    run = trained(tmp_path, pair, gold=False)
    shown = RUNNER.invoke(app, ["grade", "--run", run, "--number", "5"], input="s\ns\ns\nq\n").output
    assert re.findall(r"Prompt \d of \d", shown) == [f"Prompt {i} of 5" for i in (1, 2, 3, 4)]


def test_a_session_that_goes_on_says_where_the_earlier_grades_are_instead_of_undoing_them(
    tmp_path: Path, pair: Pair
) -> None:
    run = trained(tmp_path, pair, gold=False)
    RUNNER.invoke(app, ["grade", "--run", run, "--number", "5"], input="1bq")
    again = RUNNER.invoke(app, ["grade", "--run", run, "--number", "5"], input="uq").output
    assert f"nothing to undo in this session; earlier grades are lines of {run}/grades.jsonl" in again.replace(
        "\n", " "
    )
    assert len((Path(run) / GRADES_FILE).read_text().splitlines()) == 2


def test_grades_by_gold_need_gold_answers_and_no_router(tmp_path: Path, pair: Pair) -> None:
    run = trained(tmp_path, pair, gold=True)
    with pytest.raises(InputError, match=r"has a router: `demur evaluate --run .*` measures it by the gold answers"):
        grade_by_gold(run)
    unseen = str(tmp_path / "unseen")
    demur.sample(write_questions(tmp_path / "new.jsonl", gold=False), **pair.names, run=unseen, n=2)
    with pytest.raises(InputError, match="no sampled prompt has gold answers; `demur grade --run"):
        grade_by_gold(unseen)
    demur.label(run=unseen, entailment="exact")
    demur.train(run=unseen, methods=("sw",), serve="sw")
    with pytest.raises(InputError, match="no sampled prompt has gold answers"):  # nor has one for `demur evaluate`
        grade_by_gold(unseen)

"""Preferences of a run from every source; what a source lacks is said."""

from __future__ import annotations

import json
import sys
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import demur
import demur.labels.label_notes as label_notes
import demur.labels.label_run as module
import demur.labels.pair_meanings as pair_meanings
import pairs
from demur.cli.main import main
from demur.config import KINDS, LabelConfig, ModelConfig, RunConfig, load_run
from demur.config.named_run import in_folder
from demur.config.names import IMAGES
from demur.config.test_sets import TestConfig
from demur.errors import ArtifactError, InputError
from demur.labels.beliefs.unknown import GUESSED, NONE_EQUAL, UnknownPrompt
from demur.labels.from_samples import CANDIDATES, TARGETS, Labels
from demur.labels.judge.judge_replies import orders_of
from demur.labels.label_notes import declined_note, facts_of, judge_advice, notes_of, unlabelled_notes
from demur.labels.label_run import (
    FROM_GRADES,
    Sampled,
    believed_needs,
    from_file,
    from_grades,
    from_judge,
    items_to_judge,
    printed_targets,
)
from demur.labels.prompt_kinds import LONG, SHORT, PromptKind, PromptKinds
from demur.meaning.entailment import exact_match
from demur.meaning.meanings import Meanings
from demur.models.endpoint import Endpoint
from demur.prompts import read_prompts, split_prompts
from demur.records import Prompt, Sample
from demur.runs.record import with_absolute_paths
from demur.sampling.pair import PairSamples
from demur.testing import fake_endpoint, in_a_thread
from pairs import questions, running_pair, write_questions


def sampled(*texts: str) -> list[Sample]:
    return [Sample(i, text, None, "stop", 1, 1) for i, text in enumerate(texts)]


PROMPTS = [Prompt("easy", "2+2?", ("4",)), Prompt("hard", "13*17?", ("221",))]
SAMPLES = PairSamples(
    {"easy": sampled("4", "4"), "hard": sampled("200", "230")},
    {"easy": sampled("4", "4"), "hard": sampled("221", "221")},
)


@pytest.mark.parametrize("name", FROM_GRADES)
def test_the_strong_model_is_needed_only_for_the_hard_prompt(name: str) -> None:
    found = from_grades(Sampled(PROMPTS, SAMPLES, "w", "s"), name)
    easy, hard = found.preferences
    assert hard.target == 1.0
    assert (hard.winner, hard.n, hard.model_a, hard.response_b) == ("model_b", 2, "w", "221")
    assert easy.target <= 0.5
    assert easy.kind == name
    assert found.details[0] == ("kind of labels", name)
    assert ("they equal kind prob" in dict(found.facts).get("relaxation", "")) == (name == "quality-gap trans")


def test_every_kind_of_labels_has_what_makes_its_targets_and_no_other() -> None:
    made = {*TARGETS, *FROM_GRADES, "preference", "judge"}
    assert set(KINDS) - made == {"entropy auto"}  # it chooses among the others
    assert made - set(KINDS) == set()
    assert {name for name, kind in KINDS.items() if "gold answers" in kind.needs} == set(FROM_GRADES)
    assert set(CANDIDATES) <= set(TARGETS)
    own = {option for kind in KINDS.values() for option in kind.options}
    assert {each.name for each in fields(LabelConfig)} - own == {
        "source",
        "kind",
        "entailment",
        "rules",
        "state_answers",
    }


def test_prompts_without_gold_are_refused() -> None:
    with pytest.raises(InputError, match="no gold answers"):
        from_grades(Sampled([Prompt("easy", "2+2?")], SAMPLES, "w", "s"), "accuracy hard")


def test_a_judge_labels_without_gold_and_what_it_says_in_prose_is_left_out() -> None:
    prompts = [Prompt("easy", "2+2?"), Prompt("hard", "13*17?"), Prompt("odd", "Why?"), Prompt("tie", "Who?")]
    sides = {"hard": ("200", "221"), "easy": ("4", "4"), "odd": ("so", "thus"), "tie": ("he", "him")}
    samples = PairSamples(*({key: sampled(pair[side]) for key, pair in sides.items()} for side in (0, 1)))
    of = Sampled(prompts, samples, "w", "s")
    items = items_to_judge(of)
    strong_first = orders_of(items)[1][0] == "strong"
    replies = [None, "LLM 1" if strong_first else "LLM 2", "Both are fine", "LLM 1 and LLM 2"]
    found = from_judge(of, items, replies, "judge")
    assert {row.id: row.target for row in found.preferences} == {"easy": 0.5, "hard": 1.0, "tie": 0.5}
    assert found.facts == (
        ("judge", "judge, asked 3 times: 1 reply not understood, 1 pair of equal answers not asked about"),
    )
    with pytest.raises(InputError, match="none of judge's 3 replies"):
        from_judge(of, items, [None, "So!", "Well", "Hm"], "judge")


def test_a_files_models_stand_for_the_runs_and_what_is_measured_on_is_left_out(tmp_path: Path) -> None:
    battles = [
        {"model_a": "mixtral", "model_b": "gpt-4", "prompt": prompt, "winner": "model_b"}
        for prompt in ("Question 1?", "New?")
    ]
    (tmp_path / "battles.jsonl").write_text("".join(json.dumps(row) + "\n" for row in battles))
    label = LabelConfig(source="preference", file=str(tmp_path / "battles.jsonl"), models=("mixtral", "gpt-4"))
    found = from_file(label, "small", "large", kept={"Question 1?"})
    (row,) = found.preferences
    assert (row.prompt, row.model_a, row.model_b, row.target) == ("New?", "small", "large", 1.0)
    assert dict(found.facts)["models"].startswith("mixtral and gpt-4 of ")
    assert dict(found.facts)["left out"] == "1 row, whose prompt is kept for measuring"
    with pytest.raises(InputError, match=r"no row compares small and large; it holds mixtral / gpt-4: name its"):
        from_file(replace(label, models=()), "small", "large", kept={"Question 1?"})


def test_where_samples_cannot_tell_the_price_of_a_judge_is_named() -> None:
    """One call, the easy prompt's answers are equal: at most 24 tokens of reply, and $10,000 per million of them."""
    endpoint = Endpoint("large", "http://127.0.0.1:1/v1", usd_per_million_input=0.0, usd_per_million_output=10_000.0)
    said = judge_advice(Sampled(PROMPTS, SAMPLES, "small", "large"), endpoint)
    assert "up to about $0.24 for 1 call to large (1 prompt needs none, since both answers are equal): " in said
    assert said.endswith("`demur label --from judge --judge large`")
    unpriced = judge_advice(Sampled(PROMPTS, SAMPLES, "small", "own"), Endpoint("own", "https://models.example/v1"))
    assert "at an unknown price for 1 call to own" in unpriced


def test_answers_that_decline_are_counted() -> None:
    side = {
        "easy": sampled("I'm sorry, I can't help with that.", "4"),
        "hard": sampled("抱歉,我无法回答这个问题。", "230"),
    }
    note, fact = declined_note(Sampled(PROMPTS, PairSamples(side, SAMPLES.strong), "small", "large"))
    assert fact is not None
    assert fact[1].startswith("2 of small's answers, 0 of large's answers")
    assert note.startswith("50% of small's answers decline to answer")  # more than a third
    side["hard"] = sampled("200", "230")
    few = declined_note(Sampled(PROMPTS, PairSamples(side, SAMPLES.strong), "small", "large"))
    assert few[0] == ""
    assert few[1] is not None
    assert declined_note(Sampled(PROMPTS, SAMPLES, "small", "large")) == ("", None)


def test_what_helps_prompts_without_a_label_is_said_once() -> None:
    guess, text = UnknownPrompt("1", "Who won?", GUESSED), UnknownPrompt("2", "b", NONE_EQUAL)
    kinds = PromptKinds((PromptKind(SHORT, 1, 0, 1), PromptKind(LONG, 1, 0, 0)))
    found = Labels((), (), unknown=(guess, text), kinds=kinds)
    about = "sentences and texts: the samples mostly do not show which model is needed"
    assert unlabelled_notes(found, "a judge")[:2] == [about, "a judge"]
    assert "`demur train --unknown strong`" in unlabelled_notes(found, "a judge")[2]
    assert unlabelled_notes(found, "a judge", "strong") == [about, "a judge"]
    assert unlabelled_notes(Labels((), ()), "") == []


def test_a_judge_that_is_the_strong_model_is_warned_of(tmp_path: Path) -> None:
    with pairs.running_pair() as found:
        run = str(tmp_path / "run")
        demur.sample(pairs.write_questions(tmp_path / "p.jsonl", 20, gold=False), **found.names, run=run, n=2)
        own = demur.label(run=run, source="judge", judge=found.names["strong"])
        other = demur.label(run=run, source="judge", judge=found.names["strong"].replace("large@", "third@"))
        named = demur.label(run=run, source="judge", judge="large")
    assert named == own  # the run knows its own model by its name
    assert load_run(run).label.judge == found.names["strong"]
    assert {row.target for row in own.preferences if row.id.startswith("sum")} == {1.0}
    assert "the judge is large itself: models favour their own answers" in own.warnings
    assert not any("itself" in line for line in other.warnings)


def test_a_run_file_names_its_own_model_as_judge_by_its_name_alone(tmp_path: Path) -> None:
    """As the command line does: `demur label` proposes the bare name."""
    with pairs.running_pair() as found:
        asked: dict[str, Any] = {
            "prompts": str(pairs.write_questions(tmp_path / "p.jsonl", 40)),
            "run": str(tmp_path / "run"),
            "weak": {"model": "small", "base_url": found.weak.base_url},
            "strong": {"model": "large", "base_url": found.strong.base_url},
            "sampling": {"n": 2},
            "label": {"source": "judge", "judge": "large"},
            "router": {"methods": ["logistic"], "encoder": "letters", "gate": "off"},
        }
        file = tmp_path / "run.json"
        file.write_text(json.dumps(asked))
        made = demur.run(file).labels
        assert load_run(tmp_path / "run").label.judge == found.names["strong"]
        assert demur.label(run=str(tmp_path / "run"), source="judge", judge="large") == made
    assert "the judge is large itself: models favour their own answers" in made.warnings


@pytest.mark.parametrize("own", [True, False])
def test_a_judge_of_test_sets_may_be_one_of_the_runs_models(own: bool) -> None:
    models = ModelConfig("small", "http://s/v1"), ModelConfig("large", "http://l/v1", api_key_env="L_KEY")
    judge = "large" if own else "third@http://t/v1"
    config = with_absolute_paths(RunConfig("nq-open:5", *models, test=TestConfig("mt-bench", judge=judge)))
    assert config.test.judge == ("large@http://l/v1#L_KEY" if own else judge)


def test_a_judge_that_is_not_understood_changes_no_label_and_is_given_more_tokens_by_the_command_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was asked about all 40 prompts, and the option that the error named was none of `demur label`."""
    with pairs.running_pair() as found, in_a_thread(fake_endpoint(lambda prompt, seed: "Both are fine")) as judge:
        run = str(tmp_path / "run")
        demur.sample(pairs.write_questions(tmp_path / "p.jsonl", 40, gold=False), **found.names, run=run, n=4)
        demur.label(run=run, entailment="exact")
        before = (tmp_path / "run" / "preferences.jsonl").read_bytes()
        named = f"demur label --run {run} --from judge --judge wise@{judge.base_url}".split()
        for more in ([], ["--judge-tokens", "2000"]):
            monkeypatch.setattr(sys, "argv", [*named, *more])
            with pytest.raises(SystemExit, match="2"):
                main()
            said = capsys.readouterr().err
            assert "none of wise's first 16 replies is a bare list of responses such as 'LLM 1'" in said
            assert "the first is 'Both are fine'; asking stopped" in said
            assert "; no label was changed; " in said
            assert "--judge-tokens 2000" in said
        limits = [body["max_tokens"] for body in judge.requests]
        assert limits == [24] * 16 + [2000] * 16
    assert (tmp_path / "run" / "preferences.jsonl").read_bytes() == before
    assert load_run(run).label.source == "entropy"


def a_run(weak: list[Sample], strong: list[Sample], needs: bool = True) -> Any:
    """What targets need of an opened run with one prompt."""
    prompt = Prompt("one", "Which tree?")
    return SimpleNamespace(
        train_prompts=[prompt],
        complete=lambda prompts: prompts,
        samples=PairSamples({"one": weak}, {"one": strong}),
        meanings=Meanings(exact_match),
        config=SimpleNamespace(label=SimpleNamespace(needs=lambda what: needs)),
    )


def test_targets_by_the_papers_equations() -> None:
    """One meaning each: Eq. 2 is -log of its probability, .5 + .5 against .25 + .25, so 0 against log 2."""

    def side(logprob: float) -> list[Sample]:
        return [Sample(i, "oak", (logprob,), "stop", 1, 1) for i in range(2)]

    sure, unsure = side(-0.6931), side(-1.3863)
    assert printed_targets(a_run(sure, unsure), ["Which tree?"]) == [0.0]
    assert printed_targets(a_run(unsure, sure), ["Which tree?"]) == [1.0]
    assert printed_targets(a_run(sure, unsure), ["Which tree?", "Who?"]) is None
    assert printed_targets(a_run(sure, sampled("oak", "oak")), ["Which tree?"]) is None


def test_what_a_prompt_needs_is_believed_by_both_models() -> None:
    """The strong model says oak three times of four (two others of three beside each), the weak one once of two."""
    run = a_run(sampled("oak", "elm"), sampled("oak", "oak", "oak", ""))
    assert believed_needs(run, ["Which tree?"]) == pytest.approx([3 / 4 * 2 / 3 * 1 / 2])
    assert believed_needs(run, ["Which tree?", "Who?"]) is None
    assert believed_needs(a_run([], [], needs=False), ["Which tree?"]) is None


def test_an_option_that_is_not_given_leaves_what_the_run_says(tmp_path: Path) -> None:
    """Whatever a command overrides: labels, routers and sampling."""
    run = str(tmp_path / "run")
    file = tmp_path / "run.json"
    with running_pair() as pair:
        models = {"weak": pair.weak.base_url, "strong": pair.strong.base_url}
        record: dict[str, Any] = {
            "prompts": str(write_questions(tmp_path / "q.jsonl", 60)),
            "run": run,
            "max_usd": 7.5,
            "weak": {"model": "small", "base_url": models["weak"], "concurrency": 2, "timeout_seconds": 9},
            "strong": {"model": "large", "base_url": models["strong"], "concurrency": 3},
            "sampling": {"n": 3, "top_p": 0.9, "reasoning_effort": "low"},
            "label": {"kind": "hard", "tau": 0.3, "delta": "paper"},
            "router": {"methods": ["sw", "knn"], "serve": "knn", "k": 3, "encoder": "letters", "gate": "off"},
        }
        file.write_text(json.dumps(record))
        demur.run(file)
        demur.sample(record["prompts"], **pair.names, run=run)
        after = load_run(run)
        assert (after.sampling.n, after.sampling.top_p, after.sampling.reasoning_effort) == (3, 0.9, "low")
        assert (after.max_usd, after.weak.concurrency, after.weak.timeout_seconds) == (7.5, 2, 9)
        demur.sample(record["prompts"], **pair.names, run=run, concurrency=5, max_usd=8)
        after = load_run(run)
        assert (after.max_usd, after.weak.concurrency, after.weak.timeout_seconds) == (8, 5, 9)
        demur.label(run=run)
        demur.train(run=run)
        after = load_run(run)
        assert (after.label.kind, after.label.tau, after.label.delta) == ("hard", 0.3, "paper")
        assert (after.router.methods, after.router.serve, after.router.k) == (("sw", "knn"), "knn", 3)
        assert (after.router.encoder, after.router.gate) == ("letters", "off")
        demur.label(run=run, tau=0.2)
        assert (load_run(run).label.kind, load_run(run).label.tau) == ("hard", 0.2)
        demur.label(run=run, kind="margin")  # which has no tau
        assert (load_run(run).label.tau, load_run(run).label.delta) == (0.1, "symmetric")
        demur.label(run=run, source="accuracy")
        assert (load_run(run).label.kind, load_run(run).label.definition) == (None, "rao_blackwell")
        demur.train(run=run, methods="sw")
        assert (load_run(run).router.serve, load_run(run).router.k) == (None, 3)


def test_a_judges_settings_stay_and_a_recorded_judge_elsewhere_needs_leave(tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    with running_pair() as pair:
        demur.sample(write_questions(tmp_path / "q.jsonl", 12), **pair.names, run=run, n=2)
        path = tmp_path / "run" / "run.json"
        kept = json.loads(path.read_text())
        judge = f"large@{pair.strong.base_url}"
        kept["label"] |= {"source": "judge", "judge": judge, "judge_tokens": 2000, "judge_effort": "low"}
        path.write_text(json.dumps(kept))
        demur.label(run=run)
        assert (load_run(run).label.judge_tokens, load_run(run).label.judge_effort) == (2000, "low")
        assert pair.strong.requests[-1]["reasoning_effort"] == "low"
        kept["label"]["judge"] = "large@https://example.org/v1"
        path.write_text(json.dumps(kept))
        with pytest.raises(ArtifactError, match=r"it would send prompts to example\.org"):
            demur.label(run=run)


def test_copies_of_a_tested_prompt_are_named(tmp_path: Path) -> None:
    rows = [{**row, "id": f"{row['id']}{end}"} for row in questions(60) for end in ("", "-again")]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = str(tmp_path / "run")
    with running_pair() as pair:
        demur.sample(tmp_path / "q.jsonl", **pair.names, run=run, n=2)
        note = dict(demur.label(run=run).facts)["copies"]
    prompts = read_prompts(tmp_path / "q.jsonl")
    train, test = split_prompts(prompts, load_run(run).test_share)
    there = {one.id for one in (*train, *test)}
    lost = [one.id for one in prompts if one.id not in there]
    assert lost
    assert note.startswith(f"{len(lost)} prompts of those held back, not labelled: ")
    assert ", ".join(lost[:3]) in note


def test_a_run_file_is_told_its_own_key_for_the_tokens_of_a_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`demur run` has no option --judge-tokens."""
    with pairs.running_pair() as found, in_a_thread(fake_endpoint(lambda prompt, seed: "Both are fine")) as judge:
        asked: dict[str, Any] = {
            "prompts": str(pairs.write_questions(tmp_path / "p.jsonl", 40)),
            "run": str(tmp_path / "run"),
            "weak": {"model": "small", "base_url": found.weak.base_url},
            "strong": {"model": "large", "base_url": found.strong.base_url},
            "sampling": {"n": 2},
            "label": {"source": "judge", "judge": f"wise@{judge.base_url}"},
        }
        file = tmp_path / "run.json"
        file.write_text(json.dumps(asked))
        monkeypatch.setattr(sys, "argv", ["demur", "run", str(file)])
        with pytest.raises(SystemExit, match="2"):
            main()
        said = capsys.readouterr().err
        assert "needs more tokens than it got (judge_tokens = 2000)" in said
        assert "--judge-tokens" not in said
        file.write_text(json.dumps({**asked, "label": {"source": "judge"}}))
        with pytest.raises(SystemExit, match="2"):
            main()
        assert "needs a judge (judge): a catalogue name or MODEL@BASE_URL" in capsys.readouterr().err


# -- what is said of labels ------------------------------------------------------------------------------------------


def test_a_row_is_of_its_prompt_and_both_first_answers() -> None:
    row = Sampled(PROMPTS, SAMPLES, "w", "s").preference(PROMPTS[1], 0.25, "a kind", 7)
    assert (row.id, row.prompt, row.model_a, row.model_b, row.kind, row.n) == ("hard", "13*17?", "w", "s", "a kind", 7)
    assert (row.response_a, row.response_b, row.target, row.winner) == ("200", "221", 0.25, "model_a")


def test_a_judge_that_is_mostly_not_understood_labels_nothing() -> None:
    """One of three replies is a list: its label alone would replace those of every prompt."""
    prompts = [Prompt(str(i), f"question {i}?") for i in range(3)]
    samples = PairSamples(*({one.id: sampled(said) for one in prompts} for said in ("no", "yes")))
    given = Sampled(prompts, samples, "w", "s")
    with pytest.raises(InputError, match=r"^only 1 of wise's 3 replies .*'Both are fine'.*--judge-tokens") as refused:
        from_judge(given, items_to_judge(given), ["LLM 1", "Both are fine", "Hm"], "wise")
    assert "no label was changed" in str(refused.value)
    assert from_judge(given, items_to_judge(given), ["LLM 1", "LLM 2", "Hm"], "wise").told == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("See `demur report`", "See `demur report --run 'two words'`"),
        ("`demur label --from judge`, `demur doctor`", "`demur label --from judge --run 'two words'`, `demur doctor`"),
        ("`demur label --run other`", "`demur label --run other`"),
        ("`demur replay unseen/grades.jsonl`", "`demur replay unseen/grades.jsonl --run 'two words'`"),
    ],
)
def test_the_commands_in_a_line_are_of_the_runs_folder(line: str, said: str) -> None:
    assert in_folder(line, Path("two words")) == said
    assert in_folder(line, Path("run")) == line


def test_a_judges_replies_are_counted() -> None:
    """Three prompts: equal answers are not asked about, one reply is prose, one names the strong answer alone."""
    prompts = [*PROMPTS, Prompt("third", "Who?")]
    samples = PairSamples(
        {**SAMPLES.weak, "third": sampled("he")},
        {**SAMPLES.strong, "third": sampled("she")},
    )
    given = Sampled(prompts, samples, "w", "s")
    items = items_to_judge(given)
    assert [item.reference for item in items] == ["4", "221", ""]
    assert items[1].responses == {"weak": "200", "strong": "221"}
    replies = [None, "no idea", "LLM 1"]
    found = from_judge(given, items, replies, "wise")
    assert dict(found.facts)["judge"].startswith("wise, asked 2 times: 1 reply not understood, 1 pair of equal ")
    assert {row.id for row in found.preferences} == {"easy", "third"}
    assert next(row for row in found.preferences if row.id == "easy").target == 0.5  # both, since they are equal
    assert {(row.kind, row.n) for row in found.preferences} == {("judge", 1)}


def test_grades_are_of_as_many_samples_as_every_prompt_has() -> None:
    """The hard prompt has one sample: of the easy one the second, wrong one does not count."""
    samples = PairSamples(
        {"easy": sampled("4", "5"), "hard": sampled("221")}, {"easy": sampled("4", "5"), "hard": sampled("221")}
    )
    found = from_grades(Sampled(PROMPTS, samples, "w", "s"), "accuracy soft")
    assert [(row.target, row.n) for row in found.preferences] == [(0.5, 1), (0.5, 1)]
    graded = from_grades(
        Sampled(PROMPTS, SAMPLES, "w", "s"), "accuracy soft", lambda prompt, answer: float(answer == "221")
    )
    assert [row.target for row in graded.preferences] == [0.5, 1.0]
    with pytest.raises(InputError, match="1 prompt has no gold answers, such as bare; accuracy soft needs them"):
        from_grades(Sampled([*PROMPTS, Prompt("bare", "?")], samples, "w", "s"), "accuracy soft")


@pytest.mark.parametrize(("needed", "given"), [("encoder", "the run's"), ("samples", None)])
def test_an_encoder_is_loaded_where_the_kind_chooses_by_one(
    needed: str, given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []

    def label_prompts(*args: object, encoder: object, **more: object) -> Labels:
        seen.append(encoder)
        return Labels((), ())

    monkeypatch.setattr(module, "label_prompts", label_prompts)
    monkeypatch.setattr(module, "state_answers", lambda run: ())
    config = SimpleNamespace(label=SimpleNamespace(needs=lambda what: what == needed))
    model = SimpleNamespace(model="a model")
    run: Any = SimpleNamespace(
        config=config,
        pair=SimpleNamespace(weak=model, strong=model),
        own=SimpleNamespace(grader=None),
        train_prompts=PROMPTS,
        complete=lambda prompts: prompts,
        samples=SAMPLES,
        meanings=Meanings(exact_match),
        stated=None,
        encoder="the run's",
        mapping=map,
        progress=None,
    )
    module.label_run(run)
    assert seen == [given]


def labelled_by(monkeypatch: pytest.MonkeyPatch, needed: str, grader: Any = None) -> Any:
    """Which way of labelling a run takes whose source needs this, and what that is given."""
    for name in ("from_file", "_from_judge", "from_grades", "label_prompts"):

        def found(*given: Any, name: str = name, **more: Any) -> Any:
            return Labels((), (), (name,)) if name == "label_prompts" else (name, given, more)

        monkeypatch.setattr(module, name, found)
    monkeypatch.setattr(module, "state_answers", lambda run: ("stated",))
    label = SimpleNamespace(needs=lambda what: what == needed, source="a source", name="a kind")
    run: Any = SimpleNamespace(
        config=SimpleNamespace(label=label),
        pair=SimpleNamespace(weak=SimpleNamespace(model="small"), strong=SimpleNamespace(model="large")),
        own=SimpleNamespace(grader=grader),
        train_prompts=PROMPTS,
        held_back=[Prompt("kept", "Kept?")],
        complete=lambda prompts: prompts[:1],
        samples=SAMPLES,
        meanings=Meanings(exact_match),
        stated=None,
        encoder=None,
        mapping=map,
        progress=None,
    )
    return module.label_run(run)


def right(prompt: Prompt, answer: str) -> float:
    return 1.0


def test_a_run_is_labelled_by_what_its_source_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    name, given, more = labelled_by(monkeypatch, "file")
    assert (name, given[1:], more) == ("from_file", ("small", "large"), {"kept": {"Kept?"}})
    name, given, _ = labelled_by(monkeypatch, "judge")
    assert (name, given[1]) == ("_from_judge", Sampled(PROMPTS[:1], SAMPLES, "small", "large"))
    for grader in (None, right):
        name, given, _ = labelled_by(monkeypatch, "gold answers", grader)
        assert (name, given[1:]) == ("from_grades", ("a kind", grader))
    assert labelled_by(monkeypatch, "samples").notes == ("stated", "label_prompts")  # nothing declines or is unknown


@pytest.mark.parametrize("needed", ["file", "judge", "samples"])
def test_a_grader_is_refused_where_nothing_is_graded(needed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        InputError, match=r"^a grader belongs to sources accuracy and quality-gap; this is source 'a so"
    ):
        labelled_by(monkeypatch, needed, right)


def noted(monkeypatch: pytest.MonkeyPatch, **given: Any) -> tuple[list[str], dict[str, str]]:
    """Notes and facts of a run of four prompts, all complete and none for measuring but for what is ``given``."""
    monkeypatch.setattr(label_notes, "shortfalls", lambda file, prompts: (f"{len(prompts)} of {file}",))
    monkeypatch.setattr(label_notes, "has_pictures", lambda prompt: prompt.id.startswith("picture"))
    prompts = given.get("prompts") or [Prompt(str(i), f"q{i}") for i in range(4)]
    run: Any = {
        "unfinished": 0,
        "sampled_share": "7 of 8 samples",
        "config": SimpleNamespace(
            label=SimpleNamespace(needs=lambda what: what == "samples"), test_share=0.25, prompts="p.jsonl"
        ),
        "train_prompts": prompts,
        "held_back": [],
        "prompts": prompts,
        "is_complete": lambda prompt: prompt.id != "0",
        "encoder_name": "minilm",
        **given,
    }
    open_run: Any = SimpleNamespace(**run)
    return notes_of(open_run), dict(facts_of(open_run))


def test_which_prompts_are_not_labelled_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    every = [Prompt(str(i), f"q{i}") for i in range(5)]
    assert noted(monkeypatch) == (["4 of p.jsonl"], {})
    assert noted(monkeypatch, unfinished=1)[0][0] == (
        "7 of 8 samples are there: labelling the 3 complete prompts of 4; the same `demur sample` goes on"
    )
    _, held = noted(monkeypatch, prompts=every, train_prompts=every[:3], held_back=every[3:])
    assert held == {"held back": "2 of 5 prompts, for measuring (test_share 0.25 of those with gold answers)"}
    said = "prompts of those held back, not labelled:"
    assert noted(monkeypatch, prompts=every, train_prompts=every[:2])[1] == {"copies": f"3 {said} 2, 3, 4"}
    assert noted(monkeypatch, prompts=every, train_prompts=every[:1])[1] == {"copies": f"4 {said} 1, 2, 3, ..."}


def test_who_sees_the_pictures_of_prompts_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """That the router does not is something to be careful about; that it does is a fact."""
    prompts = [Prompt("picture", "q"), Prompt("plain", "q")]
    (blind, _), facts = noted(monkeypatch, prompts=prompts, encoder_name="e")
    assert blind.startswith("the router does not see the pictures of 1 prompt")
    assert f"`demur train --encoder e{IMAGES}FILE`" in blind
    assert facts == {}
    notes, facts = noted(monkeypatch, prompts=prompts, encoder_name=f"e{IMAGES}f")
    assert (len(notes), facts["pictures"]) == (1, "in 1 prompt: both models and the router see them")


def test_a_file_all_of_whose_prompts_are_kept_is_refused(tmp_path: Path) -> None:
    rows = [{"model_a": "small", "model_b": "large", "prompt": prompt, "winner": "tie"} for prompt in ("One?", "Two?")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    label = LabelConfig(source="preference", file=str(tmp_path / "rows.jsonl"))
    with pytest.raises(InputError, match=r"rows\.jsonl: all of its 2 prompts are kept for measuring$"):
        from_file(label, "small", "large", kept={"One?", "Two?"})
    found = from_file(label, "small", "large", kept={"One?"})
    assert found.facts == (("left out", "1 row, whose prompt is kept for measuring"),)


def test_the_relaxation_that_spreads_the_labels_is_named() -> None:
    """The strong model is 1 and 1/2 better: from a relaxation of 1/2 on, and below 1, the labels differ."""
    grades = {"4": 1.0, "221": 0.5}
    samples = PairSamples(
        {"easy": sampled("none"), "hard": sampled("none")}, {"easy": sampled("4"), "hard": sampled("221")}
    )
    given = Sampled(PROMPTS, samples, "w", "s")
    found = from_grades(given, "quality-gap trans", lambda prompt, answer: grades.get(answer, 0.0))
    assert found.facts == (("relaxation", "t = 0.5"),)
    assert [row.target for row in found.preferences] == [1.0, 0.0]


def test_for_the_papers_equations_the_models_are_not_compared_with_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, usual = list[bool](), pair_meanings.pair_meanings

    def compared(*given: Any, joint: bool) -> Any:
        asked.append(joint)
        return usual(*given, joint=joint)

    monkeypatch.setattr(module, "pair_meanings", compared)
    side = [Sample(i, "oak", (-0.5,), "stop", 1, 1) for i in range(2)]
    assert printed_targets(a_run(side, side), ["Which tree?"]) == [0.5]
    assert asked == [False]

"""The paper's experiment on a run's own pair: test sets beside the training mix, graded apart, and its tables."""

from __future__ import annotations

import gzip
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import demur
from demur.cli.main import app
from demur.config import TestConfig, read_run_file
from demur.errors import InputError
from demur.evaluation.experiment.export_outcomes import export_outcomes
from demur.evaluation.experiment.rating import Rated, ask_ratings, rating_of, rating_prompt
from demur.evaluation.experiment.test_sets import cut_note, grader_of
from demur.models.encoders.encoder import LetterEncoder
from demur.models.endpoint import Endpoint
from demur.models.requests.useful_replies import TRIED
from demur.paper.outcomes import data_of
from demur.paper.overhead.quality import stored_quality
from demur.paper.parts.part import Cells
from demur.paper.reproduction import Reproduction, reproduce, reproduce_run
from demur.prompts import PAPER_MIX, load_parts
from demur.records import Prompt, Sample, SamplingSettings
from demur.store import Store
from demur.testing import fake_endpoint, in_a_thread
from pairs import Pair, questions, running_pair, strong, weak

SETTINGS = 'n = 4\n[label]\nentailment = "exact"\n[router]\nmethods = ["sw", "kernel"]\nencoder = "letters"\n'


def knows(prompt: str, seed: int) -> str:
    """The strong model, and the judge: an answer that says precise is worth 9, any other 4."""
    if "[[rating]]" in prompt:
        last = prompt.rpartition("Assistant")[0]
        return f"It is fair. Rating: [[{9 if 'precise' in last.rpartition('###')[2] + last[-40:] else 4}]]"
    return "a precise answer" if "Tell" in prompt else strong(prompt, seed)


def wavers(prompt: str, seed: int) -> str:
    return "a vague answer" if "Tell" in prompt else weak(prompt, seed)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with running_pair(answers=(wavers, knows)) as found:
        yield found


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run_file(folder: Path, pair: Pair, test: str) -> Path:
    """Trains on 60 questions, none of them held back, and is tested on other sums and colours and on two talks."""
    train = questions()
    others = [row | {"id": f"t-{row['id']}", "prompt": str(row["prompt"]).replace("picture", "image")} for row in train]
    for row in others:
        if "plus" in str(row["prompt"]):
            row["prompt"] = str(row["prompt"]).replace("plus", "plus 100 plus")
            row["answers"] = [str(int(str(row["answers"][0])) + 100)]  # type: ignore[index]
        else:
            row["answers"] = [str(row["answers"][0]).replace("picture", "image")]  # type: ignore[index]
    lines(folder / "train.jsonl", train)
    lines(folder / "mixed.jsonl", [*others, {key: train[0][key] for key in ("prompt", "answers")}])
    lines(
        folder / "talks.jsonl",
        [
            {"id": f"talk-{i}", "question": t, "turns": [t, f"Tell more of {i}."]}
            for i in range(4)
            for t in [f"Tell {i}."]
        ],
    )
    ends = f'[weak]\nmodel = "small"\nbase_url = "{pair.weak.base_url}"\n'
    ends += f'[strong]\nmodel = "large"\nbase_url = "{pair.strong.base_url}"\n'
    head = f'prompts = "{folder}/train.jsonl"\nrun = "{folder}/run"\ntest_share = 0\n'
    (folder / "run.toml").write_text(f"{head}{ends}[test]\n{test}\n[sampling]\n{SETTINGS}")
    return folder / "run.toml"


def rows_of(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress((folder / f"{name}.jsonl.gz").read_bytes()).splitlines()]


def table(found: Reproduction, part: str) -> dict[str, Cells]:
    (one,) = [one for one in found.parts if one.name == part]
    return {row[0]: row for row in one.content.rows}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, pair: Pair) -> Path:
    """A whole run, whose folder is ``run``."""
    folder = tmp_path_factory.mktemp("own")
    sets = f'prompts = "{folder}/mixed.jsonl + {folder}/talks.jsonl"\njudge = "large@{pair.strong.base_url}"'
    demur.run(run_file(folder, pair, sets))
    return folder


def test_sets_are_graded_apart_and_prompts_of_the_training_mix_left_out(made: Path) -> None:
    mixed, talks = (rows_of(made / "run/paper/outcomes", name) for name in ("mixed", "talks"))
    assert len(mixed) == 60
    assert np.mean([row["correct"]["large"] for row in mixed]) == 1.0
    assert {row["correct"]["small"] for row in mixed if "image" in row["question"]} == {1.0}
    assert np.mean([row["correct"]["small"] for row in mixed if "plus" in row["question"]]) < 0.1
    assert [row["score"] for row in talks] == [{"small": [4.0, 4.0], "large": [9.0, 9.0]}] * 4
    described = json.loads((made / "run/paper/outcomes.json").read_text())
    known = "mixed: 1 prompt is in the training mix and left out, such as 'What is 11 plus 7?'"
    assert described["notes"] == [known]
    assert described["graders"] == {"mixed": "containment", "talks": "judge"}


def test_a_run_says_what_its_test_sets_came_to_and_that_tables_come_next(made: Path) -> None:
    shown = CliRunner().invoke(app, ["run", str(made / "run.toml")])
    assert shown.exit_code == 0, shown.exception
    lines = shown.stdout.splitlines()
    (at,) = [i for i, line in enumerate(lines) if line.startswith("mixed: 60 test prompts, graded by containment: ")]
    assert re.fullmatch(r".*: small 0\.5\d\d \[0\.\d{3}, 0\.\d{3}\], large 1\.000 \[1\.000, 1\.000\]", lines[at])
    assert re.search(r"calls stay local, quality \S+ \[", lines[at + 1])
    assert lines[at + 2] == "  measured on  60 test prompts of mixed"
    (end,) = [line for line in lines[at:] if line.endswith("left out, such as 'What is 11 plus 7?'")]
    assert end.startswith("- ")
    assert any(
        re.search(r"^talks: 4 test prompts, rated 1 to 10 by the judge large: small 4\.000", line) for line in lines
    )
    assert "No test prompt has gold answers" not in shown.stdout
    assert shown.stderr.splitlines()[-1] == f"next: demur reproduce --run {made / 'run'}"


def test_a_second_turn_is_asked_after_the_models_own_answer(made: Path, pair: Pair) -> None:
    (asked, *_) = [r["messages"] for r in pair.weak.requests if r["messages"][-1]["content"] == "Tell more of 2."]
    assert [one["content"] for one in asked] == ["Tell 2.", "a vague answer", "Tell more of 2."]
    assert [one["role"] for one in asked] == ["user", "assistant", "user"]


def test_the_tables_are_of_the_runs_own_pair_and_ask_nobody(made: Path, pair: Pair) -> None:
    asked = len(pair.weak.requests) + len(pair.strong.requests)
    only = ("table-1", "table-2", "cost", "tau", "in-domain", "oracle", "random", "demur-served", "demur-staged")
    found = reproduce_run(
        str(made / "run"), only=(*only, "confidence-sw", "to-knn", "routellm-sw", "nq-open-entropy-hard")
    )
    assert len(pair.weak.requests) + len(pair.strong.requests) == asked
    shown = table(found, "table-1")
    assert any(name.startswith("talks: n 4, weak 4.00000 [4.00000, 4.00000], strong 9.00000 [") for name in shown)
    assert any("no preferences are stored" in name for name in shown)
    assert any(name.startswith("mixed, large / small: n 60") for name in table(found, "table-2"))
    served = table(found, "table-2")["demur: kernel, as served (demur's default)"]
    assert float(served[3].split()[0]) > 0.7  # .75: half of the prompts gain, and words tell which
    assert "Table 2's shape" in found.lines[0]
    assert (made / "run/reproduce/reproduce.html").exists()


def test_exported_outcomes_are_read_as_a_folder_and_under_other_names(made: Path, tmp_path: Path) -> None:
    shown = export_outcomes(run=str(made / "run"), to=str(tmp_path / "out")).lines
    assert shown[-1].endswith("mixed (60 prompts), talks (4 prompts), and 60 training prompts")
    with pytest.raises(InputError, match="out holds files; give an empty folder with --to, or --force"):
        export_outcomes(run=str(made / "run"), to=str(tmp_path / "out"))
    assert data_of(tmp_path / "out").sets == ("mixed", "talks")
    found = reproduce(tmp_path / "out", only=("table-2", "demur-served"), out=tmp_path / "page", encoder="letters")
    assert len(found.parts) == 1
    other = reproduce(
        tmp_path / "out", only=("table-2", "random"), out=tmp_path / "page", strong="huge", encoder="letters"
    )
    assert "huge of correct is missing" in " ".join(other.lines)


def test_tables_of_one_set_take_the_first_whose_models_leave_a_gap(made: Path, tmp_path: Path) -> None:
    export_outcomes(run=str(made / "run"), to=str(tmp_path / "out"))
    equal = [row | {"correct": {"small": 1.0, "large": 1.0}} for row in rows_of(tmp_path / "out/outcomes", "mixed")]
    with gzip.open(tmp_path / "out/outcomes/mixed.jsonl.gz", "wt") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in equal)
    found = reproduce(tmp_path / "out", only=("table-2", "random"), out=tmp_path / "page", encoder="letters")
    assert any(name.startswith("talks, large / small: n 4") for name in table(found, "table-2"))


def test_answers_that_were_cut_are_counted() -> None:
    whole, cut = (Sample(0, "so", None, reason, 1, 8) for reason in ("stop", "length"))
    end, settings = Endpoint("small", "http://127.0.0.1:1"), SamplingSettings(max_tokens=8)
    said = "gsm8k: 1 of 3 answers of small were cut at 8 tokens, and graded as they are; raise max_tokens in [test]"
    assert cut_note("gsm8k", end, [[[whole]], [[whole], [cut]]], settings) == said
    assert cut_note("gsm8k", end, [[[whole]]], settings) == ""


def test_the_command_takes_a_run_or_a_folder(made: Path) -> None:
    shown = CliRunner().invoke(app, ["reproduce", "--run", str(made / "run"), "--only", "table-2,random"])
    assert shown.exit_code == 0
    assert "Random" in shown.stdout
    with pytest.raises(InputError, match="give --from"):
        CliRunner().invoke(app, ["reproduce", "--run", "a", "--from", "b"], catch_exceptions=False)


def test_a_set_that_nobody_can_grade_is_an_error_before_a_model_is_asked() -> None:
    open_ended = [Prompt("a", "Tell me.")]
    with pytest.raises(InputError, match="talks: its prompts have no gold answers; name a judge"):
        grader_of("talks", open_ended, TestConfig("talks.jsonl"))
    with pytest.raises(InputError, match="1 prompt has no gold answers, which grader numeric needs; use judge"):
        grader_of("talks", open_ended, TestConfig("talks.jsonl", graders={"talks": "numeric"}))
    with pytest.raises(InputError, match="'by eye' is not one of exact, containment, numeric, choice, judge"):
        grader_of("talks", open_ended, TestConfig("talks.jsonl", graders={"talks": "by eye"}))


@pytest.mark.parametrize(
    ("prompt", "grader"),
    [
        (Prompt("a", "2+2?", ("4",)), "numeric"),
        (Prompt("a", "Capital?", ("Paris",)), "containment"),
        (Prompt("a", "Which?\nA. x\nB. y", ("B",), ("x", "y")), "choice"),
    ],
)
def test_gold_answers_say_how_a_set_is_graded(prompt: Prompt, grader: str) -> None:
    assert grader_of("one", [prompt], TestConfig("one")) == grader


def test_the_judge_sees_references_and_whole_conversations() -> None:
    first = rating_prompt(Rated(("1+1?",), ("2",), ("two",)))
    assert "[The Start of Reference Answer]\ntwo\n" in first
    assert "correctness and helpfulness" in first
    second = rating_prompt(Rated(("Hi?", "And then?"), ("Hello.", "Bye.")))
    assert "### User:\nHi?\n\n### Assistant A:\nHello.\n\n### User:\nAnd then?\n\n### Assistant A:\nBye." in second
    assert "second user question" in second


def test_ratings_are_from_one_to_ten() -> None:
    assert rating_of("As [[2]] says ... Rating: [[7.5]]") == 7.5
    assert rating_of("Rating: [[11]]") is None
    assert rating_of("Rating: 7") is None


@pytest.mark.parametrize(("told", "asked"), [(False, TRIED), (True, 40)])
def test_a_judge_that_rates_none_of_the_first_is_asked_no_more(told: bool, asked: int) -> None:
    """One rating among the first is enough to go on; the same command asks nothing more."""
    items = [Rated((f"Question {i}?",), ("Well.",)) for i in range(40)]

    def rate(prompt: str, seed: int) -> str:
        return "Rating: [[4]]" if told and "Question 9?" in prompt else "It is fair."

    with in_a_thread(fake_endpoint(rate)) as fake, Store(":memory:") as store:
        for _ in range(2):
            if told:
                ratings = ask_ratings(items, f"judge@{fake.base_url}", store)
                assert [i for i, rating in enumerate(ratings) if rating] == [9]
            else:
                with pytest.raises(InputError) as raised:
                    ask_ratings(items, f"judge@{fake.base_url}#usd=0/1", store)
                # 16 replies of 3 tokens, and 24 of up to 512, at $1 per million
                assert "'It is fair.'; asking stopped after $0.000048 (the rest" in str(raised.value)
                assert "can cost $0.0123 at most); a larger model" in str(raised.value)
            assert len(fake.requests) == asked


def test_what_architectures_reach_on_a_runs_stored_outcomes(made: Path) -> None:
    """By letters every router tells the training questions that the weak model knows from those that it does not."""
    found = stored_quality(str(made / "run/paper"), LetterEncoder())
    assert found.about.startswith("large / small: 60 prompts, held out")
    assert min(one.value for one in found.apgr.values()) > 0.6


def test_a_judge_that_rates_nothing_is_named(tmp_path: Path, pair: Pair) -> None:
    folder = tmp_path
    sets = f'prompts = "{folder}/talks.jsonl"\njudge = "small@{pair.weak.base_url}"'
    with pytest.raises(InputError, match=r"none of 16 replies of the judge small@\S+ holds a rating such as"):
        demur.run(run_file(folder, pair, sets))


def test_a_set_that_nothing_can_grade_is_refused_before_a_model_is_asked(tmp_path: Path, pair: Pair) -> None:
    asked = len(pair.weak.requests) + len(pair.strong.requests)
    for sets, said in (
        (f"{tmp_path}/talks.jsonl", "name a judge"),
        (f"{tmp_path}/train.jsonl", "none is left to test on"),
    ):
        with pytest.raises(InputError, match=said):
            demur.run(run_file(tmp_path, pair, f'prompts = "{sets}"'))
    assert len(pair.weak.requests) + len(pair.strong.requests) == asked


def test_parts_of_a_mix_have_names(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", [{"prompt": "x?"}])
    assert list(load_parts(f"{tmp_path}/a.jsonl")) == ["a"]
    with pytest.raises(InputError, match="two of its parts are called 'a'"):
        load_parts(f"{tmp_path}/a.jsonl+{tmp_path}/a.jsonl")


def test_the_example_is_the_papers_experiment_in_small() -> None:
    root = Path(__file__).parents[1]
    shown = (root / "docs/paper.md").read_text().partition("```toml\n")[2].partition("```")[0]
    assert tomllib.loads(shown) == tomllib.loads((root / "examples/paper.toml").read_text())
    config = read_run_file(root / "examples/paper.toml")
    mix, tested = (re.findall(r"([\w-]+):\d+", text) for text in (config.prompts, config.test.prompts))
    assert mix == ["nq-open", "triviaqa", "popqa", "mawps"] == re.findall(r"([\w-]+):\d+", PAPER_MIX)
    assert tested == ["mt-bench", "gsm8k", "mmlu"]
    assert config.test_share == 0
    assert config.test.judge


def test_a_run_without_test_sets_has_no_experiment(tmp_path: Path, pair: Pair) -> None:
    demur.sample(lines(tmp_path / "p.jsonl", questions()), **pair.names, run=str(tmp_path / "run"), n=2)
    with pytest.raises(InputError, match="its run file names no test sets"):
        reproduce_run(str(tmp_path / "run"))

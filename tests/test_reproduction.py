"""`demur reproduce` on a tiny planted folder and on tampered copies of it; the shared data give the printed anchors."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from demur.cli.main import app
from demur.errors import InputError, MissingExtraError
from demur.labels.judge.judge_replies import JudgeItem
from demur.measure.curve import cost_quality_curve
from demur.methods import BY_NAME, KNN
from demur.models.encoders.encoder import LetterEncoder
from demur.paper.listing import PARTS, choose_parts, listing
from demur.paper.measures import Laboratory, mean_apgr, oracle_intervals, random_routers, usd_at_cpt80
from demur.paper.outcomes import Benchmark, Costs, benchmark
from demur.paper.overhead.architectures import ARCHITECTURES
from demur.paper.overhead.quality import NOT_STORED
from demur.paper.parts import judged_answers as judged
from demur.paper.parts import overheads
from demur.paper.parts.in_domain import row_key
from demur.paper.parts.judged_answers import goes_strong
from demur.paper.parts.part import Cells, reasons_together
from demur.paper.reproduction import Reproduction, reproduce
from demur.paper.sources.authors import AUTHORS, authors_set
from demur.paper.sources.own import default_targets
from demur.paper.sources.peers import consensus_targets, smoothie_targets
from demur.paper.sources.trainings import ANSWER_WRONG, PRINTED, SOURCES, judged_pair, sampled_pair
from demur.paper.systems import ROUTERS, SYSTEMS, System
from tiny_paper import N, read, tiny_paper, write
from worlds import planted

SOME = ("to-knn", "routellm-sw", "confidence-knn", "printed-sw", "frugalgpt", "oracle", "random")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tiny_paper(tmp_path / "data")


def made(folder: Path, *only: str, **options: Any) -> Reproduction:
    return reproduce(folder, out=folder / "out", only=only, encoder=LetterEncoder(), **options)


def rows(found: Reproduction, part: str) -> dict[str, Cells]:
    """The rows of a part by their first cell; the last of that name counts."""
    (one,) = [one for one in found.parts if one.name == part]
    return {row[0]: row for row in one.content.rows}


def laboratory(folder: Path) -> Laboratory:
    return Laboratory(folder, LetterEncoder(), folder)


@pytest.mark.parametrize("router", ROUTERS)
def test_every_router_finds_the_planted_direction(router: str) -> None:
    X, y, p = planted(1200)
    scores = ROUTERS[router](X[:900], y[:900], X[900:])
    found, best = (cost_quality_curve(s, 1 - p[900:], np.full(300, 0.9)).apgr for s in (scores, p[900:]))
    assert found - 0.5 > 0.4 * (best - 0.5)  # MF with its default decay finds the least


@pytest.mark.parametrize("system", [s for s in SYSTEMS if s.source != AUTHORS and not s.lacks], ids=lambda s: s.key)
def test_every_system_goes_from_its_labels_to_the_planted_structure(folder: Path, system: System) -> None:
    lab = laboratory(folder)
    for name in ("gsm8k", "mt_bench"):
        asked = lab.benchmark(name)
        hard = np.array(["zzz" in question for question in asked.questions])
        best = cost_quality_curve(hard, asked.weak, asked.strong).apgr  # what can be known from the question
        assert lab.curve(system, asked).apgr - 0.5 > 0.8 * (best - 0.5)


def test_default_labels_of_class_sizes_rise_where_the_weak_model_alone_is_unsure() -> None:
    """Prompts: both sure, the weak one unsure, both unsure."""
    sure, unsure = ([4.0] * 4, [0.1] * 4), ([1.0] * 4, [4.0, 5.0, 6.0, 7.0])
    sizes, nll = (np.array([sure[i], unsure[i], unsure[i]]) for i in (0, 1))
    strong = [np.array([sure[i], sure[i], unsure[i]]) for i in (0, 1)]
    assert default_targets((sizes, strong[0]), (nll, strong[1])).argmax() == 1


def test_what_stored_outcomes_lack_for_demurs_own_rows_is_said(folder: Path) -> None:
    found = rows(made(folder, "demur-staged", "demur-unknown", "demur-local-unknown", "demur-local-staged"), "table-2")
    (line,) = [name for name in found if "two stages" in name and name.startswith("demur: ")]
    assert "one text of each is stored" in line
    for pair in ("demur", "demur-local"):
        assert len(found[f"{pair}: kernel, as served, unknown prompts to the strong model (demur's default)"]) == 8


def test_the_consensus_weighs_the_model_that_agrees_with_it_more() -> None:
    """Strong samples first. Alone on the third prompt, the strong model's vote counts, since it agreed elsewhere."""
    joint = [np.array(ids) for ids in ([0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 1, 1])]
    assert consensus_targets(joint).tolist() == [0.75, 0.75, 1.0]


def test_smoothie_finds_the_answer_that_lies_apart() -> None:
    """The strong model's two answers are one text; the weak model's is another one on the second prompt."""
    said = ["aa", "bb"]
    assert smoothie_targets(LetterEncoder(), (["aa", "zq"], said, said)).tolist() == [0.0, 1.0]
    assert smoothie_targets(LetterEncoder(), (["aa", ""], said, said)).tolist() == [0.0, 1.0]  # silence is apart, too


@pytest.mark.usefixtures("quick")
def test_the_default_is_measured_in_two_stages_where_texts_are_stored(folder: Path) -> None:
    one = rows(made(folder, "nq-open-demur-s-default", "local-demur-s-default"), "in-domain")
    assert len(one["demur's default"]) == 3 + len(ROUTERS)  # the last is of the local pair
    assert float(one["demur's default"][-1].split()[0]) > 0.9  # hard prompts are known by their words


def test_one_neighbour_gives_scores_that_no_threshold_can_tune() -> None:
    X, y, _ = planted(200)
    assert set(KNN(1).fit(X, y).predict_proba(X)[:, 1]) <= {0.0, 1.0}


def test_names_are_named_once_and_listed() -> None:
    every = [key for kind in PARTS.values() for key in kind.rows]
    assert len({one.key for one in SYSTEMS}) == len(SYSTEMS)
    assert set(PARTS).isdisjoint(every)
    listed = "\n".join(listing())
    assert all(name in listed for name in (*PARTS, *every))
    assert row_key("nq-open", PRINTED) == "nq-open-entropy-paper-eq-2-3"


def test_only_picks_parts_and_rows() -> None:
    assert choose_parts(()) == (tuple(PARTS), frozenset())
    assert choose_parts(("routellm-sw",)) == (("table-1", "table-2", "cost"), frozenset({"routellm-sw"}))
    assert choose_parts(("cost", "routellm-sw", "figure-1")) == (("figure-1", "cost"), frozenset({"routellm-sw"}))
    with pytest.raises(InputError, match="no part or row is called 'table-9'"):
        choose_parts(("table-9",))


def test_the_list_needs_no_folder_and_the_rest_does() -> None:
    shown = CliRunner().invoke(app, ["reproduce", "--list"])
    assert shown.exit_code == 0
    assert "pool-open-graphrouter-task" in shown.stdout
    with pytest.raises(InputError, match="give --from, a folder"):
        CliRunner().invoke(app, ["reproduce"], catch_exceptions=False)
    with pytest.raises(InputError, match="no such folder"):
        reproduce("nowhere at all")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the two routers that take long to learn, and architectures at two small sizes."""
    monkeypatch.setattr(overheads, "SIZES", (40, 80))
    for router in ("routerdc", "graphrouter"):
        monkeypatch.setitem(ROUTERS, router, ROUTERS["sw"])


@pytest.mark.usefixtures("quick")
def test_every_part_is_made_and_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judged, "ask_judge", _first_is_best)
    monkeypatch.setattr(judged, "model", lambda name: SimpleNamespace(here=True))
    picked = (
        "nq-open-accuracy-hard",
        "human-gpt35-accuracy-hard",
        "human-gpt35-preference",
        "local-agreement",
        "local-judge",
    )
    found = made(folder, *PARTS, *SOME, *picked, "pool-open-single", "pool-open-mf", "pool-gsm8k-oracle", judged=7)
    assert [part.name for part in found.parts] == list(PARTS)
    assert not [row for part in found.parts for row in part.content.rows if "no such" in row[0]]
    table = rows(found, "table-1")
    (head,) = [row for row in table if row.startswith("mmlu: n 60, weak 58.3333 [")]  # 35 and 55 of 60
    assert ", strong 91.6667 [" in head
    assert len(table["Random"]) == len(table["TO-Router: kNN (accuracy hard)"]) == 8
    assert table["TO-Router: kNN (accuracy hard)"][-1] == "43.73 / 77.74"  # the paper's, on MMLU, the last one
    assert rows(found, "table-2")["TO-Router: kNN (accuracy hard)"][-1] == "49.44 / 79.98"
    assert "only 60 prompts" in rows(found, "figure-1")["entropy hard"]
    assert rows(found, "cost")["TO-Router: kNN (accuracy hard)"][-1] == "not computable: no responses are stored"
    assert rows(found, "in-domain")[
        "judge: not computable: no judgements are stored, and asking for them takes one call per "
        "prompt: `demur label --from judge`"
    ]
    assert "no texts" in [row[-1] for row in found.parts[6].content.rows if row[0] == "accuracy hard"]
    assert "preference: the same labels as accuracy hard" in rows(found, "in-domain")
    best, cost = rows(found, "pools")["best single model, large-70b"][3:]
    cost_of = rows(found, "overhead")
    assert {*ARCHITECTURES} == {*cost_of}
    assert cost_of["cascade"][-3] == NOT_STORED
    assert all(re.fullmatch(r"\S+ \[\S+, \S+\]", cost_of[name][-3]) for name in BY_NAME)
    assert "N = 80 training prompts" in found.parts[-2].content.notes[0]
    assert (best.split()[0], cost) == (".917", "70")
    assert re.fullmatch(r"\.917 \[\.\d+, (1\.0+|\.\d+)\]", best)
    assert len((folder / "out/judged-cpt50.jsonl").read_text().splitlines()) == N  # all of them, seven judged
    assert "Of 60 items 7 were judged" in found.parts[-1].content.notes[1]
    pictures = {path.stem for path in (folder / "out").glob("*.png")}
    assert pictures == {"figure-1", "figure-2", "overhead", "pools"}
    page = found.page.read_text()
    assert "not a fair comparison with RouteLLM" in page
    assert "What differs from the paper" in found.lines[0]
    written = json.loads(json.dumps(found.as_dict()))
    assert written["parts"][0]["columns"][0] == "row"


def _first_is_best(items: Sequence[JudgeItem], *_: object, **__: object) -> list[str | None]:
    return [None if len(set(item.responses.values())) == 1 else "LLM 1" for item in items]


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_the_whole_runs_on_the_tiny_folder(folder: Path) -> None:
    found = made(folder)
    assert [part.name for part in found.parts] == list(PARTS)
    sources = [row[0] for row in found.parts[6].content.rows]
    assert all(any(source in row for row in sources) for source in SOURCES)


def test_a_missing_file_takes_only_its_own_rows(folder: Path) -> None:
    (folder / "outcomes/nq_open_human_judged.jsonl.gz").unlink()
    found = made(folder, "table-1", "figure-1", "figure-2", "cost", *SOME)
    for part in ("table-1", "cost"):
        whole = rows(found, part)
        assert len(whole["TO-Router: kNN (accuracy hard)"]) > 1
        lost = [row for row in whole if row.startswith(("RouteLLM", "FrugalGPT")) and "nq_open_human_judged" in row]
        assert len(lost) == 2, whole
    assert len(rows(found, "figure-1")["entropy hard"]) > 1
    assert all(part.content.figure is not None for part in found.parts[1:3])


def test_without_samples_the_other_labels_are_measured(folder: Path) -> None:
    (folder / "samples/nq_open_gpt35_llama2_7b_chat.jsonl.gz").unlink()
    found = rows(made(folder, "cost", *SOME), "cost")
    assert len(found["RouteLLM: SW (preference)"]) == len(found["FrugalGPT: cascade (weak answer wrong)"]) == 4
    assert any(row.startswith("TO-Router: kNN (accuracy hard): not computable") for row in found)


def test_a_row_without_one_of_the_models_names_file_row_and_model(folder: Path) -> None:
    tampered = read(folder, "outcomes/gsm8k_gpt4_mixtral")
    del tampered[4]["correct"]["gpt-4-1106-preview"]
    write(folder, "outcomes/gsm8k_gpt4_mixtral", tampered)
    found = rows(made(folder, "table-1", "to-knn"), "table-1")
    (lost,) = [row for row in found if row.startswith("gsm8k")]
    assert "gsm8k_gpt4_mixtral.jsonl.gz:5: gpt-4-1106-preview of correct is missing" in lost
    assert len(found["TO-Router: kNN (accuracy hard)"]) > 1  # on the other benchmarks


@pytest.mark.parametrize("value", [None, "right", float("nan"), []])
def test_a_judgement_that_is_no_number_is_named(folder: Path, value: object) -> None:
    tampered = read(folder, "outcomes/nq_open_human_judged")
    tampered[2]["human_correct"]["chatgpt"] = value
    write(folder, "outcomes/nq_open_human_judged", tampered)
    with pytest.raises(InputError, match=r"nq_open_human_judged.jsonl.gz:3: chatgpt of human_correct"):
        judged_pair(folder, "chatgpt")


def test_files_that_are_no_rows_are_named(folder: Path) -> None:
    path = folder / "outcomes/mmlu_gpt4_mixtral.jsonl.gz"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match="cannot be read"):
        benchmark(folder, "mmlu")
    write(folder, "outcomes/mmlu_gpt4_mixtral", [])
    with pytest.raises(InputError, match="no rows"):
        benchmark(folder, "mmlu")


def test_models_that_never_differ_are_not_computable(folder: Path) -> None:
    tampered = read(folder, "outcomes/zeroeval_gsm8k")
    for row in tampered:
        row["scores"] = dict.fromkeys(row["scores"], 1)
    write(folder, "outcomes/zeroeval_gsm8k", tampered)
    (only,) = made(folder, "table-2", "to-knn").parts[0].content.rows
    assert "the strong model is no better than the weak one (mean quality 1 and 1)" in only[0]


@pytest.mark.usefixtures("quick")
def test_a_pair_of_all_ties_does_not_stop_the_pairs_behind_it(folder: Path) -> None:
    tampered = read(folder, "outcomes/nq_open_human_judged")
    for row in tampered:
        row["human_correct"]["chatgpt"] = row["human_correct"]["gpt4"]
    write(folder, "outcomes/nq_open_human_judged", tampered)
    found = rows(made(folder, "in-domain", "human-chatgpt-preference", "local-accuracy-hard"), "in-domain")
    assert any(row.startswith("human-chatgpt: not computable: the strong model is no better") for row in found)
    assert len(found["accuracy hard"]) > 1


def test_a_router_that_never_recovers_has_no_calls_to_judge(folder: Path) -> None:
    quality = np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 1.0])
    lab, asked = laboratory(folder), Benchmark("gsm8k", ["a"] * 3, *quality)
    stuck = System("stuck", "Stuck", "router", "", lambda X, y, q: np.zeros(3), "")
    lab._kept["scores", "stuck", "gsm8k"] = np.array([np.nan] * 3)
    with pytest.raises(InputError):
        goes_strong(lab, stuck, asked, 0.5)


def test_a_judge_that_is_not_there_leaves_the_items(folder: Path) -> None:
    found = rows(made(folder, "table-3"), "table-3")
    assert any(row.startswith("CPT(50%): not computable: the judge qwen2.5-coder-1.5b is not fetched") for row in found)
    assert (folder / "out/judged-cpt80.jsonl").exists()


def test_a_judge_in_prose_is_no_score(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judged, "model", lambda name: SimpleNamespace(here=True))

    def prose(items: Sequence[JudgeItem], *_: object, **__: object) -> list[str | None]:
        return [None if reply is None else "they are all fine" for reply in _first_is_best(items)]

    monkeypatch.setattr(judged, "ask_judge", prose)
    assert any("is a bare list of responses" in row for row in rows(made(folder, "table-3"), "table-3"))


def test_the_quality_gap_is_of_continuous_quality(folder: Path) -> None:
    """ROUGE-L: the strong model's four samples beat 16, 15, 14 and 13 of ... the weak model's, not 0 or 1 of them."""
    found = sampled_pair(folder)
    hard = np.array(["zzz" in question for question in found.questions])
    assert set(found.targets["quality-gap prob"][hard]) == {1 - 2 / 16}  # .2 < .2 and .2 < .3 are no wins
    assert set(found.targets["accuracy hard"][hard]) == {1.0}
    assert found.notes[0].startswith("NQ-Open, gpt-3.5 / Llama-2-7b: Hybrid LLM's t* = ")
    assert set(found.targets) | set(found.lacking) == set(SOURCES)
    assert set(found.targets[ANSWER_WRONG][hard]) == {1.0}


def test_the_printed_equations_meet_negative_entropies(folder: Path) -> None:
    tampered = read(folder, "samples/nq_open_gpt35_llama2_7b_chat")
    tampered[0]["models"]["llama-2-7b-chat"]["eq2_raw"], tampered[0]["models"]["gpt-3.5-turbo"]["eq2_raw"] = -2.0, -3.0
    write(folder, "samples/nq_open_gpt35_llama2_7b_chat", tampered)
    assert sampled_pair(folder).targets[PRINTED][0] == 1.0  # |-3 + 2| / 3 > .1, and -3 is the smaller


def test_money_by_hand() -> None:
    """Strong is right on the last two of four: four fifths of the gap need .4 of the calls, the dear ones first."""
    costs = Costs(np.full(4, 1.0), np.array([2.0, 2.0, 10.0, 20.0]), ("", ""))
    asked = Benchmark("gsm8k", [""] * 4, np.zeros(4), np.array([0.0, 0.0, 1.0, 1.0]))
    usd, low, high = usd_at_cpt80(np.array([1.0, 2.0, 3.0, 4.0]), asked, costs)
    assert usd == pytest.approx(1 + 1 + (0.4 * 1 + 0.6 * 10) + 20)
    assert low < usd < high
    cascade, *_ = usd_at_cpt80(np.array([1.0, 2.0, 3.0, 4.0]), asked, costs, cascade=True)
    assert cascade == pytest.approx(usd + 1.6)  # the weak answer is paid for where the strong one is given, too


def test_a_second_turn_sends_the_first_and_its_answer_again(folder: Path) -> None:
    pytest.importorskip("genai_prices")
    tampered = [
        {
            "turns": ["a" * 40, "b" * 4],
            "score": {"mixtral-8x7b-instruct": [1, 1], "gpt-4-1106-preview": [9, 9]},
            "response": {"mixtral-8x7b-instruct": ["c" * 8, "d" * 12], "gpt-4-1106-preview": ["c", "d"]},
        }
    ]
    write(folder, "outcomes/mt_bench_gpt4_mixtral", tampered)
    from demur.models.prices import price_of

    price, costs = price_of("mistralai/mixtral-8x7b-instruct"), benchmark(folder, "mt_bench").costs
    assert price is not None
    assert costs is not None
    assert costs.weak[0] == pytest.approx(price.usd((40 + 40 + 8 + 4) / 4, (8 + 12) / 4))
    assert "list price on" in costs.sources[0]


def test_random_routers_land_around_the_chord() -> None:
    asked = Benchmark("mmlu", [""] * 400, np.zeros(400), np.ones(400))
    middle, low, high = random_routers(asked, "routellm")["cpt50"]
    assert (middle, low, high) == pytest.approx((0.5, 0.5, 0.5), abs=0.01)  # every prompt gains: any order is the chord


def test_the_oracles_interval_is_that_of_the_share_that_gains() -> None:
    """Three in ten prompts gain: CPT50 is half of their share, 1.96 sqrt(.3 x .7 / 1,000) / 2 = .0142 around."""
    gains = (np.arange(1000) < 300).astype(float)
    found = oracle_intervals(Benchmark("mmlu", [""] * 1000, np.zeros(1000), gains))
    assert found["cpt50"] == pytest.approx((0.15 - 0.0142, 0.15 + 0.0142), abs=0.002)
    assert found["cpt80"] == pytest.approx((0.24 - 0.0227, 0.24 + 0.0227), abs=0.003)
    assert found["apgr"] == pytest.approx((0.85 - 0.0142, 0.85 + 0.0142), abs=0.002)  # 1 - .3 / 2
    surely = oracle_intervals(Benchmark("mmlu", [""] * 50, np.zeros(50), np.ones(50)))
    assert [*surely.values()] == [pytest.approx((share, share)) for share in (0.5, 0.8, 0.5)]


def test_every_cell_of_a_table_has_an_interval(folder: Path) -> None:
    found = made(folder, "table-1", "cost", "oracle", "random", "to-knn").parts
    table, cost = ([row for row in part.content.rows if len(row) > 1] for part in found)
    assert {row[0] for row in table} == {"oracle", "Random", "TO-Router: kNN (accuracy hard)"}
    assert all("[" in cell for row in table for cell in row[1:7])
    assert all("[" in cell or "not computable" in cell for row in cost for cell in row[1:])
    heads = [row[0] for row in found[0].content.rows if len(row) == 1]
    assert [(head.partition(":")[0], head.count("[")) for head in heads] == [("mt_bench", 2), ("gsm8k", 2), ("mmlu", 2)]


def test_one_reason_is_said_once() -> None:
    lost = [("A: x: not computable: gone",), ("A: y: not computable: gone",), ("b", "1"), ("c: not computable: no",)]
    assert reasons_together(lost) == (("A: x, y: not computable: gone",), ("b", "1"), ("c: not computable: no",))


ARENA = {"id": "1", "prompt": "who?", "response_a": "", "response_b": "", "winner_tie": 0}
AUTHORS_ROWS = [
    ARENA | {"model_a": "gpt-4-0613", "model_b": "mixtral", "winner_model_a": 1, "winner_model_b": 0},
    ARENA | {"model_a": "mixtral", "model_b": "gpt-4-0613", "winner_model_a": 1, "winner_model_b": 0},
]


def test_the_authors_set_comes_from_a_file(folder: Path) -> None:
    path = folder / "preferences/uncertainty_0.1.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in AUTHORS_ROWS))
    questions, y = authors_set(folder)
    assert (questions, y.tolist()) == (["who?", "who?"], [1.0, 0.0])
    assert laboratory(folder).supervision(AUTHORS)[1].tolist() == [1.0, 0.0]


def test_the_authors_set_comes_from_the_hub_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def load_dataset(name: str, split: str) -> list[dict[str, object]]:
        asked.append(f"{name} {split}")
        return AUTHORS_ROWS

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    assert authors_set(folder)[1].tolist() == authors_set(folder)[1].tolist() == [1.0, 0.0]
    assert asked == ["AsalMehradfar/uncertainty_0.1 train"]


def test_an_authors_set_that_cannot_be_had_says_why(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"demur\[hub\]"):
        authors_set(folder)

    def refused(name: str, split: str) -> None:
        raise ConnectionError("no route")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=refused))
    with pytest.raises(InputError, match="cannot be loaded from the hub: no route"):
        authors_set(folder)
    row = AUTHORS_ROWS[0] | {"model_b": "gpt-4-turbo"}
    (folder / "preferences/uncertainty_0.1.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match="exactly one must be a gpt-4"):
        authors_set(folder)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "n", "weak", "strong", "oracle"),
    [
        ("mt_bench", 72, 8.28125, 9.21181, (8.18, 17.08, 0.967)),
        ("gsm8k", 1307, 0.637337, 0.857689, (11.02, 17.63, 1.133)),
        ("mmlu", 14037, 0.680915, 0.805870, (6.25, 10.00, 1.2965)),
    ],
)
def test_ends_and_oracle_are_those_of_the_design(
    shared_rows: Callable[[str], object], name: str, n: int, weak: float, strong: float, oracle: tuple[float, ...]
) -> None:
    from conftest import SHARED

    shared_rows(f"outcomes/{name}_gpt4_mixtral")
    found = benchmark(SHARED, name)
    curve = cost_quality_curve(np.zeros(n), found.weak, found.strong)
    assert (round(curve.weak_quality, 6), round(curve.strong_quality, 6)) == pytest.approx((weak, strong), abs=5e-6)
    best = curve.oracle
    assert (100 * best.cpt(0.5), 100 * best.cpt(0.8)) == pytest.approx(oracle[:2], abs=0.005)
    assert best.apgr == pytest.approx(oracle[2], abs=5e-4)
    assert (curve.cpt(0.5), curve.cpt(0.8), curve.apgr) == pytest.approx(
        (0.5, 0.8, 0.5)
    )  # one score for all: the chord


def test_routers_that_agree_are_as_uncertain_as_the_prompts() -> None:
    """Figure 1's largest subsets are all prompts, so its routers are one: what remains is which prompts test it."""
    random = np.random.default_rng(1)
    one, other = (cost_quality_curve(random.random(200), random.random(200), 1 + random.random(200)) for _ in range(2))
    assert mean_apgr([one] * 5) == pytest.approx((one.apgr, *one.interval("apgr")))
    assert one.interval("apgr")[1] - one.interval("apgr")[0] > 0.01
    mean, low, high = mean_apgr([one, other])
    assert mean == pytest.approx((one.apgr + other.apgr) / 2)
    assert low < min(one.apgr, other.apgr) < max(one.apgr, other.apgr) < high  # either alone may be drawn

"""A run's preferences as a data set: files with a card, the hub by `datasets`' own push, and read from there again.

The judge of the paper, and what the training mix lacks, stand here too: they are what such a set was made with.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import demur
from demur.errors import InputError
from demur.evaluation.experiment.export_preferences import export_preferences
from demur.labels.judge.judge import judge
from demur.labels.preference_files import read_pair, read_preferences
from demur.prompts import PAPER_MIX, shortfalls
from demur.prompts.sets import rows_note
from demur.records import Prompt, SamplingSettings
from demur.testing import fake_endpoint
from pairs import Pair, running_pair, strong, write_questions


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("shared")
    with running_pair() as pair:
        made = labelled(folder, pair)
        yield made


def labelled(folder: Path, pair: Pair) -> str:
    demur.sample(write_questions(folder / "prompts.jsonl"), **pair.names, run=str(folder / "run"), n=4)
    demur.label(run=str(folder / "run"), entailment="exact", kind="hard")
    return str(folder / "run")


def test_a_parquet_file_is_read_again_and_has_a_card(run: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    shown = export_preferences(run=run, to=str(tmp_path / "set.parquet")).lines
    rows = read_preferences(f"{run}/preferences.jsonl")
    assert read_preferences(tmp_path / "set.parquet") == rows
    card = (tmp_path / "set.md").read_text()
    assert "# Preferences between small and large" in card
    assert "kind `entropy hard`, SE `rao_blackwell`, 4 samples per prompt and model, tau 0.1" in card
    assert f"- rows: {len(rows):,}; " in card
    assert "n<1K" in card
    assert "grants none" in shown[1]


@pytest.mark.parametrize("theirs", ["set.jsonl", "set.md"])
def test_no_file_is_replaced_unless_it_is_told_to(run: str, tmp_path: Path, theirs: str) -> None:
    (tmp_path / theirs).write_text("mine")
    with pytest.raises(InputError, match=rf"{theirs} exists; give another name, or --force"):
        export_preferences(run=run, to=str(tmp_path / "set.jsonl"))
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [(theirs, "mine")]
    export_preferences(run=run, to=str(tmp_path / "set.jsonl"), force=True)
    assert (tmp_path / theirs).read_text() != "mine"
    with pytest.raises(InputError, match=r"there is no folder .*/sets; make it first"):
        export_preferences(run=run, to=str(tmp_path / "sets/set.jsonl"))


def test_another_name_is_refused(run: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"name a \.parquet or \.jsonl file, or hub:ORG/NAME"):
        export_preferences(run=run, to=str(tmp_path / "set.csv"))
    with pytest.raises(InputError, match="name the data set as hub:ORG/NAME"):
        export_preferences(run=run, to="hub:alone")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What was pushed, by name, in order; the two modules' functions that are called, and no others."""
    kept: dict[str, Any] = {}

    def from_list(rows: Sequence[Mapping[str, Any]]) -> Any:
        return SimpleNamespace(push_to_hub=lambda name: kept.update({name: list(rows)}))

    def card(content: str) -> Any:
        return SimpleNamespace(push_to_hub=lambda name: kept.update({f"{name} card": content}))

    def load_dataset(name: str, split: str) -> list[Any]:
        if name not in kept or split != "train":
            raise OSError(f"no {name}")
        return list(kept[name])

    def create_repo(name: str, repo_type: str, *, exist_ok: bool) -> None:
        kept[f"{name} {repo_type}"] = exist_ok

    loaded = SimpleNamespace(Dataset=SimpleNamespace(from_list=from_list), load_dataset=load_dataset)
    monkeypatch.setitem(sys.modules, "datasets", loaded)
    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(DatasetCard=card, create_repo=create_repo))
    return kept


def test_a_push_and_a_reading_from_the_hub(run: str, hub: dict[str, Any]) -> None:
    assert export_preferences(run=run, to="hub:me/mine").to == "hub:me/mine"
    assert list(hub) == ["me/mine dataset", "me/mine card", "me/mine"]  # the push adds to the card, which it must find
    assert "# Preferences between small and large" in hub["me/mine card"]
    own = read_preferences(f"{run}/preferences.jsonl")
    assert list(read_pair("hub:me/mine", weak="small", strong="large").preferences) == own
    labels = demur.label(run=run, source="preference", file="hub:me/mine", models=("small", "large"))
    assert [row.prompt for row in labels.preferences] == [row.prompt for row in own]
    with pytest.raises(InputError, match="hub:me/other cannot be loaded: no me/other"):
        read_pair("hub:me/other", weak="small", strong="large")


async def test_a_judge_that_thinks_gets_its_tokens_and_no_field_that_it_refuses(tmp_path: Path) -> None:
    """As OpenAI's o1: no temperature but 1, max_completion_tokens in place of max_tokens, some tokens of thinking."""
    thinking = 500

    def refusal(body: Mapping[str, Any]) -> tuple[int, str] | None:
        for name, said in (
            (
                "max_tokens",
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
                "'max_completion_tokens' instead.",
            ),
            (
                "temperature",
                "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) "
                "value is supported.",
            ),
        ):
            if name in body and body[name] != 1:
                return 400, json.dumps({"error": {"message": said, "type": "invalid_request_error", "param": name}})
        return None

    items = tmp_path / "items.jsonl"
    row = {"question": "What is 2 plus 3?", "reference": "5", "responses": {"a": "5", "b": "6"}}
    items.write_text(json.dumps(row) + "\n")
    async with fake_endpoint(strong, refusal=refusal) as endpoint:
        asked: dict[str, Any] = {"max_tokens": 2000, "reasoning_effort": "low", "store": tmp_path / "store.sqlite"}
        import asyncio

        found = await asyncio.to_thread(judge, items, f"o1@{endpoint.base_url}", **asked)
    assert found.scores["a"][0] == 100.0
    sent = endpoint.requests[-1]
    assert sent["max_completion_tokens"] == 2000 > thinking
    assert sent["reasoning_effort"] == "low"
    assert not {"temperature", "max_tokens"} & set(sent)


def test_an_effort_that_is_not_sent_is_no_part_of_the_identity_of_samples() -> None:
    assert SamplingSettings(reasoning_effort="").key == "cd1a99fcd832452973d107360560f0fa"
    assert SamplingSettings(reasoning_effort="low").key != SamplingSettings().key


def test_what_the_papers_mix_lacks_is_said() -> None:
    parts = {part: int(part.partition(":")[2]) for part in PAPER_MIX.split("+")}
    there = {part: size - 898 * part.startswith("mawps") for part, size in parts.items()}
    prompts = [Prompt(f"{part}/{i}", f"{part} {i}") for part, size in there.items() for i in range(size)]
    assert shortfalls("paper-mix", prompts) == ("paper-mix: mawps has 520 of 1,418 rows, 898 fewer than the paper's",)
    assert shortfalls("nq-open:5", prompts) == ()


def test_a_test_set_that_repeats_questions_says_how_many_are_asked() -> None:
    (note,) = rows_note("mmlu", [Prompt(str(i), str(i)) for i in range(13_937)])
    assert note.startswith("mmlu: 13,937 of the 14,042 published rows")
    assert rows_note("own", [Prompt("a", "a")]) == []

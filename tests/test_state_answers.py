"""Models state the final answers of their own long texts: what is asked, what counts, what it costs and changes."""

from __future__ import annotations

import random
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from typer.testing import CliRunner

import demur
import pairs
from demur.cli.main import app, main
from demur.config import LabelConfig, RunConfig
from demur.errors import EndpointError, InputError
from demur.labels.state_answers import _is_worth_it, state_answers
from demur.meaning.rules.final_answer import is_unread, stands_in
from demur.models.local import parse_model, with_price
from demur.models.requests.request import request_body
from demur.records import Prompt, Sample, SamplingSettings
from demur.runs.lineage import keep_run_file
from demur.runs.run import Run, open_run
from demur.runs.steps import raise_limit
from demur.sampling.cost import PairEstimate
from demur.sampling.pair import sample_pair
from demur.sampling.statements import STATED_TOKENS, statement_prompt, statement_settings

LONG = "The sky in that picture is painted in a colour that I would call light blue."


@pytest.mark.parametrize(
    ("statement", "stands"),
    [
        ("light blue", "light blue"),
        (" Light blue.\nQuestion: and", "Light blue"),
        ("**light blue**", "light blue"),
        ("green", ""),  # it answers by itself
        ("blue light", ""),
        ("", ""),
        (LONG + " " + LONG, ""),
    ],
)
def test_a_statement_counts_where_it_stands_in_its_text(statement: str, stands: str) -> None:
    assert stands_in(statement, LONG) == stands


@pytest.mark.parametrize(
    ("answer", "unread"),
    [
        (LONG, True),
        ("light blue", False),  # is its own final answer
        (f"{LONG} The answer is blue.", False),  # a rule reads it
        ("I'm sorry, but I can't help with questions about pictures at all.", False),
        ('{"tool_calls": [{"name": "look", "arguments": "the sky in that picture there on the wall"}]}', False),
        ("```python\nfor colour in picture:\n    print(colour)\n```", False),
        ("", False),
    ],
)
def test_only_long_texts_without_a_final_answer_need_a_statement(answer: str, unread: bool) -> None:
    assert is_unread(answer, "Which colour has the sky?") is unread


@pytest.mark.parametrize("chat", [True, False])
def test_a_statement_is_asked_for_once_greedily_after_three_examples(chat: bool) -> None:
    prompt = statement_prompt("Which\ncolour?", "Light\nblue.", chat=chat)
    body = request_body("m", prompt.asked, statement_settings(chat=chat), [0])
    assert (body["n"], body["temperature"], body["max_tokens"], body["stop"]) == (1, 0.0, STATED_TOKENS, ["\n"])
    texts = [turn["content"] for turn in body["messages"]] if chat else [body["prompt"]]
    assert "\n".join(texts).count("Final answer:") == 4
    assert texts[-1].endswith("Question: Which colour?\nText: Light blue.\nFinal answer:")
    if chat:
        assert [turn["role"] for turn in body["messages"]] == ["system", *["user", "assistant"] * 3, "user"]


# -- a whole run: both models wrap what they say into sentences of ever other words ------------------------------------


def wrapped(answer: pairs.Answerer, salt: int) -> pairs.Answerer:
    """What a model would say, in a sentence of many forms; asked to state it, it copies it."""

    def answered(prompt: str, seed: int) -> str:
        if prompt.endswith("Final answer:"):
            return prompt.rpartition("Text: ")[2].partition("<<")[2].partition(">>")[0].strip()
        told = random.Random(seed + salt)
        words = [told.choice(["indeed", "surely", "perhaps", "well", "truly", "then", "here", "now"]) for _ in range(9)]
        return f"{' '.join(words)} << {answer(prompt, seed)} >> {' '.join(reversed(words))}"

    return answered


@pytest.fixture(scope="module")
def writers() -> Iterator[pairs.Pair]:
    with pairs.running_pair(None, (wrapped(pairs.weak, 1), wrapped(pairs.strong, 10**9))) as found:
        yield found


def statements(pair: pairs.Pair) -> int:
    """How often both models were asked for one."""
    asked = [body["messages"][-1]["content"] for side in (pair.weak, pair.strong) for body in side.requests]
    return sum(text.endswith("Final answer:") for text in asked)


def sampled(tmp_path: Path, pair: pairs.Pair, prices: str = "") -> str:
    prompts = pairs.write_questions(tmp_path / "prompts.jsonl", 24, gold=False)
    run = str(tmp_path / "run")
    names = {side: name + prices for side, name in pair.names.items()}
    demur.sample(prompts, **names, run=run, n=4)
    return run


def test_labels_on_texts_need_what_the_models_state(tmp_path: Path, writers: pairs.Pair) -> None:
    run, before = sampled(tmp_path, writers), statements(writers)
    with pytest.raises(InputError, match="none of 24 prompts can be labelled"):
        demur.label(run=run, entailment="exact")
    assert statements(writers) == before
    labels = demur.label(run=run, entailment="exact", state_answers="auto")  # these endpoints cost nothing
    assert statements(writers) == before + 2 * 24 * 4
    targets = {row.id: row.target for row in labels.preferences}
    assert min(y for name, y in targets.items() if name.startswith("sum")) > max(
        y for name, y in targets.items() if name.startswith("colour")
    )
    assert all("<<" in row.response_a for row in labels.preferences)  # the whole text is kept
    said = "no final answer was found in 192 long texts: 192 are compared"
    assert any(note.startswith(said) for note in labels.notes)
    again = demur.label(run=run, entailment="exact", state_answers="on")
    assert statements(writers) == before + 2 * 24 * 4  # nothing is asked twice
    assert [row.target for row in again.preferences] == [row.target for row in labels.preferences]


def test_models_that_cost_money_are_not_asked_unless_told_to(tmp_path: Path, writers: pairs.Pair) -> None:
    run, before = sampled(tmp_path, writers, "#usd=1/2"), statements(writers)
    with pytest.raises(InputError, match="none of 24 prompts can be labelled"):
        demur.label(run=run, entailment="exact", state_answers="auto")
    assert statements(writers) == before
    labels = demur.label(run=run, entailment="exact", state_answers="on")
    assert statements(writers) == before + 2 * 24 * 4
    assert any("192 asked now, at most $" in note for note in labels.notes)


def test_the_limit_that_ends_statements_is_the_runs_and_the_command_that_raises_it_is_named(
    tmp_path: Path, writers: pairs.Pair, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`demur label` has a --max-usd, too: the judge's, with which it ends as before."""
    run = sampled(tmp_path, writers, "#usd=1/2")
    pair = [f"{name}#usd=1/2" for name in (writers.names["weak"], writers.names["strong"])]
    demur.sample(tmp_path / "prompts.jsonl", *pair, run=run, max_usd=1e-6)  # all samples are there
    monkeypatch.setattr(sys, "argv", f"demur label --run {run} --entailment exact --state-answers on".split())
    with pytest.raises(SystemExit, match="2"):
        main()
    said = capsys.readouterr().err
    found = re.search(r"raise the run's limit with `demur (sample [^`]*) --max-usd USD` to go on", said)
    assert found, said
    assert CliRunner().invoke(app, [*shlex.split(found[1]), "--max-usd", "1"]).exit_code == 0
    demur.label(run=run, entailment="exact", state_answers="on")
    keep_run_file(Path(run), tmp_path / "prompts.jsonl")
    words = f"raise `max_usd` in {tmp_path}/prompts.jsonl and use `demur run {tmp_path}/prompts.jsonl`"
    assert raise_limit(Path(run)) == words


def without_statements(answer: pairs.Answerer, salt: int) -> pairs.Answerer:
    """The same, that answers by itself where it is asked to state what it said."""
    said = wrapped(answer, salt)
    return lambda prompt, seed: "no idea" if prompt.endswith("Final answer:") else said(prompt, seed)


@pytest.mark.parametrize("both", [True, False])
def test_a_model_none_of_whose_first_statements_stands_in_its_text_is_asked_no_more(tmp_path: Path, both: bool) -> None:
    """It was asked for all, 96 of each model. The same command asks it nothing, and labels by what the other states."""
    other = without_statements(pairs.weak, 1) if both else wrapped(pairs.weak, 1)
    with pairs.running_pair(None, (other, without_statements(pairs.strong, 10**9))) as pair:
        run = sampled(tmp_path, pair, "#usd=1/2")
        words = "none of large's first 16 replies states a final answer that stands in its text, the first is 'no idea'"
        for _ in range(2):
            if both:
                with pytest.raises(InputError, match=r"none of (small|large)'s first 16 replies states a final answer"):
                    demur.label(run=run, entailment="exact", state_answers="on")
            else:
                notes = demur.label(run=run, entailment="exact", state_answers="on").notes
                assert any("96 are compared by one that their model states" in note for note in notes)
                (said,) = [note for note in notes if note.startswith(words)]
                assert "asking stopped after $" in said
                assert said.endswith("; the texts are compared whole")
            assert statements(pair) == (16 if both else 24 * 4) + 16


@pytest.mark.parametrize(("long", "short", "worth"), [(1, 4, True), (1, 5, False), (0, 0, False)])
def test_auto_asks_from_a_fifth_of_a_models_answers(long: int, short: int, worth: bool) -> None:
    prompt, side = Prompt("0", "Which colour has the sky?"), SimpleNamespace(texts=[LONG] * long)
    texts = [f"{LONG} {i}" for i in range(long)] + [f"blue {i}" for i in range(short)]
    samples = {"0": [Sample(i, text, None, "stop", 1, 1) for i, text in enumerate(texts)]}
    run = SimpleNamespace(samples=SimpleNamespace(weak={"0": []}, strong=samples))
    none: Any = SimpleNamespace(texts=[])
    assert _is_worth_it([prompt], cast(Run, run), [none, cast(Any, side)]) is worth


def test_nothing_is_asked_or_looked_at_where_it_is_off() -> None:
    run: Any = SimpleNamespace(config=SimpleNamespace(label=SimpleNamespace(state_answers="off")))
    assert state_answers(run) == []


def test_an_endpoint_that_is_gone_stops_only_who_insists(tmp_path: Path) -> None:
    with pairs.running_pair(None, (wrapped(pairs.weak, 1), pairs.strong)) as found:
        run = sampled(tmp_path, found)
    labels = demur.label(run=run, entailment="exact", state_answers="auto")
    assert any(note.startswith("final answers of long texts are not stated: small at") for note in labels.notes)
    with pytest.raises(EndpointError):
        demur.label(run=run, entailment="exact", state_answers="on")


def test_the_estimate_of_a_run_that_states_answers_counts_them(writers: pairs.Pair, tmp_path: Path) -> None:
    """24 prompts, 4 answers of each model: 192 more requests at most, 16 tokens each at 2 USD per million."""
    prompts = pairs.write_questions(tmp_path / "prompts.jsonl", 24, gold=False)
    weak, strong = (with_price(parse_model(name), "0/2") for name in writers.names.values())
    sampling, said = SamplingSettings(n=4), list[PairEstimate]()
    for wanted in ("auto", "on"):
        label = LabelConfig(state_answers=wanted)
        config = RunConfig(str(prompts), weak, strong, str(tmp_path / wanted), sampling, label)
        with open_run(config) as run:
            sample_pair(config, run.pair, run.prompts, run.samples, run.store, announce=said.append)
    assert "final answers" not in dict(said[0].facts)
    assert dict(said[1].facts)["final answers"].endswith("up to 192 more requests: at most $0.00614")
    assert said[1].usd == pytest.approx(192 * (64 + 16) * 2e-6)

"""Calls of tools: read, compared by structure, sampled with their tools, and learned from without a label."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

import demur
import pairs
from demur.errors import InputError
from demur.evaluation.unusable_answers import unusable_sentence
from demur.labels.beliefs.unknown import why_unknown
from demur.meaning.clusters import meaning_clusters
from demur.meaning.rules.code import canonical_code, code_of
from demur.meaning.rules.decide import ruling, same_meaning
from demur.models.encoders.encoder import LetterEncoder
from demur.models.endpoint import Endpoint
from demur.models.requests.client import EndpointClient
from demur.models.requests.request import request_body
from demur.prompts.files import read_prompts
from demur.prompts.grading import grade
from demur.prompts.tool_calls import ToolCall, calls_of, with_calls, written_calls
from demur.records import ChatRequest, Prompt, Sample, SamplingSettings
from demur.runs import run as opened
from demur.sampling.sample import sample_prompts
from demur.store import Store
from demur.testing import fake_endpoint

TOOLS = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("add", "look")]


def native(*calls: tuple[str, Any]) -> str:
    """An answer of calls, as an endpoint returns them."""
    return with_calls("", {"tool_calls": [{"id": "x", "function": {"name": n, "arguments": a}} for n, a in calls]})


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ('{"x": 1, "y": 2}', '{"y": 2, "x": 1}', True),
        ('{"x": 1}', '{"x": 1.0}', True),
        ('{"x": 100}', '{"x": 1e2}', True),
        ('{"x": 1}', '{"x": "1"}', False),
        ('{"x": 1}', '{"x": true}', False),
        ('{"x": 0.1}', '{"x": 0.10000001}', False),
        ('{"unit": "celsius"}', '{"unit": "Celsius"}', False),
        ('{"city": "Paris"}', '{"city": " Paris "}', True),
        ('{"city": "Orl\\u00e9ans"}', '{"city": "Orle\\u0301ans"}', True),
        ('{"city": "New  York"}', '{"city": "New York"}', False),
        ('{"x": [1, 2]}', '{"x": [2, 1]}', False),
        ('{"x": {"a": 1, "b": [1.0]}}', '{"x": {"b": [1], "a": 1.0}}', True),
        ('{"x": null}', "{}", False),
        ("{}", "", True),
        ('{"x": 1', '{"x": 1', True),
        ('{"x": 1', '{"x": 1}', False),
    ],
)
def test_arguments_are_compared_as_json(a: str, b: str, same: bool) -> None:
    assert ruling(native(("f", a)), native(("f", b))) == ("calls of tools", same)


def test_the_name_counts_letter_by_letter_and_the_order_of_calls_does_not() -> None:
    first, second = ("f", '{"x": 1}'), ("g", '{"x": 1}')
    assert same_meaning(native(first), native(("F", '{"x": 1}'))) is False
    assert same_meaning(native(first, second), native(second, first)) is True
    assert same_meaning(native(first, first), native(first)) is False  # twice is not once
    assert same_meaning(native(first), "The answer is 1.") is False


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "f", "arguments": {"x": 1}}',
        '{"name": "f", "parameters": {"x": 1}}',
        '[{"name": "f", "arguments": {"x": 1}}]',
        '```json\n{"name": "f", "arguments": "{\\"x\\": 1}"}\n```',
        '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>',
        '{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}',
        "[f(x=1)]",
    ],
)
def test_calls_that_a_model_writes_as_text_are_read(text: str) -> None:
    found = calls_of(text)
    assert found is not None and not found.native
    assert found.calls == (ToolCall("f", {"x": 1}),)
    assert same_meaning(text, "[f(x=1.0)]") is True


@pytest.mark.parametrize(
    "text",
    [
        "[f(x=1)] computes it.",
        'Here it is: {"name": "f", "arguments": {}}',
        '{"name": "Ada", "age": 36}',
        '{"name": "Ada", "input": "x"}',
        "[1, 2]",
        "f(x=1)",
        "[]",
        "{}",
        "[f(**x)]",
        '<tool_call>{"name": "f", "arguments": {}}',
        "Paris",
        "[" * 5000,
    ],
)
def test_prose_and_other_json_are_no_calls(text: str) -> None:
    assert calls_of(text) is None


def test_a_call_written_as_text_is_not_the_call_that_a_client_would_run() -> None:
    assert same_meaning(native(("f", '{"x": 1}')), '{"name": "f", "arguments": {"x": 1}}') is False


def test_python_calls_keep_positions_and_sources() -> None:
    found = calls_of("[a.f(1, y=[True, None], z=g(2))]")
    assert found is not None
    assert found.calls == (ToolCall("a.f", {"_0": 1, "y": [True, None], "z": "g(2)"}),)


@pytest.mark.parametrize("rules", [True, False])
def test_no_language_model_is_asked_about_calls(rules: bool) -> None:
    def never(pairs: Sequence[tuple[str, str]]) -> ArrayLike:
        raise AssertionError(pairs)

    answers = [native(("f", '{"x": 1}')), native(("f", '{"x": 2}')), native(("f", '{"x":1.0}')), "I cannot tell."]
    assert meaning_clusters(["q"], [answers], entailment=never, rules=rules).ids[0].tolist() == [0, 1, 0, 2]


def test_answers_in_json_are_equal_whatever_the_order_of_their_keys() -> None:
    assert canonical_code('{"a": 1, "b": [2.0]}') == canonical_code('{\n"b": [2],\n"a": 1}')
    assert canonical_code('{"a": 1}') != canonical_code('{"a": "1"}')
    told = "It is the cat that sat on the mat so that you can see it by the window."
    assert ruling(f'{{"n": 1, "text": "{told}"}}', f'{{"text": "{told}", "n": 1.0}}') == ("code", True)
    assert code_of("[1, 2]") is None


# -- rows ------------------------------------------------------------------------------------------------------------

ASK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Sum of 1 and 2?"}]
CALLED = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "add"}}]}
RESULT = {"role": "tool", "tool_call_id": "1", "content": "3"}


def one_prompt(tmp_path: Path, row: dict[str, Any]) -> Prompt:
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    return read_prompts(tmp_path / "rows.jsonl")[0]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": ASK, "tools": TOOLS},
        {"messages": [*ASK, CALLED], "tools": TOOLS},  # the answer is logged, too
        {"custom_id": "1", "body": {"model": "m", "messages": ASK, "tools": TOOLS}},
        {"request": {"messages": ASK, "tools": TOOLS}, "response": {"choices": []}},
        {"messages": ASK, "model_parameters": {"tools": TOOLS, "temperature": 0}},
        {"input": {"messages": ASK, "tools": TOOLS}},
    ],
)
def test_a_logged_request_with_tools_is_asked_as_it_stands(tmp_path: Path, row: dict[str, Any]) -> None:
    prompt = one_prompt(tmp_path, row)
    assert prompt.text == "Sum of 1 and 2?"
    body = request_body("m", prompt.asked, SamplingSettings(n=2, template="Q: {prompt}", system="No."), [0, 1])
    assert body["messages"] == ASK and body["tools"] == TOOLS
    assert (body["n"], body["model"], body["logprobs"]) == (2, "m", True)


def test_a_step_of_an_agent_keeps_its_results(tmp_path: Path) -> None:
    prompt = one_prompt(tmp_path, {"messages": [*ASK, CALLED, RESULT], "tools": TOOLS, "tool_choice": "auto"})
    assert prompt.request is not None
    asked = json.loads(prompt.request.body)
    assert asked == {"messages": [*ASK, CALLED, RESULT], "tools": TOOLS, "tool_choice": "auto"}


def test_a_response_format_is_kept_and_plain_text_needs_none(tmp_path: Path) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
    kept = one_prompt(tmp_path, {"messages": ASK, "response_format": wanted}).request
    assert kept is not None and json.loads(kept.body)["response_format"] == wanted
    assert one_prompt(tmp_path, {"messages": ASK, "response_format": {"type": "text"}, "tools": []}).request is None


def test_tools_that_are_no_list_are_an_error_with_their_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"rows\.jsonl:1: field 'tools' must be a list of objects, found \{'a': 1\}"):
        one_prompt(tmp_path, {"messages": ASK, "tools": {"a": 1}})


def test_gold_calls_grade_by_structure(tmp_path: Path) -> None:
    calls = [{"name": "add", "arguments": {"a": 1, "b": 2}}]
    prompt = one_prompt(tmp_path, {"messages": ASK, "tools": TOOLS, "answers": calls})
    assert prompt.answers == (written_calls([ToolCall("add", {"a": 1, "b": 2})]),)
    assert grade(prompt, native(("add", '{"b": 2.0, "a": 1}'))) == 1
    assert grade(prompt, native(("add", '{"b": 3, "a": 1}'))) == 0
    assert grade(prompt, "[add(a=1, b=2)]") == 0  # its client does not run it
    assert grade(prompt, "3") == 0
    either = one_prompt(tmp_path, {"prompt": "Sum?", "answers": [calls, [{"name": "add", "arguments": {"a": 3}}]]})
    assert [grade(either, text) for text in ("[add(a=1, b=2)]", "[add(a=3)]", "[add(a=4)]")] == [1, 1, 0]


# -- samples ---------------------------------------------------------------------------------------------------------


async def test_calls_are_stored_as_they_were_written_with_the_text_beside_them() -> None:
    arguments = '{"b":2,  "a": 1.0}'
    message = {"content": "Let me see.", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": arguments}}]}
    choices = [{"index": 0, "message": message, "finish_reason": "tool_calls"}]
    raw = json.dumps({"choices": choices, "usage": {"prompt_tokens": 5, "completion_tokens": 9}})
    with Store(":memory:") as store:
        async with fake_endpoint(lambda prompt, seed: "", raw=raw, supports_n=False) as fake:
            end = Endpoint("m", fake.base_url)
            async with EndpointClient(end) as client:
                prompt = Prompt("p", "Sum?", request=ChatRequest(json.dumps({"messages": ASK, "tools": TOOLS})))
                await sample_prompts([prompt], client, end, SamplingSettings(n=2), store)
        (first, _) = store.samples(end.name, prompt.key, SamplingSettings(n=2).key)
    said, _, calls = first.text.partition("\n")
    assert said == "Let me see."
    assert json.loads(calls)["tool_calls"] == [{"name": "f", "arguments": arguments}]
    assert (first.prompt_tokens, first.completion_tokens, first.finish_reason) == (5, 9, "tool_calls")


async def test_one_question_with_other_tools_is_another_prompt() -> None:
    both = [
        Prompt(name, "Sum?", request=ChatRequest(json.dumps({"messages": ASK, "tools": TOOLS[:count]})))
        for name, count in (("one", 1), ("two", 2))
    ]
    with Store(":memory:") as store:
        async with fake_endpoint(lambda prompt, seed: "3") as fake:
            end = Endpoint("m", fake.base_url)
            async with EndpointClient(end) as client:
                found = await sample_prompts(both, client, end, SamplingSettings(n=2), store)
    assert [len(body["tools"]) for body in fake.requests] in ([1, 2], [2, 1])
    assert {name: len(each) for name, each in found.items()} == {"one": 2, "two": 2}


# -- a whole run -----------------------------------------------------------------------------------------------------


def calling(answer: Any) -> Any:
    """An endpoint that calls a tool with what it would have said."""

    def answered(prompt: str, seed: int) -> str:
        said = answer(prompt, seed)
        return native(("add" if said.isdigit() else "look", json.dumps({"result": said})))

    return answered


@pytest.fixture
def agents() -> Iterator[pairs.Pair]:
    with pairs.running_pair(answers=(calling(pairs.weak), calling(pairs.strong))) as found:
        yield found


def test_a_router_learns_from_calls_alone_where_the_strong_model_is_needed(
    tmp_path: Path, agents: pairs.Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opened, "load_encoder", lambda spec, progress: LetterEncoder())
    rows = []
    for row in pairs.questions():
        gold = str(row["answers"][0])  # type: ignore[index]
        call = {"name": "add" if gold.isdigit() else "look", "arguments": {"result": gold}}
        messages = [{"role": "system", "content": "Use tools."}, {"role": "user", "content": row["prompt"]}]
        rows.append({"id": row["id"], "messages": messages, "tools": TOOLS, "answers": [call]})
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = str(tmp_path / "run")
    demur.sample(prompts, **agents.names, run=run, n=4)
    assert all(body["tools"] == TOOLS for body in agents.weak.requests)
    labels = demur.label(run=run, entailment="exact")
    assert labels.pairs_scored == 0
    needed = {row.id: row.target for row in labels.preferences}
    assert min(y for name, y in needed.items() if name.startswith("sum")) > max(
        y for name, y in needed.items() if name.startswith("colour")
    )
    demur.train(run=run, methods=("logistic",))
    found = demur.evaluate(run=run)
    assert found.rows[0].curve.apgr > 0.7  # half the prompts need it: the oracle reaches .75
    assert any(line.startswith("every weak answer to") for line in found.findings)
    router = demur.Router.load(f"{run}/router")
    assert router.prompt_router.learned_calls
    assert router.route("What is 31 plus 17?").role == "strong"
    assert router.route("Which colour has the sea in picture 90?").role == "weak"


def test_equal_calls_of_many_words_are_no_chance() -> None:
    long = [native(("f", json.dumps({"text": " ".join(f"w{i}{j}" for j in range(40))}))) for i in range(8)]
    texts = [long[0], *long[:7]]  # two of eight are equal
    samples = [Sample(i, text, None, "stop", 1, 1) for i, text in enumerate(texts)]
    ids = np.array([0, 0, 1, 2, 3, 4, 5, 6])
    assert why_unknown(ids, samples[4:], samples[:4], "q", lambda text: True) == ""


def test_an_evaluation_says_how_many_weak_answers_are_of_no_use() -> None:
    """Of four answers one breaks its schema and is wrong, where the strong one is right: .5 becomes .75."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    request = ChatRequest(json.dumps({"messages": [], "tools": tools}))
    prompts = [Prompt(str(i), "q", request=request if i < 3 else None) for i in range(4)]
    texts = [native(("f", '{"n": 1}')), native(("f", '{"n": "1"}')), "text", "text"]
    weak = [Sample(0, text, None, "stop", 1, 1) for text in texts]
    low, high = np.array([1.0, 0.0, 0.0, 1.0]), np.array([1.0, 1.0, 0.0, 1.0])
    said = unusable_sentence(prompts, weak, low, high)
    assert said.startswith("1 of 3 weak answers to requests with tools or a response format are of no use (such as: it")
    assert "(25% of all calls), which lifts always weak from 0.500 to 0.750" in said
    assert unusable_sentence(prompts[3:], weak[3:], low[3:], high[3:]) == ""

"""Each model states the final answer of its own text in a few words: one more request per text, kept in the store.

Texts of several sentences differ in wording though they answer alike, so semantic entropy on them is mostly of style.
Where no rule reads the final answer, the model that wrote the text is asked to state it: greedy, three examples, at
most `STATED_TOKENS` tokens. A model asked so sometimes answers by itself: what it states must stand in its text, else
the whole text is compared as before (`demur.meaning.rules.final_answer.stands_in`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence

from demur.models.endpoint import Endpoint
from demur.models.prices import CHARACTERS_PER_TOKEN
from demur.models.requests.useful_replies import Wanted
from demur.records import ChatRequest, Progress, Prompt, SamplingSettings, content_hash, no_progress
from demur.sampling.budget import Budget
from demur.sampling.sample import Completer, Estimate, estimate, sample_prompts, stored_samples
from demur.store import Store

STATED_TOKENS = 16
USE = ("states a final answer that stands in its text", "; the texts are compared whole")
Text = tuple[str, str]  # a question and an answer to it

_TASK = "Copy the final answer of each text, in as few words as possible."
_EXAMPLES = (
    (
        "Which river flows through Paris?",
        "Paris grew on an island in the Seine, which flows through the city from east to west. Most landmarks stand on "
        "its banks.",
        "the Seine",
    ),
    (
        "When did people first walk on the Moon?",
        "NASA's Apollo 11 was the first mission to land on the Moon. Neil Armstrong stepped onto it on 20 July 1969 "
        "and Buzz Aldrin followed.",
        "20 July 1969",
    ),
    (
        "Who painted the ceiling of the Sistine Chapel?",
        "The ceiling is a work of the High Renaissance. Pope Julius II asked Michelangelo to paint it, which took "
        "years.",
        "Michelangelo",
    ),
)
_END = "Final answer:"


def statement_settings(*, chat: bool = True) -> SamplingSettings:
    """How a statement is asked for: once, greedily, of a line."""
    return SamplingSettings(n=1, temperature=0.0, max_tokens=STATED_TOKENS, stop=("\n",), chat=chat)


def statement_prompt(question: str, answer: str, *, chat: bool = True) -> Prompt:
    """What a model is asked to have the final answer of its text stated: after the examples, as turns of a chat, or as
    one text for a model that completes texts. Small models take examples in a single message for what is asked."""
    asked = _ask(question, answer)
    if not chat:
        examples = "".join(f"{_ask(each, text)} {stated}\n\n" for each, text, stated in _EXAMPLES)
        return Prompt(content_hash(asked), f"{_TASK}\n\n{examples}{asked}")
    messages = [{"role": "system", "content": _TASK}]
    for each, text, stated in _EXAMPLES:
        messages += [{"role": "user", "content": _ask(each, text)}, {"role": "assistant", "content": stated}]
    messages.append({"role": "user", "content": asked})
    return Prompt(
        content_hash(asked), asked, request=ChatRequest(json.dumps({"messages": messages}, ensure_ascii=False))
    )


def _ask(question: str, answer: str) -> str:
    return f"Question: {_one_line(question)}\nText: {_one_line(answer)}\n{_END}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def estimate_statements(texts: Sequence[Text], endpoint: Endpoint, store: Store, *, chat: bool) -> Estimate:
    """Requests, tokens and USD of the statements that the store lacks."""
    settings, prompts = statement_settings(chat=chat), _prompts(texts, chat=chat)
    return estimate(prompts, endpoint, settings, stored_samples(prompts, endpoint, settings, store))


def bound_of_statements(sampled: Estimate, endpoint: Endpoint, max_tokens: int) -> Estimate:
    """What stating the final answers of answers yet to be sampled asks for at most: all of them long, and unread."""
    examples = len(statement_prompt("", "").key) // CHARACTERS_PER_TOKEN
    question = sampled.prompt_tokens / max(sampled.prompts, 1)
    read = round(sampled.missing * (examples + question + max_tokens))
    written = sampled.missing * STATED_TOKENS
    usd = endpoint.price.usd(read, written) if endpoint.price else None
    expected = sampled.expected / max(sampled.missing, 1)
    return Estimate(
        prompts=sampled.prompts,
        missing=sampled.missing,
        expected=sampled.expected,
        prompt_tokens=read,
        completion_tokens=written,
        usd=usd,
        expected_usd=None if usd is None else usd * expected,
    )


async def ask_statements(
    texts: Sequence[Text],
    completer: Completer,
    endpoint: Endpoint,
    store: Store,
    *,
    stands: Callable[[str, str], object],
    chat: bool = True,
    budget: Budget | None = None,
    progress: Progress = no_progress,
) -> None:
    """Ask a model for the final answer of each text that it wrote; what the store holds is not asked again.

    ``stands``: whether a statement stands in a text. Raises EndpointError, BudgetError, and UselessRepliesError where
    none of the first ones does.
    """
    settings = statement_settings(chat=chat)
    answers = {statement_prompt(*text, chat=chat).id: text[1] for text in texts}
    wanted = Wanted(lambda asked, one: bool(stands(one.text, answers[asked.id])), *USE)
    await sample_prompts(
        *(_prompts(texts, chat=chat), completer, endpoint, settings, store),
        wanted=wanted,
        budget=budget,
        progress=progress,
        doing=f"final answers of {endpoint.model}",
    )


def stored_statements(texts: Sequence[Text], endpoint: Endpoint, store: Store, *, chat: bool = True) -> dict[Text, str]:
    """What a model has stated of its texts, as far as the store holds it."""
    prompts = {text: statement_prompt(*text, chat=chat) for text in texts}
    found = stored_samples(list(prompts.values()), endpoint, statement_settings(chat=chat), store)
    return {text: found[asked.id][0].text for text, asked in prompts.items() if found[asked.id]}


def _prompts(texts: Iterable[Text], *, chat: bool) -> list[Prompt]:
    asked: Mapping[str, Prompt] = {one.id: one for one in (statement_prompt(*text, chat=chat) for text in texts)}
    return list(asked.values())

"""The files of a batch API: requests for the samples that the store lacks, and what a line of results holds. Pure.

OpenAI's format, which `vllm run-batch` and other engines read, too: one JSON object per line. ``custom_id`` is the key
of the store (endpoint, prompt and settings, hashed) with the first index and the number of samples, so that a result
says by itself where it belongs: in any order, any part of them, and however often it is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from demur.models.endpoint import OPENAI_HOST, Endpoint
from demur.models.requests.completion import as_json
from demur.models.requests.refusals import error_inside
from demur.models.requests.request import first_group, request_body, without_fields
from demur.records import ChatRequest, Prompt, SamplingSettings, content_hash
from demur.sampling.rounds import PairSamples
from demur.sampling.sample import Samples, distinct_prompts

MOST_REQUESTS, MOST_BYTES = 50_000, 200 * 10**6  # of a file, as OpenAI's batch API takes it
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
_ID = re.compile(r"([0-9a-f]{32})-(\d{1,5})-(\d{1,5})")


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """Consecutive samples of a prompt that are asked for together."""

    custom_id: str
    prompt: Prompt
    indices: Sequence[int]
    url: str  # CHAT or TEXT
    line: str  # of the file


@dataclass(frozen=True, slots=True)
class BatchResult:
    """A line of results."""

    custom_id: str
    kind: Literal["answer", "failed", "expired"]
    status: int
    body: Any  # of an answer: the completion
    said: str  # of a failure: the error as JSON


def batch_key(endpoint: Endpoint, prompt: Prompt, settings: SamplingSettings) -> str:
    """What the samples of a prompt by a model under settings are called in a batch; 32 hex digits."""
    return content_hash([endpoint.name, prompt.key, settings.key])


def parse_custom_id(custom_id: str) -> tuple[str, range] | None:
    """The key and the indices of samples that a ``custom_id`` asks for; None for one that demur did not write."""
    found = _ID.fullmatch(custom_id)
    if found is None:
        return None
    first, count = int(found[2]), int(found[3])
    return (found[1], range(first, first + count)) if count else None


def samples_wanted(
    prompts: Sequence[Prompt], have: PairSamples, settings: SamplingSettings, full: Set[str] = frozenset()
) -> dict[str, int]:
    """Prompt id -> how many samples the next batch brings it to.

    The fewest; the most where it is in ``full``, or where both models have given the fewest and those did not settle
    it.
    """

    def wanted_samples(prompt: Prompt) -> int:
        open_still = have.count(prompt) >= settings.fewest and prompt.id not in have.settled
        return settings.most if prompt.id in full or open_still else settings.fewest

    return {prompt.id: wanted_samples(prompt) for prompt in prompts}


def fields_left_out(endpoint: Endpoint, url: str) -> frozenset[str]:
    """Fields that OpenAI's API refuses and that are off by default there; its newer models take max_tokens renamed."""
    if urlsplit(endpoint.base_url).hostname != OPENAI_HOST:
        return frozenset()
    return frozenset({"top_k", "min_p"} | ({"max_tokens"} if url == CHAT else set()))


def sent_body(
    endpoint: Endpoint, prompt: Prompt, settings: SamplingSettings, indices: Sequence[int], left_out: Set[str]
) -> dict[str, Any]:
    """The body of a request; ``left_out``: fields that the endpoint is known not to take."""
    body = request_body(*(endpoint.model, prompt.asked, settings, indices), reasoning_effort=endpoint.reasoning_effort)
    return without_fields(body, left_out | fields_left_out(endpoint, _url(prompt, settings)))


def missing_requests(
    prompts: Sequence[Prompt],
    endpoint: Endpoint,
    settings: SamplingSettings,
    have: Samples,
    wanted: Mapping[str, int],
    left_out: Set[str] = frozenset(),
) -> Iterator[BatchRequest]:
    """Requests for the samples that these prompts lack (``wanted``: id -> n); equal prompts are asked once.

    An endpoint that does not take ``n`` is asked once per sample.
    """
    for prompt in distinct_prompts(prompts):
        left = sorted(set(range(wanted[prompt.id])) - {one.index for one in have[prompt.id]})
        while left:
            group = first_group(left, alone="n" in left_out)
            left, url = left[len(group) :], _url(prompt, settings)
            name = f"{batch_key(endpoint, prompt, settings)}-{group[0]}-{len(group)}"
            row = {
                "custom_id": name,
                "method": "POST",
                "url": url,
                "body": sent_body(endpoint, prompt, settings, group, left_out),
            }
            yield BatchRequest(name, prompt, group, url, json.dumps(row) + "\n")  # ASCII: a byte per character


def _url(prompt: Prompt, settings: SamplingSettings) -> str:
    return CHAT if settings.chat or isinstance(prompt.asked, ChatRequest) else TEXT


def in_files(
    lines: Iterable[str], *, most_requests: int = MOST_REQUESTS, most_bytes: int = MOST_BYTES
) -> Iterator[list[str]]:
    """The lines of one file after another, none above the limits; a line that is too large alone has its own file."""
    file: list[str] = []
    size = 0
    for line in lines:
        if file and (len(file) == most_requests or size + len(line) > most_bytes):
            yield file
            file, size = [], 0
        file.append(line)
        size += len(line)
    if file:
        yield file


def read_result(line: str) -> BatchResult | None:
    """What a line of results holds; None where it is none, such as the end of a file that was cut."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, Mapping) or not isinstance(row.get("custom_id"), str):
        return None
    response = row.get("response")
    response = response if isinstance(response, Mapping) else {}
    body, error = response.get("body"), row.get("error")
    status = response.get("status_code", 200 if body else 0)
    status = status if type(status) is int else 0
    if 200 <= status < 300 and isinstance(body, Mapping) and not error_inside(body):
        return BatchResult(row["custom_id"], "answer", status, body, "")
    told = error or body or "no response"
    if not 400 <= status < 600:
        status = error_inside({"error": told}) or 500
    expired = isinstance(error, Mapping) and "expired" in str(error.get("code"))
    said = told if isinstance(told, str) else json.dumps(told)
    return BatchResult(row["custom_id"], "expired" if expired else "failed", status, body, said)


def failure_words(result: BatchResult) -> str:
    """A failure in a few words."""
    return f"{result.status}: {as_json(result.said)[:120]}"

"""Reads the results of batches into the store: each line is kept before it is counted, and no line is passed over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace

from demur.errors import EndpointError
from demur.models.endpoint import Endpoint
from demur.models.requests.completion import read_completion
from demur.models.requests.refusals import blames_prompt, refused_field
from demur.records import Prompt, SamplingSettings, count_of
from demur.sampling.batches.batch_files import (
    BatchResult,
    batch_key,
    failure_words,
    parse_custom_id,
    read_result,
    sent_body,
)
from demur.sampling.sample import distinct_prompts
from demur.store import Store


class BatchReader:
    """Reads lines of results; what a prompt's samples are already there for changes nothing.

    ``left_out``: endpoint name -> fields of a request that it is known to refuse; reading adds to it.
    ``asks_again``: the command that asks for what did not come.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        endpoints: Sequence[Endpoint],
        settings: SamplingSettings,
        store: Store,
        left_out: Mapping[str, Set[str]],
        *,
        asks_again: str,
    ) -> None:
        self._settings, self._settings_key, self._store = settings, settings.key, store
        self._next = asks_again
        self.seen: set[str] = set()  # the custom_id of every result
        self._asked = {
            batch_key(endpoint, prompt, settings): (endpoint, prompt)
            for endpoint in endpoints
            for prompt in distinct_prompts(prompts)
        }
        self.left_out = {endpoint.name: set(left_out.get(endpoint.name, ())) for endpoint in endpoints}
        self._results = self._fresh = self._known = 0
        self._found: dict[tuple[str, str], list[str]] = {}  # what is wrong, and what next -> the lines, named

    def read(self, line: str, where: str) -> None:
        """Keep what a line of results holds; ``where`` names it, as FILE:LINE."""
        if not line.strip():
            return None
        self._results += 1
        result = read_result(line)
        if result is None:
            return self._note("cannot be read", "is the file cut, or no file of results?", where)
        asked = parse_custom_id(result.custom_id)
        self.seen.add(result.custom_id)
        if asked is None or asked[0] not in self._asked:
            return self._note(
                "have a custom_id of no prompt of this run under these models and settings, and are not kept",
                "read them with the command that wrote their requests",
                f"{where}: {result.custom_id[:60]}",
            )
        endpoint, prompt = self._asked[asked[0]]
        if result.kind == "answer":
            return self._keep(result, endpoint, prompt, asked[1])
        return self._fail(result, endpoint, prompt, asked[1])

    def read_missing(self, asked: Iterable[str], batch: str) -> None:
        """Name the requests of a batch, by custom_id, that no result was read of."""
        for name in asked:
            found = parse_custom_id(name)
            if name not in self.seen and found is not None and found[0] in self._asked:
                self._note("did not come", f"{self._next} asks again", f"{self._asked[found[0]][1].id} in {batch}")

    @property
    def failures(self) -> int:
        """How many results held no answer."""
        return sum(map(len, self._found.values()))

    def notes(self) -> Iterator[str]:
        """What was read, and what is wrong with some of it; one sentence each."""
        yield (
            f"read {count_of(self._results, 'result')}: {count_of(self._fresh, 'new sample')}, "
            f"{self._known:,} that the store had already"
        )
        for (wrong, advice), lines in self._found.items():
            one = f"{len(lines):,}, such as" if len(lines) > 1 else "1,"
            yield f"results that {wrong}: {one} {lines[0]}; {advice}"

    def _note(self, wrong: str, advice: str, line: str) -> None:
        self._found.setdefault((wrong, advice), []).append(line)

    def _keep(self, result: BatchResult, endpoint: Endpoint, prompt: Prompt, indices: Sequence[int]) -> None:
        settings, key = self._settings, (endpoint.name, prompt.key, self._settings_key)
        sent = len(prompt.key) + len(settings.template) + len(settings.system)
        stop = settings.stop if "stop" in self.left_out[endpoint.name] else ()
        try:
            found = read_completion(result.body, indices, endpoint.model, stop=stop, sent_characters=sent)
        except EndpointError as error:
            return self._note("hold no answer", f"{self._next} asks again", f"{prompt.id}: {error}")
        there = {one.index for one in self._store.samples(*key)}
        fresh = [replace(one, batch=True) for one in found.samples if one.index not in there]
        self._store.add_samples(*key, fresh)
        self._fresh, self._known = self._fresh + len(fresh), self._known + len(found.samples) - len(fresh)
        if found.problem and self._store.has_samples(endpoint.name, self._settings_key):
            self._store.add_refusal(*key, found.problem)  # as where the endpoint is asked directly
        if found.problem:
            return self._note(
                "hold an answer that cannot be read", "--ask-refused asks again", f"{prompt.id}: {found.problem}"
            )
        if len(found.samples) < len(indices):
            self._note(
                "hold fewer answers than n",
                f"{self._next} asks for the rest, one per request",
                f"{prompt.id}: {len(found.samples)} of {len(indices)}",
            )
            self.left_out[endpoint.name].add("n")
        return None

    def _fail(self, result: BatchResult, endpoint: Endpoint, prompt: Prompt, indices: Sequence[int]) -> None:
        failure = f"{prompt.id}: {failure_words(result)}"
        if result.kind == "expired":
            return self._note("expired before they were answered", f"{self._next} asks again", failure)
        if blames_prompt(result.status, result.said):
            self._store.add_refusal(endpoint.name, prompt.key, self._settings_key, failure_words(result))
            return self._note("are refusals of the prompt, which is left out", "--ask-refused asks again", failure)
        # As it was sent; a field of an earlier batch that is left out by now is no news.
        field = refused_field(result.status, result.said, sent_body(endpoint, prompt, self._settings, indices, set()))
        if field is not None:
            self.left_out[endpoint.name].add(field)
            return self._note(
                f"are refusals of the field {field} by {endpoint.model}",
                f"{self._next} asks without it",
                failure,
            )
        return self._note("are errors", f"{self._next} asks again", failure)

"""The store: what was paid for (samples, scores of entailment, embeddings, meanings), found by content.

Every write is a committed transaction before anything is counted, so kill -9 loses nothing. It does not know what the
rows mean.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from sys import intern
from types import TracebackType
from typing import Any, Self

import numpy as np

from demur.config.store_url import SCHEMES
from demur.records import SERVED, FloatArray, Sample, content_hash
from demur.store.database import Change, Database, Row, replace_clause
from demur.store.postgres import PostgresDatabase
from demur.store.sqlite import SqliteDatabase

Pair = tuple[str, str]
EntailmentScores = tuple[float, float, float]
Answers = tuple[str, tuple[str, ...]]  # a question and the answers to it, in sampling order


_BATCH_PAID = (
    "exists (select 1 from batch_paid paid where paid.model = samples.model and paid.prompt = samples.prompt "
    "and paid.settings = samples.settings and paid.sample = samples.sample)"
)


@dataclass(frozen=True, slots=True)
class SentBatch:
    """A batch that was sent to an API; its results have not been read yet."""

    file: str  # the API's id of its requests
    url: str  # what each of them is posted to
    batch: str  # the API's id; "" before the answer to sending it is known
    asked: tuple[str, ...]  # the requests' custom_id


class Store:
    """An open store; use as a context manager. Raises StoreError.

    ``where``: an SQLite file, ``":memory:"``, or the URL of a PostgreSQL database that several samplers share.
    ``reached``: another process has opened it before, so that a server that is away now is waited for.
    """

    def __init__(self, where: str | Path, *, reached: bool = False) -> None:
        self._where, there = where, str(where)
        self._db: Database = PostgresDatabase(there, reached) if there.startswith(SCHEMES) else SqliteDatabase(where)

    def __enter__(self) -> Self:
        return self

    def __reduce__(self) -> tuple[Callable[..., Store], tuple[str | Path]]:
        return partial(Store, reached=True), (self._where,)  # in another process it is opened again

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End; what was written stays."""
        self._db.close()

    @property
    def shared(self) -> bool:
        """Whether several samplers may be at work on it at once, so that each asks for what it has claimed."""
        return self._db.shared

    def claim(self, model: str, prompt: str, settings: str) -> bool:
        """Whether this sampler may ask a model for a prompt (its text) now: no other one is at work on it.

        The claim holds until `release`, or for a minute after this process was killed.
        """
        return self._db.claim((model, content_hash(prompt), settings))

    def release(self, model: str, prompt: str, settings: str) -> None:
        """Let other samplers ask a model for a prompt (its text)."""
        self._db.release((model, content_hash(prompt), settings))

    def samples(self, model: str, prompt: str, settings: str) -> list[Sample]:
        """All stored samples of a prompt (its text) by a model under settings, by index."""
        return self.samples_of(model, [prompt], settings)[prompt]

    def samples_of(self, model: str, prompts: Iterable[str], settings: str) -> dict[str, list[Sample]]:
        """All stored samples of many prompts, by text, then by index; one query, however many they are."""
        keys = {content_hash(prompt): prompt for prompt in prompts}
        found: dict[str, list[Sample]] = {prompt: [] for prompt in keys.values()}
        rows = self._db.rows(
            "select prompt, sample, answer, logprobs, finish_reason, prompt_tokens, completion_tokens, choices, "
            f"{_BATCH_PAID} from samples where model = ? and prompt in ({self._db.among}) and settings = ? "
            "order by prompt, sample",
            (model, json.dumps(list(keys)), settings),
        )
        for key, index, text, logprobs, reason, asked, answered, choices, batch in rows:
            tokens = None if logprobs is None else tuple(json.loads(logprobs))
            reason = intern(reason)  # a word for all that ended so
            found[keys[key]].append(Sample(index, text, tokens, reason, asked, answered, choices, bool(batch)))
        return found

    def has_samples(self, model: str, settings: str) -> bool:
        """True where a model has answered anything under settings."""
        statement = "select 1 from samples where model = ? and settings = ? limit 1"
        return bool(self._db.rows(statement, (model, settings)))

    def add_samples(self, model: str, prompt: str, settings: str, samples: Sequence[Sample]) -> None:
        """Keep samples; committed when this returns. Existing samples are not replaced."""
        key = (model, content_hash(prompt), settings)
        rows = [
            (
                *key,
                s.index,
                s.text,
                None if s.logprobs is None else json.dumps(s.logprobs),
                s.finish_reason,
                s.prompt_tokens,
                s.completion_tokens,
                s.choices,
            )
            for s in samples
        ]
        paid = [(*key, one.index) for one in samples if one.batch]
        self._db.write(*(_insertion(table, some) for table, some in (("samples", rows), ("batch_paid", paid)) if some))

    def tokens_paid(self, model: str, settings: str) -> dict[bool, tuple[float, int, int]]:
        """Prompt and answer tokens of all samples of a model under settings, and how many answers have no token
        count: True -> of those that were paid as a batch, False -> of all others; one query.
        """
        uncounted = "case when prompt_tokens = 0 and finish_reason <> ? then 1 else 0 end"
        rows = self._db.rows(
            f"select {_BATCH_PAID} as as_batch, sum(prompt_tokens * cast(1 as double precision) / choices), "
            f"sum(completion_tokens), sum({uncounted}) from samples where model = ? and settings = ? group by as_batch",
            (SERVED, model, settings),
        )
        return {bool(batch): (float(asked), int(answered), int(without)) for batch, asked, answered, without in rows}

    def answer_lengths(self, model: str, settings: str) -> dict[tuple[int, str], int]:
        """How many answers of a model under settings have which (tokens, finish_reason); one query."""
        rows = self._db.rows(
            "select completion_tokens, finish_reason, count(*) from samples where model = ? and settings = ? "
            "group by completion_tokens, finish_reason",
            (model, settings),
        )
        return {(int(tokens), reason): int(count) for tokens, reason, count in rows}

    def sent_batches(self, model: str, settings: str) -> list[SentBatch]:
        """The batches of a model under settings whose results have not been read."""
        rows = self._db.rows(
            "select file, url, batch, asked from batches where model = ? and settings = ? order by file",
            (model, settings),
        )
        return [SentBatch(file, url, batch, tuple(json.loads(asked))) for file, url, batch, asked in rows]

    def keep_batch(self, model: str, settings: str, sent: SentBatch) -> None:
        """Remember a batch, in place of what was known of its file; committed when this returns."""
        self._put("batches", [(model, settings, sent.file, sent.url, sent.batch, json.dumps(sent.asked))])

    def end_batch(self, model: str, settings: str, file: str) -> None:
        """Forget a batch whose results were read."""
        statement = "delete from batches where model = ? and settings = ? and file = ?"
        self._db.write((statement, [(model, settings, file)]))

    def forget(self, prompts: Iterable[str]) -> None:
        """Delete the answers to prompts (texts), what is known of them, and their vectors; what they cost stays."""
        keys = [(content_hash(prompt),) for prompt in prompts]
        nameless = "update samples set prompt = ?, answer = '', logprobs = null where prompt = ?"
        self._db.write(
            (nameless, [(secrets.token_hex(16), *key) for key in keys]),
            ("delete from refusals where prompt = ?", keys),
            ("delete from settled where prompt = ?", keys),
            ("delete from embeddings where text = ?", keys),
        )

    def refusals(self, model: str, prompts: Iterable[str], settings: str) -> dict[str, str]:
        """Why a model refused each of those prompts (texts) that it refused under settings."""
        keys = {content_hash(prompt): prompt for prompt in prompts}
        rows = self._db.rows(
            f"select prompt, reason from refusals where model = ? and settings = ? and prompt in ({self._db.among})",
            (model, settings, json.dumps(list(keys))),
        )
        return {keys[key]: reason for key, reason in rows}

    def add_refusal(self, model: str, prompt: str, settings: str, reason: str) -> None:
        """Remember that a model refuses a prompt under settings, so that it is not asked again."""
        self._put("refusals", [(model, content_hash(prompt), settings, reason)])

    def forget_refusals(self, model: str, settings: str) -> None:
        """Ask again what a model refused under settings."""
        self._db.write(("delete from refusals where model = ? and settings = ?", [(model, settings)]))

    def settled_prompts(self, models: Sequence[str], settings: str, fewest: int, prompts: Iterable[str]) -> set[str]:
        """Those of the prompts (texts) that the first ``fewest`` samples of all ``models`` settle under settings."""
        keys = {content_hash(prompt): prompt for prompt in prompts}
        rows = self._db.rows(
            "select prompt from settled where models = ? and settings = ? and fewest = ? and "
            f"prompt in ({self._db.among})",
            (content_hash(list(models)), settings, fewest, json.dumps(list(keys))),
        )
        return {keys[key] for (key,) in rows}

    def add_settled(self, models: Sequence[str], settings: str, fewest: int, prompts: Iterable[str]) -> None:
        """Keep which prompts are settled; committed when this returns."""
        both = content_hash(list(models))
        self._add("settled", [(both, content_hash(prompt), settings, fewest) for prompt in prompts])

    def entailment_scores(self, model: str, pairs: Sequence[Pair]) -> dict[Pair, EntailmentScores]:
        """Stored (contradiction, neutral, entailment) of those pairs that have one."""
        keys = {content_hash(pair): pair for pair in pairs}
        found = self._lookup("pair, contradiction, neutral, entailment", "verdicts", "model", "pair", model, keys)
        return {keys[key]: (c, n, e) for key, c, n, e in found}

    def count_entailment_scores(self, model: str) -> int:
        """How many pairs have a stored score of a model."""
        return int(self._db.rows("select count(*) from verdicts where model = ?", (model,))[0][0])

    def add_entailment_scores(self, model: str, scores: Mapping[Pair, EntailmentScores]) -> None:
        """Keep scores of pairs; committed when this returns."""
        rows = [(model, content_hash(pair), *map(float, one)) for pair, one in scores.items()]
        self._put("verdicts", rows)

    def embeddings(self, encoder: str, texts: Sequence[str]) -> dict[str, FloatArray]:
        """Stored embeddings (float32) of those texts that have one."""
        keys = {content_hash(text): text for text in texts}
        found = self._lookup("text, vector", "embeddings", "encoder", "text", encoder, keys)
        return {keys[key]: np.frombuffer(vector, dtype=np.float32) for key, vector in found}

    def add_embeddings(self, encoder: str, embeddings: Mapping[str, FloatArray]) -> None:
        """Keep embeddings (as float32); committed when this returns."""
        rows = [(encoder, content_hash(text), np.float32(row).tobytes()) for text, row in embeddings.items()]
        self._put("embeddings", rows)

    def meanings(self, decided_by: str, answer_sets: Sequence[Answers]) -> dict[Answers, tuple[tuple[int, ...], int]]:
        """Stored clusters of those lists of answers that have some, and the pairs that the entailment model scored."""
        keys = {content_hash(one): one for one in answer_sets}
        found = self._lookup("answers, clusters, pairs", "meanings", "decided_by", "answers", decided_by, keys)
        return {keys[key]: (tuple(json.loads(clusters)), pairs) for key, clusters, pairs in found}

    def add_meanings(self, decided_by: str, meanings: Mapping[Answers, tuple[Sequence[int], int]]) -> None:
        """Keep clusters; committed when this returns."""
        rows = [
            (decided_by, content_hash(asked), json.dumps(list(clusters)), pairs)
            for asked, (clusters, pairs) in meanings.items()
        ]
        self._put("meanings", rows)

    def _lookup(self, columns: str, table: str, owner: str, key: str, value: str, keys: Iterable[str]) -> list[Any]:
        """Rows of ``table`` whose key is among ``keys``."""
        return self._db.rows(
            f"select {columns} from {table} where {owner} = ? and {key} in ({self._db.among})",
            (value, json.dumps(list(keys))),
        )

    def _add(self, table: str, rows: Sequence[Row]) -> None:
        """Keep rows; those that are there already stay as they are."""
        if rows:
            self._db.write(_insertion(table, rows))

    def _put(self, table: str, rows: Sequence[Row]) -> None:
        """Keep rows in place of those that are there already."""
        if rows:
            marks = ", ".join("?" * len(rows[0]))
            self._db.write((f"insert into {table} values ({marks}) {replace_clause(table)}", rows))


def _insertion(table: str, rows: Sequence[Row]) -> Change:
    return f"insert into {table} values ({', '.join('?' * len(rows[0]))}) on conflict do nothing", rows

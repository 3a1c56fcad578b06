"""The store: one SQLite file that keeps what was paid for (samples, verdicts of entailment, embeddings, meanings).

Rows are found by content. Every write is a committed transaction before anything is counted, so kill -9 loses nothing.
It does not know what the rows mean.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from demur.errors import StoreError
from demur.records import SERVED, FloatArray, Sample, content_hash

VERSION = 1
_TABLES = """
create table if not exists samples (
    model text not null, prompt text not null, settings text not null, sample integer not null,
    answer text not null, logprobs text, finish_reason text not null,
    prompt_tokens integer not null, completion_tokens integer not null, choices integer not null,
    primary key (model, prompt, settings, sample)
) without rowid;
create table if not exists refusals (
    model text not null, prompt text not null, settings text not null, reason text not null,
    primary key (model, prompt, settings)
) without rowid;
create table if not exists settled (
    models text not null, prompt text not null, settings text not null, fewest integer not null,
    primary key (models, prompt, settings, fewest)
) without rowid;
create table if not exists verdicts (
    model text not null, pair text not null,
    contradiction real not null, neutral real not null, entailment real not null,
    primary key (model, pair)
) without rowid;
create table if not exists embeddings (
    encoder text not null, text text not null, vector blob not null,
    primary key (encoder, text)
) without rowid;
create table if not exists meanings (
    decided_by text not null, answers text not null, clusters text not null, pairs integer not null,
    primary key (decided_by, answers)
) without rowid;
"""  # a table that is new to an older store is made when that is opened

_AMONG = "select value from json_each(?)"  # one parameter, however many keys there are

Pair = tuple[str, str]
EntailmentScores = tuple[float, float, float]
Answers = tuple[str, tuple[str, ...]]  # a question and the answers to it, in sampling order


class Store:
    """An open store; use as a context manager. ``":memory:"`` keeps it in memory. Raises StoreError."""

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self._lock = threading.Lock()  # one connection, shared by the threads of a labelling run
        if str(path) != ":memory:":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        with self._errors():
            self._db = sqlite3.connect(path, timeout=30, check_same_thread=False, isolation_level=None)
            self._prepare()

    def _prepare(self) -> None:
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")  # WAL: safe against kill -9
        (found,) = self._db.execute("pragma user_version").fetchone()
        if found > VERSION:
            raise StoreError(
                f"{self.path}: the store has version {found}, this demur knows {VERSION}; upgrade demur, "
                f"or name another run folder"
            )
        self._db.executescript(_TABLES)
        self._db.execute(f"pragma user_version = {VERSION}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was written stays."""
        self._db.close()

    def samples(self, model: str, prompt: str, settings: str) -> list[Sample]:
        """All stored samples of a prompt (its text) by a model under settings, by index."""
        return self.samples_of(model, [prompt], settings)[prompt]

    def samples_of(self, model: str, prompts: Iterable[str], settings: str) -> dict[str, list[Sample]]:
        """All stored samples of many prompts, by text, then by index; one query, however many they are."""
        keys = {content_hash(prompt): prompt for prompt in prompts}
        found: dict[str, list[Sample]] = {prompt: [] for prompt in keys.values()}
        with self._errors():
            rows = self._db.execute(
                "select prompt, sample, answer, logprobs, finish_reason, prompt_tokens, completion_tokens, choices "
                f"from samples where model = ? and prompt in ({_AMONG}) and settings = ? order by prompt, sample",
                (model, json.dumps(list(keys)), settings),
            ).fetchall()
        for key, index, text, logprobs, *rest in rows:
            tokens = None if logprobs is None else tuple(json.loads(logprobs))
            found[keys[key]].append(Sample(index, text, tokens, *rest))
        return found

    def has_samples(self, model: str, settings: str) -> bool:
        """True where a model has answered anything under settings."""
        statement = "select 1 from samples where model = ? and settings = ? limit 1"
        with self._errors():
            return self._db.execute(statement, (model, settings)).fetchone() is not None

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
        self._write("insert or ignore into samples values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def tokens_paid(self, model: str, settings: str) -> tuple[float, int, int]:
        """Prompt and answer tokens of all samples of a model under settings, and how many answers have no token
        count.
        """
        with self._errors():
            prompt, answer, uncounted = self._db.execute(
                "select total(prompt_tokens * 1.0 / choices), total(completion_tokens), "
                "total(prompt_tokens = 0 and finish_reason <> ?) from samples where model = ? and settings = ?",
                (SERVED, model, settings),
            ).fetchone()
        return prompt, int(answer), int(uncounted)

    def forget(self, prompts: Iterable[str]) -> None:
        """Delete the answers to prompts (texts), what is known of them, and their vectors; what they cost stays."""
        keys = json.dumps([content_hash(prompt) for prompt in prompts])
        nameless = "update samples set prompt = hex(randomblob(16)), answer = '', logprobs = null"
        with self._lock, self._errors():
            self._db.execute("pragma secure_delete = on")  # the bytes go as well
            self._db.execute(f"{nameless} where prompt in ({_AMONG})", (keys,))
            for table, column in (("refusals", "prompt"), ("settled", "prompt"), ("embeddings", "text")):
                self._db.execute(f"delete from {table} where {column} in ({_AMONG})", (keys,))

    def refusals(self, model: str, prompts: Iterable[str], settings: str) -> dict[str, str]:
        """Why a model refused each of those prompts (texts) that it refused under settings."""
        keys = {content_hash(prompt): prompt for prompt in prompts}
        with self._errors():
            rows = self._db.execute(
                f"select prompt, reason from refusals where model = ? and settings = ? and prompt in ({_AMONG})",
                (model, settings, json.dumps(list(keys))),
            ).fetchall()
        return {keys[key]: reason for key, reason in rows}

    def add_refusal(self, model: str, prompt: str, settings: str, reason: str) -> None:
        """Remember that a model refuses a prompt under settings, so that it is not asked again."""
        self._write(
            "insert or replace into refusals values (?, ?, ?, ?)", [(model, content_hash(prompt), settings, reason)]
        )

    def forget_refusals(self, model: str, settings: str) -> None:
        """Ask again what a model refused under settings."""
        self._write("delete from refusals where model = ? and settings = ?", [(model, settings)])

    def settled_prompts(self, models: Sequence[str], settings: str, fewest: int, prompts: Iterable[str]) -> set[str]:
        """Those of the prompts (texts) that the first ``fewest`` samples of all ``models`` settle under settings."""
        keys = {content_hash(prompt): prompt for prompt in prompts}
        with self._errors():
            rows = self._db.execute(
                f"select prompt from settled where models = ? and settings = ? and fewest = ? and prompt in ({_AMONG})",
                (content_hash(list(models)), settings, fewest, json.dumps(list(keys))),
            ).fetchall()
        return {keys[key] for (key,) in rows}

    def add_settled(self, models: Sequence[str], settings: str, fewest: int, prompts: Iterable[str]) -> None:
        """Keep which prompts are settled; committed when this returns."""
        both = content_hash(list(models))
        self._write(
            "insert or ignore into settled values (?, ?, ?, ?)",
            [(both, content_hash(prompt), settings, fewest) for prompt in prompts],
        )

    def verdicts(self, model: str, pairs: Sequence[Pair]) -> dict[Pair, EntailmentScores]:
        """Stored (contradiction, neutral, entailment) of those pairs that have one."""
        keys = {content_hash(pair): pair for pair in pairs}
        found = self._lookup("pair, contradiction, neutral, entailment", "verdicts", "model", "pair", model, keys)
        return {keys[key]: (c, n, e) for key, c, n, e in found}

    def add_verdicts(self, model: str, verdicts: Mapping[Pair, EntailmentScores]) -> None:
        """Keep verdicts; committed when this returns."""
        rows = [(model, content_hash(pair), *verdict) for pair, verdict in verdicts.items()]
        self._write("insert or replace into verdicts values (?, ?, ?, ?, ?)", rows)

    def embeddings(self, encoder: str, texts: Sequence[str]) -> dict[str, FloatArray]:
        """Stored embeddings (float32) of those texts that have one."""
        keys = {content_hash(text): text for text in texts}
        found = self._lookup("text, vector", "embeddings", "encoder", "text", encoder, keys)
        return {keys[key]: np.frombuffer(vector, dtype=np.float32) for key, vector in found}

    def add_embeddings(self, encoder: str, embeddings: Mapping[str, FloatArray]) -> None:
        """Keep embeddings (as float32); committed when this returns."""
        rows = [(encoder, content_hash(text), np.float32(row).tobytes()) for text, row in embeddings.items()]
        self._write("insert or replace into embeddings values (?, ?, ?)", rows)

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
        self._write("insert or replace into meanings values (?, ?, ?, ?)", rows)

    def _lookup(self, columns: str, table: str, owner: str, key: str, value: str, keys: Iterable[str]) -> list[Any]:
        """Rows of ``table`` whose key is among ``keys``."""
        with self._errors():
            return self._db.execute(
                f"select {columns} from {table} where {owner} = ? and {key} in ({_AMONG})",
                (value, json.dumps(list(keys))),
            ).fetchall()

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        with self._lock, self._errors():
            self._db.execute("begin immediate")
            try:
                self._db.executemany(statement, rows)
                self._db.execute("commit")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("rollback")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """SQLite's errors as one line that says what to do."""
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(
                f"{self.path}: {error}; {_ADVICE.get(_kind(error), 'is the file a demur store?')}"
            ) from error


_ADVICE = {
    "disk I/O": "disk error: free some space or check the disk, and run the same command again",
    "full": "free some disk space and run the same command again, what is stored is kept",
    "locked": "another demur is writing to it; wait for it to end",
    "readonly": "the file or folder cannot be written",
    "open": "the folder cannot be written",
}


def _kind(error: sqlite3.Error) -> str:
    return next((kind for kind in _ADVICE if kind in str(error)), "")

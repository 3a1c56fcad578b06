"""A natural-language-inference cross-encoder in an ONNX file, on the CPU.

(premise, hypothesis) pairs in, probabilities out. Where the files come from is `entailment`'s business.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from demur.catalogue import sha256_of
from demur.clustering import checked
from demur.errors import ModelError
from demur.records import FloatArray, content_hash
from demur.store import Pair

LABELS = ("contradiction", "neutral", "entailment")
LONGEST_SIDE = 4000  # characters of a side that are tokenised: 100 kB answers cost no more than these
CONTEXT = 8  # characters or tokens kept before the first difference of two sides that are cut


class OnnxEntailment:
    """A natural-language-inference cross-encoder on the CPU, one thread.

    ``model``, ``tokenizer`` and ``config`` are an ONNX file, its tokenizer.json and a config.json with ``id2label``,
    from which the order of the labels is taken. Of sides that are too long, what both begin with (the question) is cut
    first and never their first difference, so that different answers stay different (`cut`). Raises ModelError for
    files that cannot be used and for labels other than the three.
    """

    def __init__(self, model: Path, tokenizer: Path, config: Path) -> None:
        import onnxruntime
        import tokenizers

        try:
            settings = json.loads(config.read_text(encoding="utf-8"))
            self._order = label_order(settings.get("id2label") or {}, str(config))
            self._window = int(settings.get("max_length") or settings.get("max_position_embeddings") or 512)
        except (OSError, ValueError) as error:
            raise ModelError(f"{config}: cannot be read as a model's config.json: {str(error)[:160]}") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
            self._tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer))
        except Exception as error:  # both libraries raise bare Exceptions of their own
            raise ModelError(f"{model}: cannot be opened: {str(error)[:160]}") from error
        self._files = (model, tokenizer, config)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._inputs = [given.name for given in self._session.get_inputs()]

    def __call__(self, pairs: Sequence[Pair]) -> FloatArray:
        """Probabilities of contradiction, neutral, entailment; shape (n, 3). Raises InputError where one is NaN."""
        # One at a time: int8 scales are of a whole batch, in which a pair's verdict would depend on the others; on one
        # thread a batch is 7 % faster at most.
        found = np.array([self._score(self._encode(premise, hypothesis)) for premise, hypothesis in pairs]).reshape(
            -1, 3
        )
        return checked(found, len(pairs))

    @property
    def identity(self) -> str:
        """Content hash of the model's three files: what its verdicts are kept under."""
        return "onnx " + content_hash([sha256_of(path) for path in self._files])

    def _encode(self, premise: str, hypothesis: str) -> Any:
        """Token ids of the pair, cut to what fits."""
        texts = cut(premise, hypothesis, (LONGEST_SIDE, LONGEST_SIDE))
        sides = [self._tokenizer.encode(text, add_special_tokens=False) for text in texts]
        first, second = (side.ids for side in sides)
        room = kept_tokens(len(first), len(second), self._window - self._tokenizer.num_special_tokens_to_add(True))
        for side, kept in zip(sides, cut_slices(first, second, room), strict=True):
            side.truncate(kept.stop, direction="right")
            side.truncate(kept.stop - kept.start, direction="left")
        return self._tokenizer.post_process(sides[0], sides[1])

    def _score(self, row: Any) -> FloatArray:
        columns = {"input_ids": row.ids, "attention_mask": row.attention_mask, "token_type_ids": row.type_ids}
        feed = {name: np.array([columns[name]], dtype=np.int64) for name in self._inputs}
        logits = np.asarray(self._session.run(None, feed)[0], dtype=float)[0, self._order]
        odds = np.exp(logits - logits.max())
        return np.asarray(odds / odds.sum())


def label_order(id2label: Mapping[str, str], where: str) -> list[int]:
    """Columns of contradiction, neutral, entailment in a model's output; raises ModelError listing what it found."""
    column = {str(name).casefold().replace(" ", "_"): int(index) for index, name in id2label.items()}
    missing = [label for label in LABELS if label not in column]
    if missing or len(column) != len(LABELS):
        raise ModelError(
            f"{where}: labels are {', '.join(id2label.values()) or 'not given'}; entailment needs {', '.join(LABELS)}"
        )
    return [column[label] for label in LABELS]


def cut(premise: str, hypothesis: str, longest: tuple[int, int]) -> tuple[str, str]:
    """Both sides at most ``longest`` characters: what they share at the beginning goes first, then their ends."""
    first, second = cut_slices(premise, hypothesis, longest)
    return premise[first], hypothesis[second]


def cut_slices(first: Sequence[object], second: Sequence[object], longest: tuple[int, int]) -> tuple[slice, slice]:
    """The part of each sequence that is kept; it holds their first difference."""
    shared = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), None)
    start = max(0, (min(len(first), len(second)) if shared is None else shared) - CONTEXT)
    begins = [max(0, min(len(side) - most, start)) for side, most in zip((first, second), longest, strict=True)]
    return slice(begins[0], begins[0] + longest[0]), slice(begins[1], begins[1] + longest[1])


def kept_tokens(premise: int, hypothesis: int, room: int) -> tuple[int, int]:
    """Tokens of each side that fit into ``room`` together: a side under half keeps its length."""
    if premise + hypothesis <= room:
        return premise, hypothesis
    half = room // 2
    if premise <= half:
        return premise, room - premise
    return (room - hypothesis, hypothesis) if hypothesis <= half else (room - half, half)

"""A natural-language-inference cross-encoder in an ONNX file, on the CPU.

It takes (premise, hypothesis) pairs and returns probabilities. Files are found in `entailment`; long pairs are
shortened in `long_pairs`.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from demur.errors import ModelError
from demur.meaning.clusters import CONTRADICTION, ENTAILMENT, NEUTRAL, checked_probabilities
from demur.meaning.long_pairs import kept_tokens, shared_ends, shorten
from demur.meaning.rules.normalise import without_invisible
from demur.models.catalogue import sha256_of
from demur.records import FloatArray, IntArray, content_hash, encodable
from demur.store import Pair

LABELS = ("contradiction", "neutral", "entailment")
RUNTIME = 5  # of what is done to a pair besides running the model: cutting, languages, what cannot be told apart
SHORT = 128  # tokens per pair: of longer ones what both share is cut, for a model sees a small difference best alone
SAME_END = 4  # tokens that both must end with, for entailment to hold though something was left out
SHORTEST_WINDOW, LONGEST_WINDOW = 16, 512  # tokens per pair
UNKNOWN = ("[UNK]", "<unk>")
_POSITIONS_FROM_2 = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl")  # two of their positions are taken


@dataclass(frozen=True, slots=True)
class _Side:
    """A text in tokens."""

    code: Any  # tokenizers.Encoding without special tokens
    marks: Sequence[int | str]  # token ids; of a token that the model does not know, what it stands for


def onnx_identity(files: Sequence[Path], short: int = SHORT) -> str:
    """Content hash of a model's files and of what is done to a pair: what its scores are kept under."""
    beside = [files[0].with_name(files[0].name + end) for end in ("_data", ".data")]
    everything = [*files, *(path for path in beside if path.is_file())]
    return "onnx " + content_hash([RUNTIME, short, *(sha256_of(path) for path in everything)])


class OnnxEntailment:
    """A natural-language-inference cross-encoder on the CPU, one thread.

    ``model``, ``tokenizer`` and ``config`` are an ONNX file, its tokenizer.json and a config.json with ``id2label``,
    from which the order of the labels is taken; pairs up to ``short`` tokens are scored as they are, of longer ones
    what both sides share is cut (`long_pairs`). Entailment never holds where the model cannot decide: sides that its
    tokenizer makes the same though they differ by more than case and accents (emoji, words of over 100 letters), or
    long sides of which something was left out, and that end differently. Nor does it hold for texts that ``reads``
    says the model was not made for. Raises ModelError for files that cannot be used and for labels other than the
    three.
    """

    def __init__(
        self,
        model: Path,
        tokenizer: Path,
        config: Path,
        *,
        short: int = SHORT,
        reads: Callable[[str], bool] = lambda text: True,
    ) -> None:
        import onnxruntime
        import tokenizers

        settings = _settings(config)
        self._order = label_order(settings.get("id2label"), str(config))
        self._window = _window(settings, str(config))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
            self._tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer))
        except Exception as error:  # both libraries raise bare Exceptions of their own
            raise ModelError(f"{model}: cannot be opened: {str(error)[:160]}") from error
        self._files, self._short, self._reads = (model, tokenizer, config), short, reads
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._unknown = {self._tokenizer.token_to_id(token) for token in UNKNOWN} - {None}
        self._inputs = [given.name for given in self._session.get_inputs()]
        self._score("a", "b")  # files that do not fit each other say so now

    def __call__(self, pairs: Sequence[Pair]) -> FloatArray:
        """Probabilities of contradiction, neutral, entailment; shape (n, 3). Raises InputError where one is NaN."""
        # One at a time: int8 scales are of a whole batch, in which a pair's scores would depend on the others; on one
        # thread a batch is 7 % faster at most.
        found = [self._score(premise, hypothesis) for premise, hypothesis in pairs]
        return checked_probabilities(np.array(found).reshape(-1, 3), len(found))

    @property
    def identity(self) -> str:
        """The key of its stored scores."""
        return onnx_identity(self._files, self._short)

    def _score(self, premise: str, hypothesis: str) -> FloatArray:
        if premise == hypothesis:  # whatever it says, it entails itself
            return np.array([0.0, 0.0, 1.0])
        if not (self._reads(premise) and self._reads(hypothesis)):
            return np.array([0.0, 1.0, 0.0])
        *texts, lost = shorten(encodable(premise), encodable(hypothesis))
        first, second = (self._side(text) for text in texts)
        if _is_confused(first, second) and _plain(premise) != _plain(hypothesis):
            return np.array([0.0, 1.0, 0.0])
        room = self._window - self._tokenizer.num_special_tokens_to_add(True)
        *keep, left_out = kept_tokens(first.marks, second.marks, short=min(self._short, room), room=room)
        row = self._tokenizer.post_process(first.code, second.code)
        columns = np.array([row.ids, row.attention_mask, row.type_ids], dtype=np.int64)
        stays = np.array(row.special_tokens_mask, dtype=bool)
        stays[~stays] = np.concatenate(keep)
        logits = self._logits(columns[:, stays])
        odds = np.exp(logits - logits.max())
        found = odds / odds.sum()
        if (lost or left_out) and first.marks[-SAME_END:] != second.marks[-SAME_END:]:
            return np.array([found[CONTRADICTION], found[NEUTRAL] + found[ENTAILMENT], 0.0])
        return np.asarray(found)

    def _side(self, text: str) -> _Side:
        code = self._tokenizer.encode(text, add_special_tokens=False)
        ids = code.ids
        if self._unknown.isdisjoint(ids):
            return _Side(code, ids)
        spans = zip(ids, code.offsets, strict=True)
        return _Side(code, [_plain(text[i:j]) if token in self._unknown else token for token, (i, j) in spans])

    def _logits(self, columns: IntArray) -> FloatArray:
        """Of contradiction, neutral, entailment; ``columns`` are ids, attention mask and type ids of a pair."""
        given = dict(zip(("input_ids", "attention_mask", "token_type_ids"), columns[:, None], strict=True))
        if unknown := [name for name in self._inputs if name not in given]:
            raise ModelError(f"{self._files[0]}: wants {', '.join(unknown)}; entailment gives {', '.join(given)}")
        try:
            found = np.asarray(self._session.run(None, {name: given[name] for name in self._inputs})[0], dtype=float)
        except Exception as error:  # onnxruntime raises bare Exceptions of its own
            raise ModelError(f"{self._files[0]}: cannot score {columns.shape[1]} tokens: {str(error)[:160]}") from error
        if found.shape != (1, len(LABELS)):
            raise ModelError(
                f"{self._files[0]}: gives shape {found.shape} for a pair, its config names 3 labels: (1, 3)"
            )
        return np.asarray(found[0, self._order])


def label_order(id2label: object, where: str) -> list[int]:
    """Columns of contradiction, neutral, entailment in a model's output; raises ModelError listing what it found."""
    names = {str(key): str(name) for key, name in id2label.items()} if isinstance(id2label, Mapping) else {}
    column = {name.casefold().replace(" ", "_"): key for key, name in names.items()}
    if set(column) != set(LABELS) or set(names) != {"0", "1", "2"}:
        said = f"{', '.join(names.values())} (at {', '.join(names)})" if names else "not given as an object"
        raise ModelError(f"{where}: labels are {said}; entailment needs {', '.join(LABELS)}, at 0, 1 and 2")
    return [int(column[label]) for label in LABELS]


def _settings(config: Path) -> Mapping[str, Any]:
    """What a config.json says."""
    try:
        found = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{config}: cannot be read as a model's config.json: {str(error)[:160]}") from error
    if not isinstance(found, dict):
        raise ModelError(f"{config}: holds a JSON {type(found).__name__}; a model's config.json is an object")
    return found


def _window(settings: Mapping[str, Any], where: str) -> int:
    """Tokens that a pair may have."""
    name = "max_length" if settings.get("max_length") else "max_position_embeddings"
    given = settings.get(name) or LONGEST_WINDOW
    if not isinstance(given, int) or given < SHORTEST_WINDOW:
        raise ModelError(f"{where}: {name} is {given!r}; a pair needs a whole number of at least {SHORTEST_WINDOW}")
    if name == "max_position_embeddings" and settings.get("model_type") in _POSITIONS_FROM_2:
        given -= 2
    return min(given, LONGEST_WINDOW)


def _is_confused(first: _Side, second: _Side) -> bool:
    """Whether the model cannot tell the sides apart, or unknown words in them."""
    if first.marks == second.marks:
        return True
    before, after = shared_ends(first.marks, second.marks)
    own = [side.marks[before : len(side.marks) - after] for side in (first, second)]
    unknown = [{mark for mark in marks if isinstance(mark, str)} for marks in own]
    return all(unknown) and unknown[0] != unknown[1]


def _plain(text: str) -> str:
    """Without what tokenizers drop: case, accents, spaces, invisible characters."""
    letters = unicodedata.normalize("NFD", without_invisible(text).casefold())
    return "".join(c for c in letters if not c.isspace() and unicodedata.category(c) not in ("Mn", "Cc"))

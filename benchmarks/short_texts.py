"""Short texts without a right answer: are they taken for questions on which both models guess, and what does that cost?

60 prompts of our own for names, slogans, titles, single lines (`data/short_text_prompts.jsonl`, written before any
answer was seen), answered five times by SmolLM2-135M (weak) and Qwen2.5-Coder-1.5B (strong) as `demur sample` asks by
default: `data/short_texts.jsonl.gz`. Beside the questions of `guess_samples` they make a run, labelled and trained as a
newcomer's is, its stored answers replayed by two endpoints on loopback. Shown: how many are unknown and why, where each
setting of `unknown` sends them at a strong share of 30 %, and how often the strong model's first answer is the better
one by grades that were given blind (`better` in the file: strong, weak or equal). All of it once without and once with
the rule that few equal answers to a request are chance (`unknown.LEAST_EQUAL`).

The share of that rule was chosen on these prompts and the requests of a mixed run that holds them. It is confirmed on
60 requests of our own that were written before any of their answers was seen, 40 without and 20 with a right answer
(`data/request_prompts.jsonl`): which of them are labelled by their own answers, and where the router of the run, which
has not seen them, sends them.
`--sample STORE` asks the models, and keeps what they say in that file; with `--requests` about those.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import numpy as np

import demur
from demur.config import LabelConfig, ModelConfig
from demur.evaluation.report.headline import expected_use
from demur.gate.router import Router
from demur.gate.shares import threshold_of_share
from demur.labels.beliefs import unknown
from demur.labels.beliefs.unknown import GUESSED, LEAST_EQUAL, UNKNOWN_FILE, read_unknown
from demur.labels.from_samples import label_prompts
from demur.meaning.entailment import SAMPLED_SHARE, at_share, shipped_entailment
from demur.meaning.meanings import Meanings
from demur.models.local import running_endpoint
from demur.models.requests.client import EndpointClient
from demur.prompts.words import is_question
from demur.records import OnUnknown, Prompt, Sample, SamplingSettings, fact_lines
from demur.runs.steps import FIRST_SHARE
from demur.sampling.pair import PairSamples
from demur.sampling.sample import sample_prompts
from demur.store import Store
from demur.testing import fake_endpoint, in_a_thread
from environment import ROOT, describe, on_one_thread
from label_rules import GUESSES, new_samples

DATA = ROOT / "benchmarks" / "data"
PROMPTS, ANSWERS = DATA / "short_text_prompts.jsonl", DATA / "short_texts.jsonl.gz"
REQUESTS, REQUESTED = DATA / "request_prompts.jsonl", DATA / "requests.jsonl.gz"
WITHOUT, WITH = "without a right answer", "with one"
MODELS = {"weak": "smollm2-135m", "strong": "qwen2.5-coder-1.5b"}
N = 5


def answered(file: Path = ANSWERS) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(file.read_bytes()).decode().splitlines()]


def requests() -> dict[str, list[str]]:
    """The requests that confirm the rule, those without a right answer and those with one."""
    rows = [json.loads(line) for line in REQUESTS.read_text(encoding="utf-8").splitlines()]
    return {kind: [row["prompt"] for row in rows if ("answers" in row) == (kind == WITH)] for kind in (WITHOUT, WITH)}


async def sample_pair(store: Store, texts: Sequence[str], file: Path) -> None:
    """Ask both models, and write all answers."""
    prompts, settings = [Prompt(str(i), text) for i, text in enumerate(texts)], SamplingSettings(n=N)
    found: list[dict[str, Any]] = [{"prompt": text} for text in texts]
    for side, model in MODELS.items():
        async with running_endpoint(ModelConfig(model=model), parallel=N, max_tokens=settings.max_tokens) as endpoint:
            async with EndpointClient(endpoint) as client:
                await sample_prompts(prompts, client, endpoint, settings, store)
            for row in found:
                row[side] = [_answer(one) for one in store.samples(endpoint.name, row["prompt"], settings.key)[:N]]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found)
    with file.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
        packed.write(lines.encode())


def _answer(one: Sample) -> dict[str, Any]:
    mean = float(np.mean(one.logprobs)) if one.logprobs else 0.0
    return {"text": one.text, "cut": one.finish_reason == "length", "mean_logprob": round(mean, 4)}


@contextmanager
def pair(texts: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Two endpoints that say again what the models said to the questions and to the texts."""
    prompts, sides = new_samples(GUESSES)
    served = []
    for model in MODELS.values():
        said = {p.text: [(one.text, one.logprobs) for one in a] for p, a in zip(prompts, sides[model], strict=True)}
        answers = {text: [one for one, _ in each] for text, each in said.items()}
        means = {one: float(np.mean(own or (-3.0,))) for each in said.values() for one, own in each}
        side = next(name for name, one in MODELS.items() if one == model)
        answers |= {row["prompt"]: [one["text"] for one in row[side]] for row in texts}
        means |= {one["text"]: one["mean_logprob"] for row in texts for one in row[side]}
        served.append(fake_endpoint(_replay(answers), logprob=means.__getitem__))
    with in_a_thread(served[0]) as weak, in_a_thread(served[1]) as strong:
        yield {"weak": f"{MODELS['weak']}@{weak.base_url}", "strong": f"{MODELS['strong']}@{strong.base_url}"}


def _replay(answers: dict[str, list[str]]) -> Callable[[str, int], str]:
    return lambda prompt, seed: answers[prompt][seed % N]


def report(run: str, texts: Sequence[str]) -> None:
    """What the labels and the router of a run make of the texts."""
    reasons = {one.prompt: one.reason for one in read_unknown(Path(run) / UNKNOWN_FILE)}
    print(f"\n{len(texts)} short texts without a right answer, by labels:")
    for reason, count in Counter(reasons.get(text, "labelled") for text in texts).most_common():
        print(f"  {count:>3}  {reason}")
    for part, name in enumerate(("even, on which the form of a question was chosen", "odd, which confirm it")):
        asked = [text for text in texts[part::2] if reasons.get(text) == GUESSED]
        print(
            f"  {name}: {len(asked)} whose short answers all differ, {sum(map(is_question, asked))} of them questions"
        )
    known = np.array([text not in reasons for text in texts])
    for where in get_args(OnUnknown):
        router = Router.load(f"{run}/router", unknown=where)
        threshold, looked = threshold_of_share(router, FIRST_SHARE), router.prompt_router.look_held_out(texts)
        weak = 1 - expected_use(router, looked, threshold).strong.mean(axis=1)
        guessed = np.array([reasons.get(text) == GUESSED for text in texts])
        halves = " and ".join(f"{weak[part::2].sum():.0f} of {len(weak[part::2])}" for part in (0, 1))
        print(
            f"unknown = {where}: at a strong share of {FIRST_SHARE:.0%} {halves} go to the weak model (even and odd "
            f"prompts), {weak[guessed].sum():.0f} of {guessed.sum()} of those whose short answers all differ, "
            f"{weak[known].sum():.0f} of the {known.sum()} labelled ones"
        )


def report_requests(run: str) -> None:
    """Where the router of a run sends requests that it has not seen."""
    router = Router.load(f"{run}/router")
    threshold = threshold_of_share(router, FIRST_SHARE)
    for kind, texts in requests().items():
        strong = sum(router.route(text, threshold=threshold).role == "strong" for text in texts)
        sent = f"{strong} of {len(texts)} to the strong model"
        print(f"requests {kind} that it has not seen, at {FIRST_SHARE:.0%}: {sent}")


def report_own_labels() -> None:
    """How many of the requests are labelled by their own answers."""
    rows = answered(REQUESTED)
    prompts = [Prompt(str(i), row["prompt"]) for i, row in enumerate(rows)]
    sides = [{p.id: _samples(row[side]) for p, row in zip(prompts, rows, strict=True)} for side in MODELS]
    meanings = Meanings(at_share(shipped_entailment(), SAMPLED_SHARE))
    for least in (0.0, LEAST_EQUAL):
        with rule_of(least):
            found = label_prompts(prompts, PairSamples(*sides), meanings, LabelConfig(), weak="weak", strong="strong")
        reasons = {row.prompt: f"labelled {row.target:.2f}" for row in found.preferences}
        reasons |= {one.prompt: one.reason for one in found.unknown}
        print(f"\nrequests by their own answers; fewer equal pairs than {least:.0%} are chance")
        for kind, texts in requests().items():
            print(f"  {kind}: {sum(reasons[text].startswith('labelled') for text in texts)} of {len(texts)} labelled")
            for text in texts:
                if reasons[text].startswith("labelled"):
                    print(f"    {reasons[text]}  {text}")


def _samples(answers: Sequence[dict[str, Any]]) -> list[Sample]:
    return [Sample(i, one["text"], None, "length" if one["cut"] else "stop", 0, 0) for i, one in enumerate(answers)]


@contextmanager
def rule_of(least: float) -> Iterator[None]:
    """Labels by another `unknown.LEAST_EQUAL`; 0: the rule is off."""
    unknown.LEAST_EQUAL = least
    try:
        yield
    finally:
        unknown.LEAST_EQUAL = LEAST_EQUAL


def report_grades(rows: Sequence[dict[str, Any]]) -> None:
    graded = Counter(row["better"] for row in rows if row.get("better"))
    print(f"\nfirst answers graded blind: {sum(graded.values())}; the better one: {dict(graded)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=Path, metavar="STORE", help="ask the models; file that keeps what was sampled")
    parser.add_argument("--requests", action="store_true", help="with --sample: the requests that confirm the rule")
    options = parser.parse_args()
    print(describe())
    if options.sample:
        listed, kept = (REQUESTS, REQUESTED) if options.requests else (PROMPTS, ANSWERS)
        texts = [json.loads(line)["prompt"] for line in listed.read_text(encoding="utf-8").splitlines()]
        with Store(options.sample) as store:
            return asyncio.run(sample_pair(store, texts, kept))
    rows = answered()
    texts = [row["prompt"] for row in rows]
    with tempfile.TemporaryDirectory() as made, pair(rows) as names:
        run, file = str(Path(made) / "run"), Path(made) / "prompts.jsonl"
        asked = [*(prompt.text for prompt in new_samples(GUESSES)[0]), *texts]
        file.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in asked), encoding="utf-8")
        demur.sample(file, **names, run=run, n=N, strong_usd="2.5/10")
        for least in (0.0, LEAST_EQUAL):
            print(f"\n== requests with fewer equal pairs than {least:.0%} are unknown by chance")
            with rule_of(least):
                labels = demur.label(run=run)
            print(labels.sentence, *fact_lines((*labels.facts, *labels.details)), *labels.notes, sep="\n")
            router = demur.train(run=run, methods="kernel")
            print(router.sentence)
            report(run, texts)
            report_requests(run)
    report_own_labels()
    return report_grades(rows)


if __name__ == "__main__":
    on_one_thread()
    main()

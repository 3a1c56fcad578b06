"""What labels say of open-ended prompts, which have no right answer: every prompt with its verdict and first answers.

60 prompts of our own (e-mails, poems, advice, ideas, opinions) beside 20 short questions, answered four times by
SmolLM2-135M (weak) and Qwen2.5-Coder-0.5B (strong) in 64 tokens at most; prompts and answers are in `data/`. A prompt
is unknown where its samples cannot tell. Whether a label is right is for the reader: the texts are printed.
"""

from __future__ import annotations

import gzip
import json

from demur.config import LabelConfig
from demur.labels.from_samples import label_prompts
from demur.meaning.entailment import SAMPLED_SHARE, at_share, shipped_entailment
from demur.meaning.meanings import Meanings
from demur.records import Prompt, Sample
from demur.sampling.pair import PairSamples
from environment import ROOT, describe, on_one_thread

DATA = ROOT / "benchmarks" / "data"
WIDTH = 110  # characters of an answer that are shown


def main() -> None:
    """Print every open-ended prompt, and the counts."""
    print(describe())
    listed = (DATA / "open_ended_prompts.jsonl").read_text(encoding="utf-8").splitlines()
    open_ended = {json.loads(line)["prompt"] for line in listed}
    answered = gzip.decompress((DATA / "open_ended_answers.jsonl.gz").read_bytes()).decode().splitlines()
    rows = [json.loads(line) for line in answered]
    prompts = [Prompt(str(number), row["prompt"]) for number, row in enumerate(rows)]
    weak, strong = (
        {prompt.id: _samples(row[side]) for prompt, row in zip(prompts, rows, strict=True)}
        for side in ("weak", "strong")
    )
    meanings = Meanings(at_share(shipped_entailment(), SAMPLED_SHARE))
    found = label_prompts(
        prompts, PairSamples(weak, strong), meanings, LabelConfig(), weak="smollm2-135m", strong="qwen2.5-coder-0.5b"
    )
    targets = {row.prompt: row.target for row in found.preferences}
    for row in rows:
        if row["prompt"] in open_ended:
            target = targets.get(row["prompt"])
            print(f"\n{'unknown' if target is None else f'target {target:.2f}'}: {row['prompt']}")
            for side in ("weak", "strong"):
                print(f"  {side:<7}{' '.join(row[side][0][0].split())[:WIDTH]!r}")
    told = [targets[prompt] for prompt in open_ended if prompt in targets]
    low = sum(target < 0.5 for target in told)
    print(
        f"\n{len(open_ended)} open-ended prompts: {len(open_ended) - len(told)} unknown, {len(told)} labelled, ", end=""
    )
    print(f"{low} of them towards the weak model")
    print(f"{len(rows) - len(open_ended)} short questions: {len(targets) - len(told)} labelled")


def _samples(answers: list[tuple[str, bool]]) -> tuple[Sample, ...]:
    return tuple(
        Sample(index, text, None, "length" if cut else "stop", 0, 0) for index, (text, cut) in enumerate(answers)
    )


if __name__ == "__main__":
    on_one_thread()
    main()

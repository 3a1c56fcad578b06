"""The paper's experiment on the local pair, live: train on the QA mix, test on MT-Bench, GSM8K and MMLU.

SmolLM2-135M against Qwen2.5-Coder-1.5B, which also judges MT-Bench (its own answers too: models favour these). Every
answer is kept in the run's folder, so that an interrupted run goes on where it stopped. The default sizes are meant for
40 minutes on two cores; --quick takes a quarter of them.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import demur
from demur.paper.reproduction import reproduce_run
from environment import SHARED, describe

RUN_FILE = """prompts = "nq-open:{qa} + triviaqa:{qa} + popqa:{qa} + mawps:{maths}"
run = "{run}"
test_share = 0
weak = "smollm2-135m"
strong = "qwen2.5-coder-1.5b"

[sampling]
max_tokens = 32

[test]
prompts = "mt-bench:{talks} + gsm8k:{sums} + mmlu:{choices}"
judge = "qwen2.5-coder-1.5b"
max_tokens = {tokens}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("run/own-experiment"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="table-1,table-2,figure-1,figure-2,cost,tau")
    asked = parser.parse_args()
    os.environ.setdefault("DEMUR_QUESTIONS", str(SHARED / "questions"))
    part = 4 if asked.quick else 1
    sizes = {"qa": 80 // part, "maths": 40 // part, "talks": 16 // part, "sums": 40 // part, "choices": 120 // part}
    asked.run.mkdir(parents=True, exist_ok=True)
    file = asked.run / "own.toml"
    file.write_text(RUN_FILE.format(run=asked.run, tokens=192, **sizes), encoding="utf-8")
    print(describe())
    start = time.perf_counter()
    outcome = demur.run(file, progress=lambda stage, done, total: None)
    print(f"sampled, labelled, trained, tested: {(time.perf_counter() - start) / 60:.1f} minutes in this session")
    print(outcome.spend.sentence)
    found = reproduce_run(str(asked.run), only=tuple(asked.only.split(",")))
    print("\n".join(found.lines))


if __name__ == "__main__":
    main()

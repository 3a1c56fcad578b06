"""The paper's experiment on the local pair, live: examples/paper.toml, and the tables of its run.

SmolLM2-135M against Qwen2.5-Coder-1.5B, which also judges MT-Bench (its own answers too: models favour these). Every
answer is kept in the run's folder, so that an interrupted run goes on where it stopped; `--part 8` takes an eighth of
every set. Prints when each step began, and the processor time of it all, that of the models included.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import time
from pathlib import Path

import demur
from demur.paper.reproduction import reproduce_run
from environment import SHARED, describe

EXAMPLE = Path(__file__).parents[1] / "examples/paper.toml"


class Clock:
    """Prints when a step begins; a `demur.records.Progress`."""

    def __init__(self) -> None:
        self.start, self.steps = time.perf_counter(), set[str]()

    def __call__(self, step: str, done: int, total: int) -> None:
        if step not in self.steps:
            self.steps.add(step)
            print(f"  {time.perf_counter() - self.start:.0f} s: {step}, {total}", flush=True)

    @property
    def taken(self) -> str:
        """Minutes since the beginning, and processor minutes of this process and of the models that it has ended."""
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        spent = sum(one.ru_utime + one.ru_stime for one in used)
        return f"{(time.perf_counter() - self.start) / 60:.1f} minutes, {spent / 60:.1f} processor minutes"


def of_size(text: str, run: Path, part: int) -> str:
    """The run file with one part in ``part`` of every set, in another folder."""
    smaller = re.sub(r"(?<=[a-z]:)\d+", lambda size: str(max(1, int(size.group()) // part)), text)
    return re.sub(r"(?m)^run = .*", f'run = "{run.absolute()}"', smaller)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("run/paper"))
    parser.add_argument("--part", type=int, default=1, help="one part in so many of every set")
    parser.add_argument("--only", default="", help="parts of the tables, as of `demur reproduce`")
    asked = parser.parse_args()
    os.environ.setdefault("DEMUR_QUESTIONS", str(SHARED / "questions"))
    asked.run.mkdir(parents=True, exist_ok=True)
    file = asked.run / "paper.toml"
    file.write_text(of_size(EXAMPLE.read_text(encoding="utf-8"), asked.run, asked.part), encoding="utf-8")
    print(describe())
    clock = Clock()
    outcome = demur.run(file, progress=clock)
    print(f"sampled, labelled, trained, tested: {clock.taken} in this session\n{outcome.spend.sentence}")
    found = reproduce_run(str(asked.run), only=tuple(filter(None, asked.only.split(","))), progress=clock)
    print("\n".join([*found.lines, f"with the tables: {clock.taken}"]))


if __name__ == "__main__":
    main()

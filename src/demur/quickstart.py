"""`demur demo`: the main job on two real local models and our own questions, ready to run."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from demur.config import LabelConfig, ModelConfig, RunConfig
from demur.pipeline import ROUTER, Announce, Outcome, run_config
from demur.policy import Policy
from demur.records import Progress, SamplingSettings, no_progress
from demur.router import Decision

WEAK, STRONG = "smollm2-135m", "qwen2.5-coder-1.5b"
PRICED_AS = "gpt-4o"  # the local strong model stands in for a cloud model, and is priced as one
EXAMPLES = (
    "What is the capital of Spain?",
    "A taxi costs 4 dollars and 2 dollars a mile. How many dollars does a ride of 9 miles cost?",
    "Who wrote The Brothers Karamazov?",
)


def demo_config(run: str = "run/demo") -> RunConfig:
    """The demo as a run file would say it: answer-only prompts, 16 tokens at most, five samples a model."""
    data = Path(str(files("demur"))) / "data"
    settings = SamplingSettings(
        n=5,
        max_tokens=16,
        stop=("\n",),
        template=(data / "demo_template.txt").read_text(encoding="utf-8").rstrip("\n"),
        chat=False,
    )
    return RunConfig(
        prompts=str(data / "demo_questions.jsonl"),
        weak=ModelConfig(WEAK),
        strong=ModelConfig(STRONG, priced_as=PRICED_AS),
        run=run,
        sampling=settings,
        label=LabelConfig(),
    )


def demo(*, run: str = "run/demo", announce: Announce | None = None, progress: Progress = no_progress) -> Outcome:
    """Sample, label, train, calibrate and evaluate on the demo's questions; the models are fetched when missing."""
    return run_config(demo_config(run), announce=announce, progress=progress)


def demo_router(*, run: str = "run/demo", progress: Progress = no_progress) -> str:
    """Folder of the demo's router; the demo is run first where that has not been done yet."""
    folder = Path(run) / ROUTER
    if not (folder / "router.json").is_file():
        demo(run=run, progress=progress)
    return str(folder)


def route_examples(run: str = "run/demo") -> list[tuple[str, Decision]]:
    """Three new prompts, routed by the demo's router."""
    policy = Policy.load(Path(run) / ROUTER)
    return [(prompt, policy.decide(prompt)) for prompt in EXAMPLES]

"""`demur demo`: every stage on two real local models and questions that come with demur."""

from __future__ import annotations

from contextlib import AsyncExitStack
from importlib.resources import files
from pathlib import Path

from demur.config import LabelConfig, ModelConfig, RunConfig
from demur.errors import require
from demur.event_loop import run_to_end
from demur.gate.answer import Answered, Ask
from demur.gate.router import Router
from demur.models.local import endpoint_of, running_endpoint
from demur.models.requests.client import EndpointClient
from demur.pipeline import Outcome, run_config
from demur.records import Progress, Sample, SamplingSettings, no_progress
from demur.sampling.sample_run import Announce
from demur.store import Store

WEAK, STRONG = "smollm2-135m", "qwen2.5-coder-1.5b"
PRICED_AS = "gpt-4o"  # the local strong model takes the place of a cloud model and is priced as one
# A model of 135 million parameters is wrong about most of these questions: at .3, as usual, its answers would be kept.
STRONG_SHARE = 0.6
# Served answers are drawn as the samples were. At 1 a model of this size is right about a tenth less often.
TEMPERATURE = 0.7
EXAMPLES = (  # new prompts, chosen since they take different paths: the prompt alone, and drafts that are looked at
    "In which country is the city of Venice?",
    "Which river flows through Paris?",
    "How many minutes are in two hours?",
)


def demo_config(run: str = "run/demo") -> RunConfig:
    """The demo's run record: answer-only prompts, 16 tokens at most, three samples per model."""
    data = Path(str(files("demur"))) / "data"
    settings = SamplingSettings(
        n=3,  # of more prompts a router learns more than from more samples
        temperature=TEMPERATURE,
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
        strong_share=STRONG_SHARE,
        sampling=settings,
        label=LabelConfig(),
    )


def demo(
    *,
    run: str = "run/demo",
    again: bool = False,
    announce: Announce | None = None,
    progress: Progress = no_progress,
) -> Outcome:
    """Sample, label, train, calibrate and evaluate on the demo's questions; the models are fetched when missing.

    ``again``: also in a folder that another installation's demo, or another run, has begun. Raises MissingExtraError
    before anything is fetched.
    """
    for module in ("xllamacpp", "matplotlib"):
        require(module, extra="demo", purpose="the demo", otherwise="uvx --from 'demur[demo]' demur demo")
    return run_config(demo_config(run), again=again, announce=announce, progress=progress)


def demo_router(*, run: str = "run/demo", progress: Progress = no_progress) -> str:
    """Folder of the demo's router; the demo is run first where that has not been done yet."""
    folder = demo_config(run).served_router
    if not (folder / "router.json").is_file():
        demo(run=run, progress=progress)
    return str(folder)


def answer_examples(run: str = "run/demo") -> list[Answered]:
    """New prompts, answered live by the demo's router; what was answered before is read from the store."""
    config = demo_config(run)
    router = Router.load(config.served_router)

    async def work() -> list[Answered]:
        async with AsyncExitStack() as stack:
            store = stack.enter_context(Store(config.store_at))
            weak, strong = (_ask_through_store(model, config, store, stack) for model in (config.weak, config.strong))
            return [await router.aanswer(prompt, weak=weak, strong=strong) for prompt in EXAMPLES]

    return run_to_end(work())


def _ask_through_store(model: ModelConfig, config: RunConfig, store: Store, stack: AsyncExitStack) -> Ask:
    """A model asked through the store, as the run's samples were; it is started for the first one that is missing."""
    client: EndpointClient | None = None
    name, key = endpoint_of(model).name, config.sampling.key

    async def ask(prompt: str, index: int) -> Sample:
        nonlocal client
        known = [one for one in store.samples(name, prompt, key) if one.index == index]
        if known:
            return known[0]
        if client is None:
            endpoint = await stack.enter_async_context(running_endpoint(model, parallel=1))
            client = await stack.enter_async_context(EndpointClient(endpoint))
        found = await client.complete(prompt, config.sampling, [index])
        store.add_samples(name, prompt, key, found)
        return found[0]

    return ask

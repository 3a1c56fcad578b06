"""The run file's table of test sets: which, how they are answered, and who grades them."""

from __future__ import annotations

from dataclasses import dataclass, field

from demur.limits import setting

GRADERS = ("exact", "containment", "numeric", "choice", "judge")


@dataclass(frozen=True, slots=True)
class TestConfig:
    """Separate test sets, beside the training mix: each is answered by both models, graded and reported by itself."""

    __test__ = False  # no test case

    prompts: str = setting("Sets or files of prompts, such as mt-bench + gsm8k:200 + mmlu; empty: none.", "")
    graders: dict[str, str] = field(
        default_factory=dict,
        metadata={
            "choices": GRADERS,
            "about": "How a set is graded, where that is not by the kind of its gold answers: {gsm8k = 'numeric'}; "
            f"{', '.join(GRADERS)}. Without gold answers: judge.",
        },
    )
    judge: str | None = setting("Who rates answers from 1 to 10, named as label.judge is.", None)
    judge_tokens: int = setting("Longest reply of the judge, thinking included.", 512, at_least=1)
    judge_effort: str = setting("reasoning_effort of a judge that thinks first, such as low.", "")
    n: int = setting("Answers of each model to a test prompt.", 1, at_least=1)
    temperature: float = setting("Of the answers.", 0.0, at_least=0)
    max_tokens: int = setting("Longest answer, in tokens; of a letter 8.", 512, at_least=1)
    max_usd: float | None = setting("Stop before judging costs more than this many USD.", None, at_least=0)

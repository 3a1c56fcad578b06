"""Is a prompt settled: does each model agree with itself, so that it is plain whether both say the same?

Chosen on the odd prompts of `samples/local_pair`, confirmed on others: `benchmarks/adaptive_sampling.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from demur.labels.pair_meanings import joint_clusters
from demur.meaning.meanings import Meanings
from demur.meaning.rules.declined_answers import says_nothing
from demur.records import IntArray, Prompt
from demur.runs.run import Run
from demur.sampling.pair import PairSamples
from demur.sampling.rounds import Settle


def settle_of(run: Run) -> Settle:
    """What sampling a run's prompts stops by; a worker can be sent it. It is asked about some at a time, so it shows no
    progress of its own: that of sampling counts all.
    """
    return partial(settled_prompts, n=run.config.sampling.fewest, meanings=run.shipped_meanings.quiet())


def settled_prompts(prompts: Sequence[Prompt], samples: PairSamples, *, n: int, meanings: Meanings) -> frozenset[str]:
    """Ids of the prompts that both models' first n samples settle. A model that says nothing settles nothing."""
    weak, strong = ([side[prompt.id][:n] for prompt in prompts] for side in (samples.weak, samples.strong))
    joint = joint_clusters(prompts, weak, strong, meanings).ids
    return frozenset(
        prompt.id
        for prompt, ids, *sides in zip(prompts, joint, weak, strong, strict=True)
        if is_settled(ids) and not any(says_nothing(one.text) for side in sides for one in side)
    )


def is_settled(joint: IntArray) -> bool:
    """Whether either model's answers are one meaning; the clusters then say whether it is the same.

    ``joint``: clusters over both models' answers, as many of each, the strong ones first.
    """
    strong, weak = np.split(joint, 2)
    return len(np.unique(strong)) == len(np.unique(weak)) == 1

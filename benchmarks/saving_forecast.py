"""By how much the forecast of what is saved misses on prompts that a router has not seen; for runs that are trained.

Each run's prompts are split at random, twenty times: four fifths stand for the training prompts, the others for new
ones. A new prompt's answer by the large model is expected to be as long as those to the nearest training prompt, as
`demur replay` expects it, or as the mean of that prompt's kind, of the three nearest prompts' own answers, or of all.
What the calls that stay local save by that is compared with what they save by the prompts' own sampled answers.
Scores are those of fits without the prompt; a new prompt next to an unknown one is unknown. The small model costs
nothing here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from demur.config import load_run
from demur.evaluation.report.headline import learned_prompts
from demur.gate.router import Router
from demur.labels.prompt_kinds import PromptKinds
from demur.methods.estimator import unit_rows
from demur.models.images.joined_encoder import embed
from demur.records import FloatArray, IntArray
from demur.runs.run import open_run
from environment import describe, on_one_thread

SPLITS, HELD_OUT, NEAREST = 20, 0.2, 3
SHARES = (0.3, 0.5, 0.7)
EXPECTED = ("the nearest prompt", "the nearest prompt's kind", f"the {NEAREST} nearest prompts", "all prompts")


def expected_lengths(similar: IntArray, lengths: FloatArray, kinds: IntArray) -> list[FloatArray]:
    """(m,) tokens of new prompts' answers by each of EXPECTED; ``similar``, (m, n): training prompts, nearest first."""
    of_kind = np.array([lengths[kinds == kind].mean() for kind in kinds])
    near = lengths[similar[:, :NEAREST]].mean(axis=1)
    nearest = similar[:, 0]
    return [lengths[nearest], of_kind[nearest], near, np.full(len(similar), lengths.mean())]


def misses(folder: Path) -> FloatArray:
    """(splits, shares, expectations) forecast less true saving, in percentage points."""
    router = Router.load(folder / "router").prompt_router
    texts, looked = learned_prompts(router)
    kinds = np.array((PromptKinds.from_record(router.record) or PromptKinds(())).of)
    with open_run(load_run(folder)) as run:
        ids = {prompt.text: prompt.id for prompt in run.prompts}
        answers = [run.samples.strong[ids[text]] for text in texts]
    price = router.cost("strong")
    if price is None or len(kinds) != len(texts):
        raise SystemExit(f"{folder}: the large model's price or the kinds of prompts are not recorded")
    lengths = np.array([np.mean([one.completion_tokens for one in each]) for each in answers])
    asked = np.array([float(each[0].prompt_tokens) for each in answers])
    vectors = unit_rows(embed(router.encoder, texts))
    scores = np.where(router.unknown_setting.settled_rows(looked.untold), np.inf, looked.scores)
    found = []
    for seed in range(SPLITS):
        order = np.random.default_rng(seed).permutation(len(texts))
        new, old = np.split(order, [int(HELD_OUT * len(texts))])
        similar = np.argsort(-(vectors[new] @ vectors[old].T), axis=1)
        of_new = np.where(np.isinf(scores[old][similar[:, 0]]), np.inf, looked.scores[new])
        expected = expected_lengths(similar, lengths[old], kinds[old])
        for share in SHARES:
            local = of_new <= np.sort(scores[old])[round((1 - share) * len(old)) - 1]

            def saved(tokens: FloatArray, local: FloatArray = local, new: IntArray = new) -> float:
                usd = asked[new] * price.usd_per_input_token + tokens * price.usd_per_output_token
                return 100 * float(usd[local].sum() / usd.sum())

            found += [saved(each) - saved(lengths[new]) for each in expected]
    return np.array(found).reshape(SPLITS, len(SHARES), len(EXPECTED))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs that are trained")
    on_one_thread()
    print(describe())
    for folder in parser.parse_args().runs:
        by_share = misses(folder)
        print(f"\n{folder}: forecast less true saving in percentage points, mean (standard deviation), {SPLITS} splits")
        for at, share in enumerate(SHARES):
            shown = (
                f"{name} {values.mean():+.1f} ({values.std(ddof=1):.1f})"
                for name, values in zip(EXPECTED, by_share[:, at].T, strict=True)
            )
            print(f"  strong share {share:.0%}: " + "; ".join(shown))


if __name__ == "__main__":
    main()

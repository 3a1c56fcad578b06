"""Does the published `routellm` package load what `demur export routellm` writes, and rank models as demur's tiers do?

Battles of a planted arena (twelve models) are written with demur's writer. In an environment of its own the package's
`preprocess_battles`, `compute_elo_mle_with_tie` and `compute_tiers` read them; ratings and tiers must be demur's.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import numpy as np

from demur.labels.battles.arena import rating_tiers, read_arena
from demur.labels.preference_files import write_routellm
from demur.records import Preference, Winner
from environment import describe, output_of, peer_python
from similarity_weighted import PEER, PEER_NEEDS

MODELS, BATTLES, TIERS = 12, 4000, 4
READ = """
import json, sys
import pandas
from routellm.routers.similarity_weighted.utils import compute_elo_mle_with_tie, compute_tiers, preprocess_battles
found = preprocess_battles(pandas.read_json(sys.argv[1]))
ratings = compute_elo_mle_with_tie(found)
print(json.dumps({"rows": len(found), "ratings": ratings.to_dict(), "tiers": compute_tiers(ratings, int(sys.argv[2]))}))
"""


def planted_battles(seed: int = 0) -> list[Preference]:
    """Three groups of models, and a tie in every sixth battle."""
    random = np.random.default_rng(seed)
    skill = np.repeat(np.arange(TIERS), MODELS // TIERS) + random.normal(0, 0.05, MODELS)
    rows = []
    for number in range(BATTLES):
        a, b = random.choice(MODELS, 2, replace=False).tolist()
        won = random.random() < 1 / (1 + np.exp(skill[b] - skill[a]))
        winner: Winner = "tie" if random.random() < 1 / 6 else "model_a" if won else "model_b"
        target = {"model_a": 0.0, "model_b": 1.0, "tie": 0.5}[winner]
        said = (f"a question of some length, number {number}", "one answer", "another")
        rows.append(Preference(str(number), f"model {a}", f"model {b}", *said, target, winner, "preference"))
    return rows


def main() -> None:
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "battles.json"
        write_routellm(path, planted_battles())
        python = peer_python("routellm-sw", PEER_NEEDS, alone=PEER)
        command = [str(python), "-W", "ignore", "-c", READ, str(path), str(TIERS)]
        theirs = json.loads(output_of(command, env=os.environ | {"OPENAI_API_KEY": "none"}))
        arena = read_arena(path)
    ours = rating_tiers(arena.ratings, TIERS)
    names = sorted(ours)
    apart = np.corrcoef([arena.ratings[name] for name in names], [theirs["ratings"][name] for name in names])[0, 1]
    same = {name: TIERS - 1 - tier for name, tier in theirs["tiers"].items()} == ours  # theirs count from the best
    print(f"{theirs['rows']} of {BATTLES} battles read; correlation of ratings {apart:.6f}; the same tiers: {same}")


if __name__ == "__main__":
    main()

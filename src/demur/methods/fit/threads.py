"""One thread of linear algebra: how a product is split among threads changes its last bits, which training amplifies.

An environment variable would have to be set before numpy is imported; threadpoolctl asks the library itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@contextmanager
def one_thread() -> Iterator[None]:
    """Products are computed on one thread as long as the block runs: the same input gives the same bytes."""
    with _libraries().limit(limits=1, user_api="blas"):
        yield


@cache
def _libraries() -> Any:
    """The loaded libraries of linear algebra, looked for once."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()

"""An object that lives in one process, and a proxy for it wherever workers run.

A store that is a file is written by one process, beside the command that was started. Workers ask that process, and
what they hand over is committed before the call returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from demur.errors import DemurError


class Holder:
    """Runs in the process of its own; ``make`` opens what it holds."""

    def __init__(self, make: Callable[[], Any]) -> None:
        try:
            self._held, self._failed = make(), None
        except DemurError as error:
            self._held, self._failed = None, error

    def call(self, name: str, args: tuple[Any, ...], given: dict[str, Any]) -> tuple[bool, Any]:
        """A method's result, or the error that it raises; the flag tells which."""
        try:
            if self._failed:
                raise self._failed
            found = getattr(self._held, name)(*args, **given)
        except DemurError as error:
            return False, error
        return True, found


class HolderProxy:
    """Calls the methods of what a `Holder` holds, by ``ask``: one that sends a call there and waits for its answer.

    ``values``: its attributes that are not methods.
    """

    def __init__(self, ask: Callable[[str, tuple[Any, ...], dict[str, Any]], tuple[bool, Any]], **values: Any) -> None:
        self._ask = ask
        vars(self).update(values)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):  # pickle looks for its own
            raise AttributeError(name)
        return _Method(self._ask, name)

    def __enter__(self) -> HolderProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Method:
    def __init__(self, ask: Callable[[str, tuple[Any, ...], dict[str, Any]], tuple[bool, Any]], name: str) -> None:
        self._ask, self._name = ask, name

    def __call__(self, *args: Any, **given: Any) -> Any:
        sent = tuple(list(one) if isinstance(one, Iterator) else one for one in args)  # a generator cannot be sent
        right, found = self._ask(self._name, sent, given)
        if not right:
            raise found
        return found

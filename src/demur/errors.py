"""Everything demur raises on purpose, in one tree.

    DemurError                 caught by the command line: one line, exit code 2
      InputError               a prompt file, argument, array or run file is wrong   (also ValueError)
        PictureError           a picture cannot be looked at: broken, too large, or an address
      EndpointError            a model endpoint refused, hung or answered nonsense
        BudgetError            going on would cost more than was allowed
        PromptRefusedError     this prompt cannot be answered; others can
        BatchRefusedError      a batch was not begun: nothing of it is under way
      StoreError               the sample store cannot be read or written
      ModelError               a model file cannot be had, or its content hash is wrong
      ArtifactError            a saved router is corrupt, foreign, or does not fit what serves it
      MissingExtraError        an optional dependency is not installed               (also ImportError)

A message is one line: it names the thing, gives both values, and says what to do next.
"""

from __future__ import annotations

import errno
import importlib
import re
from types import ModuleType
from typing import Literal

RefusalCause = Literal["prompt", "answer", "unknown", "passing"]
# A user and a password before a host, or whatever stands there in a URL of HTTP, such as a token; digits and a slash
# after the colon are a port.
_PASSWORD = re.compile(r"(://|@)[^\s/:@]*:(?!//|\d+/)(?:[^\s/]*|[^\s@]*)@|(\bhttps?://)[^\s/@]+@")


def without_passwords(text: str) -> str:
    """A text with `***` in place of the user and password of each URL in it."""
    return _PASSWORD.sub(lambda found: f"{found[1] or found[2]}***@", text)


class DemurError(Exception):
    """Base of all errors that demur raises on purpose. What they say shows no password of a URL."""

    def __init__(self, *said: object) -> None:
        super().__init__(*(without_passwords(one) if isinstance(one, str) else one for one in said))


class InputError(DemurError, ValueError):
    """Something the caller handed in is wrong."""


class PictureError(InputError):
    """A picture that cannot be looked at: broken, too large, or an address that is not fetched."""

    def __init__(self, problem: str, where: str = "") -> None:
        super().__init__(f"{where}: {problem}" if where else problem)
        self.problem = problem  # what is wrong, without the prompt


class EndpointError(DemurError):
    """A model endpoint refused, timed out, or returned something other than a completion."""


class BudgetError(EndpointError):
    """Going on would cost more than the caller allowed (``max_usd``)."""


class PromptRefusedError(EndpointError):
    """A prompt, or an answer to it, that a model endpoint cannot handle, though it may answer others.

    ``cause``: "prompt" (the endpoint names the prompt: filtered, or too long), "answer" (it came without a text),
    "unknown" (refused without a readable reason), or "passing" (another try may succeed).
    """

    def __init__(self, message: str, cause: RefusalCause) -> None:
        super().__init__(message)
        self.cause = cause


class BatchRefusedError(EndpointError):
    """A batch API refuses to begin a batch: nothing of it is under way."""


class StoreError(DemurError):
    """The sample store cannot be read or written."""


class ModelError(DemurError):
    """A model file cannot be had, or its content is not what the catalogue promises."""


class ArtifactError(DemurError):
    """A saved router is corrupt, foreign, or does not fit what is to serve it."""


class MissingExtraError(DemurError, ImportError):
    """An optional dependency is missing; the message holds the exact pip line."""


def of_the_system(error: OSError) -> str:
    """An error of the operating system that no module foresaw, in one line with the next step."""
    where = f"{str(error.filename)[:200]}: " if error.filename else ""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
    step = "free some disk space" if full else "look at its path and who may read and write it"
    return f"{where}{error.strerror or error}; {step}, and run the same command again"


def require(module: str, *, extra: str, purpose: str, otherwise: str = "") -> ModuleType:
    """Import an optional ``module`` or raise ``MissingExtraError`` with the pip line of ``extra`` (or another)."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingExtraError(
            f"{purpose} needs {package}, which is not installed: pip install 'demur[{extra}]'"
            + (f", or {otherwise}" if otherwise else "")
        ) from error

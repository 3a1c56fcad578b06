"""A run's folder is made before anything is paid for; where nothing is answered then, it is removed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from demur.config import RUN_RECORD, RunConfig
from demur.errors import EndpointError
from demur.runs.lock import LOCK
from demur.sampling.earlier.asked_models import SAMPLINGS
from demur.sampling.pair import endpoints_of
from demur.serving_file import MADE
from demur.store import Store


@contextmanager
def kept_if_used(config: RunConfig) -> Iterator[None]:
    """Remove a run's folder that the block has made, where it fails before any model has answered: of a mistyped
    endpoint or a wrong key nothing stays behind."""
    new = not config.folder.exists()
    try:
        yield
    except EndpointError:
        if new and not _is_used(config):
            own = [RUN_RECORD, MADE, LOCK, SAMPLINGS]
            if not config.store:
                own += [f"{Path(config.store_at).name}{end}" for end in ("", "-wal", "-shm")]
            for name in own:
                (config.folder / name).unlink(missing_ok=True)
            with suppress(OSError):  # something else is in it
                config.folder.rmdir()
        raise


def _is_used(config: RunConfig) -> bool:
    key = config.sampling.key
    with Store(config.store_at) as store:
        return any(
            store.has_samples(one.name, key) or store.sent_batches(one.name, key) for one in endpoints_of(config).all
        )

"""The routers that learning has made, numbered, and which of them serves; nothing is ever half in place.

A version is written whole before it is named; the one that serves is named by a symbolic link, which is replaced in
one step. Deleting a version's folder is up to the operator.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from demur.errors import InputError
from demur.files import read_mapping, write_whole
from demur.gateway.learning.cold_start import CANARY, SERVING
from demur.limits import from_mapping

VERSIONS = "versions"
ABOUT = "version.json"
KEPT = 50  # folders of routers; of older ones only the line remains


@dataclass(frozen=True, slots=True)
class Version:
    """One router that was tried."""

    number: int
    at: float  # seconds since 1970
    prompts: int  # that it learned from
    promoted: bool
    why: str  # what it reached beside the router that was in force
    threshold: float
    strong_share: float
    # Believed gain per prompt beyond random order, on the prompts that it learned from, and its interval.
    gain: float = 0.0
    low: float = 0.0
    high: float = 0.0

    def line(self, serving: bool, canary: bool = False) -> str:
        """The version as one line."""
        tried = "canary" if canary else "was promoted" if self.promoted else "not promoted"
        state = "serves" if serving else tried
        return f"{self.number:>4}  {state:<13} {self.prompts:>6,} prompts  {self.why}"


def versions(folder: Path) -> list[Version]:
    """All versions in a learning folder, oldest first. Raises InputError for one that cannot be read."""
    found = (path / ABOUT for path in sorted((folder / VERSIONS).glob("[0-9]*")) if not path.name.endswith(".part"))
    return [from_mapping(Version, read_mapping(path), where=str(path)) for path in found if path.exists()]


def serving_version(folder: Path) -> int | None:
    """Number of the version that serves; None without one."""
    try:
        return int((folder / SERVING).readlink().parent.name)
    except (OSError, ValueError):
        return None


def router_folder(folder: Path, number: int) -> Path:
    """Where a version's router is: the last that was written of it."""
    return router_folders(folder, number)[-1]


def router_folders(folder: Path, number: int) -> list[Path]:
    """A version's router, and before it what a kill has left of one that it replaces."""
    first = folder / VERSIONS / f"{number:06d}" / "router"
    later = (path for path in first.parent.glob("router.[0-9]*") if path.suffix != ".part")
    return [first, *sorted(later, key=lambda path: int(path.suffix[1:]))]


def next_number(folder: Path) -> int:
    """The number of the next version."""
    return max((one.number for one in versions(folder)), default=0) + 1


def keep_version(folder: Path, router: Path, version: Version) -> None:
    """Copy a saved router as a version; it is complete or not there at all."""
    place = folder / VERSIONS / f"{version.number:06d}"
    part = place.with_name(place.name + ".part")
    shutil.rmtree(part, ignore_errors=True)  # that a kill has left
    shutil.copytree(router, part / "router")
    write_whole(part / ABOUT, json.dumps(asdict(version), indent=2) + "\n")
    part.rename(place)
    _drop_oldest(folder)


def canary(folder: Path) -> int | None:
    """Number of the version that is tried on a share of the traffic; None without one."""
    try:
        return int((folder / CANARY).readlink().parent.name)
    except (OSError, ValueError):
        return None


def try_canary(folder: Path, number: int) -> None:
    """Let a version be tried on a share of the traffic. Raises InputError for one that is not there."""
    _name(folder, CANARY, number)


def end_canary(folder: Path) -> None:
    """End the trial of the version that is tried."""
    (folder / CANARY).unlink(missing_ok=True)


def record_outcome(folder: Path, version: Version, why: str, *, promoted: bool) -> None:
    """Write down what became of a version."""
    about = folder / VERSIONS / f"{version.number:06d}" / ABOUT
    decided = replace(version, promoted=promoted, why=f"{version.why}; {why}" if why else version.why)
    write_whole(about, json.dumps(asdict(decided), indent=2) + "\n")


def promote(folder: Path, number: int) -> None:
    """Let a version serve, in one step. Raises InputError for one that is not there."""
    _name(folder, SERVING, number)


def _name(folder: Path, link_name: str, number: int) -> None:
    """Let a link name a version's router, in one step."""
    router = router_folder(folder, number)
    if not (router / "router.json").is_file():
        there = ", ".join(str(one.number) for one in versions(folder)) or "none"
        raise InputError(f"{folder}: no router of version {number} is there; versions: {there}")
    link, part = folder / link_name, folder / f"{link_name}.part"
    part.unlink(missing_ok=True)
    part.symlink_to(router.relative_to(folder))
    part.replace(link)


def version_before(folder: Path) -> int:
    """The promoted version before the one that serves. Raises InputError where there is none."""
    now = serving_version(folder)
    earlier = [one.number for one in versions(folder) if one.promoted and now is not None and one.number < now]
    if not earlier:
        raise InputError(f"{folder}: no version was promoted before {'the one that serves' if now else 'any served'}")
    return earlier[-1]


def _drop_oldest(folder: Path) -> None:
    """Remove the routers of versions that are old and do not serve; their lines stay."""
    used = serving_version(folder), canary(folder)
    for one in versions(folder)[:-KEPT]:
        if one.number not in used:
            for path in router_folders(folder, one.number):
                shutil.rmtree(path, ignore_errors=True)

"""Content hashes of what each stage of a run made, and from what; used to report stages that are out of date.

    samples -> labels -> routers -> calibration -> report

Each stage leaves the hash of what it made and of what it was made from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from demur.files import hash_of_file, named_from_here, write_whole
from demur.measure.threshold import KeptPoint, ShareFigures
from demur.serving_file import MADE, PROPOSED, gateways_of

Stage = Literal["samples", "labels", "routers", "report"]
REPORT = "report.html"
GRADES_FILE = "grades.jsonl"  # of a person, or by gold answers; in a run's folder
GRADES = "grades"
RUN_FILE, WISH, ADVICE, SWAPPED, HEADLINE = "run file", "wish", "advised share", "swapped", "headline"
PROMISES, MOST_PROMISES = "promises", 50  # of a run's latest thresholds
REQUESTS: Literal["files of requests"] = "files of requests"
OWN_LIMITS = "own limits"
OUTDATED: Mapping[Stage, tuple[Stage, str]] = {  # a stage, what it is made from, and the command that makes it
    "labels": ("samples", "demur label"),
    "routers": ("labels", "demur train"),
}


def keep_made(folder: Path, stage: Stage, content: str, source: str = "") -> None:
    """Keep the hash of what a stage made and, for all but the first one, of what that was made from.

    That is then what the stage before it holds, though it may have been changed by hand: a file of prompts with more
    rows, a line taken out of the labels.
    """
    made = _read_lineage(folder) | {stage: {"content": content, "source": source}}
    before = OUTDATED[stage][0] if stage in OUTDATED else None
    if before in made:
        made[before] = {**made[before], "content": source}
    write_whole(folder / MADE, json.dumps(made) + "\n")


def forget_made(folder: Path, stage: Stage | Literal["files of requests"]) -> None:
    """Forget that a stage was completed, since it is begun again with other settings; or that requests were written,
    since their answers are asked for directly."""
    kept = _read_lineage(folder)
    if kept.pop(stage, None):
        write_whole(folder / MADE, json.dumps(kept) + "\n")


def outdated_stages(folder: Path) -> tuple[str, ...]:
    """A line for every stage of a run's folder that was made from other inputs than those that are there now.

    Empty for a folder without a run, or with a run of an earlier version.
    """
    made, lines = _read_lineage(folder), older_lines(folder)
    if "routers" not in made or lines or _is_calibrated(folder / "router"):
        return lines
    holding = [one for one in gateways_of(folder / "router") if one.target]
    if not holding:
        return (f"{folder}/router has no calibration, or an older one; set its threshold: `demur calibrate`",)
    return tuple(
        f"{folder}/router has no calibration and needs none: the gateway on {one.address} holds the target {one.target}"
        for one in holding
    )


def older_lines(folder: Path) -> tuple[str, ...]:
    """The same of labels and routers, whether or not a threshold is set."""
    return _outdated_lines(folder, _read_lineage(folder))


def older_stages(folder: Path) -> Mapping[Stage, str]:
    """The stages of a run's folder that are older than something they were made from, and what that is."""
    return _older(folder, _read_lineage(folder))


def _older(folder: Path, made: Mapping[str, Mapping[str, str]]) -> dict[Stage, str]:
    found: dict[Stage, str] = {
        stage: before
        for stage, (before, _) in OUTDATED.items()
        if stage in made and before in made and made[stage]["source"] != made[before]["content"]
    }
    if "routers" in made and not found and _prices(folder / "run.json") != _prices(folder / "router" / "router.json"):
        return {"routers": "prices"}
    return found


def _outdated_lines(folder: Path, made: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
    """The lines of labels and routers, whether or not a threshold is set."""
    return tuple(
        f"{folder}: the {newer} are newer than the {stage}; make those again with `{OUTDATED[stage][1]}`"
        for stage, newer in _older(folder, made).items()
    )


def keep_report(folder: Path) -> None:
    """Keep the hash of a run's report and what it is of: the routers that are there, with the threshold that was set
    for them, if any, and the grades."""
    keep_made(folder, "report", hash_of_file(folder / REPORT), _report_source(folder))
    made = _read_lineage(folder)
    made["report"][GRADES] = _hash_of_grades(folder)
    write_whole(folder / MADE, json.dumps(made) + "\n")


def outdated_report(folder: Path) -> str:
    """A line where a run's report is of another router, threshold or grades than are there now; else empty.

    Apart from `outdated_stages`, which a report itself shows.
    """
    newer = newer_than_report(folder)
    verb = "are" if newer == GRADES else "is"
    return f"the {newer} {verb} newer than {folder / REPORT}; make that again with `demur report`" if newer else ""


def newer_than_report(folder: Path) -> str:
    """What a run's report was made from that is another by now; empty where nothing is known to be, as of the grades
    of a report of an earlier version."""
    made = _read_lineage(folder)
    if "report" not in made or not (folder / "router" / "router.json").is_file() or not (folder / REPORT).is_file():
        return ""
    if made["report"]["source"] != _report_source(folder):
        return "router or its threshold"
    graded = _hash_of_grades(folder)
    return GRADES if made["report"].get(GRADES, graded) != graded else ""


def keep_run_file(folder: Path, file: str | Path) -> None:
    """Keep which run file a run was begun by, so that the same command goes on with it; empty: by none."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(
        folder / MADE,
        json.dumps(_read_lineage(folder) | {RUN_FILE: {"content": str(Path(file).absolute()) if file else ""}}) + "\n",
    )


def run_file_of(folder: Path) -> str:
    """The run file that a folder's run was begun by, as named from here; empty where there is none."""
    kept = _read_lineage(folder).get(RUN_FILE, {}).get("content", "")
    return named_from_here(kept) if kept and Path(kept).is_file() else ""


def keep_requests(folder: Path, written: str | Path | None) -> None:
    """Keep in which folder files of requests for a batch API were written; None, or no folder: none were."""
    if written and Path(written).is_dir():
        kept = _read_lineage(folder) | {REQUESTS: {"content": str(Path(written).absolute())}}
        write_whole(folder / MADE, json.dumps(kept) + "\n")


def requests_of(folder: Path) -> str:
    """The folder of those files, as named from here; empty where there is none, or all samples are there."""
    made = _read_lineage(folder)
    kept = made.get(REQUESTS, {}).get("content", "")
    return named_from_here(kept) if kept and "samples" not in made and Path(kept).is_dir() else ""


def keep_wish(folder: Path, prompts: str, options: str) -> None:
    """Keep by what a run's threshold was set, so that it can be set so again after training; not where no run is.

    ``options``: of `demur calibrate`, as they are written there.
    """
    if not (folder / MADE).is_file():
        return
    file = str(Path(prompts).absolute()) if Path(prompts).is_file() else prompts  # or a named set
    write_whole(folder / MADE, json.dumps(_read_lineage(folder) | {WISH: {"content": options, "source": file}}) + "\n")


def wish_of(folder: Path) -> tuple[str, str] | None:
    """Prompts and options by which a run's threshold was set last; None where that is not known."""
    kept = _read_lineage(folder).get(WISH)
    return (named_from_here(kept["source"]), kept["content"]) if kept else None


def keep_swapped(folder: Path, why: str) -> None:
    """Keep why a run's weak and strong model may be swapped; empty: nothing says that they are."""
    made = _read_lineage(folder)
    if why or SWAPPED in made:
        write_whole(folder / MADE, json.dumps(made | {SWAPPED: {"content": why}}) + "\n")


def swapped_of(folder: Path) -> str:
    """What `keep_swapped` kept."""
    return _read_lineage(folder).get(SWAPPED, {}).get("content", "")


def keep_own_limits(folder: Path, limits: Mapping[str, int], asked: int) -> None:
    """Keep at about how many tokens endpoints (MODEL@URL) were seen to cut answers though ``asked`` were asked for; 0:
    that one does not.
    """
    made = _read_lineage(folder)
    kept = _own_limits(made) | {name: {"tokens": tokens, "asked": asked} for name, tokens in limits.items()}
    content = json.dumps({name: one for name, one in kept.items() if one["tokens"]})
    write_whole(folder / MADE, json.dumps(made | {OWN_LIMITS: {"content": content}}) + "\n")


def own_limits_of(folder: Path, max_tokens: int) -> dict[str, int]:
    """What `keep_own_limits` kept of those that were asked for more than ``max_tokens``."""
    kept = _own_limits(_read_lineage(folder))
    return {name: one["tokens"] for name, one in kept.items() if one["asked"] > max_tokens}


def _own_limits(made: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, int]]:
    return dict(json.loads(made.get(OWN_LIMITS, {}).get("content", "{}")))


def keep_advice(folder: Path, point: KeptPoint | None, *, least_share: float, scope: str, unknown: str = "") -> None:
    """Keep the strong share that is advised for the routers that are there; None: none is known to keep quality.

    ``least_share``: the least one that a threshold can give; ``scope``: which prompts its quality is of, empty for all;
    ``unknown``: why quality is not known.
    """
    made = _read_lineage(folder)
    content = json.dumps(asdict(point)) if point else ""
    source = made.get("routers", {}).get("content", "")
    advice = {"content": content, "source": source, "least": f"{least_share!r}", "scope": scope}
    advice["unknown"] = unknown
    write_whole(folder / MADE, json.dumps(made | {ADVICE: advice}) + "\n")


def keep_share_figures(folder: Path, figures: Iterable[ShareFigures]) -> None:
    """Keep with the advice what other strong shares keep and save, which commands may propose."""
    made = _read_lineage(folder)
    advice = _advice(folder) | {"figures": json.dumps([asdict(one) for one in figures])}
    write_whole(folder / MADE, json.dumps(made | {ADVICE: advice}) + "\n")


def keep_proposed(folder: Path, command: str) -> None:
    """Keep the command that is proposed to set the threshold of the router that is there."""
    write_whole(folder / MADE, json.dumps(_read_lineage(folder) | {PROPOSED: {"content": command}}) + "\n")


def share_figures_of(folder: Path) -> tuple[ShareFigures, ...]:
    """What `keep_share_figures` kept; none of other routers, or of an earlier version."""
    return tuple(ShareFigures(**one) for one in json.loads(_advice(folder).get("figures", "[]")))


def unknown_quality_of(folder: Path) -> str:
    """Why it is not known what a share keeps; empty where it is, or the reason is not known."""
    return _advice(folder).get("unknown", "")


def advice_of(folder: Path) -> KeptPoint | None:
    """What `keep_advice` kept; None where it was of other routers, or of an earlier version."""
    kept = _advice(folder)
    return KeptPoint(**json.loads(kept["content"])) if kept.get("content") else None


def least_share_of(folder: Path) -> float:
    """The least strong share that a threshold of the routers that are there can give; 0 where it is not known."""
    return float(_advice(folder).get("least", 0.0))


def advice_scope(folder: Path) -> str:
    """Which prompts the quality of `advice_of` is of; empty where it is of all, or not known."""
    return _advice(folder).get("scope", "")


def _advice(folder: Path) -> dict[str, str]:
    made = _read_lineage(folder)
    kept = made.get(ADVICE, {})
    return kept if kept.get("source") == made.get("routers", {}).get("content") else {}


def keep_headline(folder: Path, block: Mapping[str, Any]) -> None:
    """Keep what was said of the router that is there at its threshold, to be shown again; not where no run is. What it
    is to save is kept beside that of earlier thresholds."""
    made = _read_lineage(folder)
    if made:
        content = json.dumps(block, ensure_ascii=False)
        kept = {"content": content, "source": _served_source(folder)}
        promises = {"content": json.dumps(_promises(made, block), ensure_ascii=False)}
        write_whole(folder / MADE, json.dumps(made | {HEADLINE: kept, PROMISES: promises}) + "\n")


def promises_of_run(folder: Path) -> dict[float, tuple[float, list[tuple[str, str]]]]:
    """By threshold: which fraction of always-strong's cost it was to save, and the notes that this rests on, as they
    were kept last."""
    kept = _promises(_read_lineage(folder), headline_of(folder))
    return {
        float(threshold): (saved, [(name, fact) for name, fact in notes]) for threshold, (saved, notes) in kept.items()
    }


def _promises(made: Mapping[str, Mapping[str, str]], block: Mapping[str, Any]) -> dict[str, Any]:
    """The promises that are kept, with that of a headline; an earlier version kept none."""
    kept = dict(json.loads(made.get(PROMISES, {}).get("content", "{}")))
    if block.get("threshold") is not None and block.get("saved") is not None:
        name = repr(float(block["threshold"]))
        kept.pop(name, None)  # it is the latest one now
        kept[name] = [block["saved"], block["notes"]]
    return dict([*kept.items()][-MOST_PROMISES:])


def headline_of(folder: Path) -> Mapping[str, Any]:
    """What `keep_headline` kept; empty where the router, its threshold, its labels or its prices are others by now."""
    made = _read_lineage(folder)
    kept, router = made.get(HEADLINE, {}), folder / "router" / "router.json"
    if not kept or not router.is_file() or _outdated_lines(folder, made) or kept["source"] != _served_source(folder):
        return {}
    return dict(json.loads(kept["content"]))


def _served_source(folder: Path) -> str:
    """The hash of the router that serves, with its threshold and settings, and of its gate."""
    return " ".join(hash_of_file(folder / "router" / name) for name in ("router.json", "policy.json"))


def stages_made(folder: Path) -> frozenset[str]:
    """The stages that a run's folder has completed."""
    return frozenset(_read_lineage(folder))


def _report_source(folder: Path) -> str:
    threshold = (_json(folder / "router" / "router.json").get("calibration") or {}).get("threshold")
    set_to = "no threshold" if threshold is None else repr(float(threshold))
    return f"{_read_lineage(folder).get('routers', {}).get('content', '')} at {set_to}"


def _hash_of_grades(folder: Path) -> str:
    """Empty without a grade, whether or not the file is there."""
    file = folder / GRADES_FILE
    return hash_of_file(file) if file.is_file() and file.stat().st_size else ""


def _read_lineage(folder: Path) -> dict[str, dict[str, str]]:
    return _json(folder / MADE)


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _prices(file: Path) -> dict[str, dict[str, object]]:
    """Both models' prices as given, by a run's record or a router's; empty where they are not known."""
    found = _json(file)
    models = found.get("record", {}).get("models", {}) if "record" in found else found
    named = (*("priced_as", "service_tiers"), "usd_per_million")
    return {
        role: {key: value for key, value in models[role].items() if key.startswith(named) and value not in (None, {})}
        for role in ("weak", "strong")
        if isinstance(models.get(role), dict)
    }


def _is_calibrated(router: Path) -> bool:
    try:
        return json.loads((router / "router.json").read_text(encoding="utf-8"))["calibration"] is not None
    except (OSError, ValueError, LookupError, TypeError):
        return True  # whoever loads it says what is wrong

"""Samples a run's prompts by batch files: writes requests for what the store lacks, reads results into the store.

A batch is a round: the first asks for the fewest samples, the next for more of the prompts that those do not settle.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from itertools import groupby
from pathlib import Path

from demur.errors import InputError
from demur.files import check_output_folder, refuse_device, write_whole
from demur.models.endpoint import Endpoint
from demur.records import count_of
from demur.sampling.batches.batch_files import BatchRequest, in_files, missing_requests, samples_wanted
from demur.sampling.batches.batch_results import BatchReader
from demur.sampling.cost import batch_words
from demur.sampling.pair import budget_of, settled_key
from demur.sampling.refused_prompts import refused_prompts
from demur.sampling.rounds import Settle
from demur.sampling.sample import Samples
from demur.sampling.sample_run import SampledRun, check_none_sent

LEFT_OUT = "batch_fields.json"  # in the run's folder: endpoint name -> fields of requests that it refuses


def sample_by_batch(
    run: SampledRun, settle: Settle, folder: str | Path | None, files: Sequence[str | Path]
) -> list[str]:
    """Read ``files`` of results, then write requests for what is missing into ``folder``; sentences about both.

    Raises InputError before anything is written, BudgetError where the requests could cost more than max_usd leaves.
    """
    notes = _read_results(run, files) if files else []
    settle_prompts(run, settle)
    if folder:
        notes += _write_requests(run, Path(folder))
    return notes


def check_batches(
    run: SampledRun, folder: str | Path | None, files: Sequence[str | Path], *, by_api: bool = False
) -> None:
    """Raise InputError where both models are local, a file of results is missing, or the folder has files already."""
    if by_api and (folder or files):
        raise InputError("--batch sends its requests and reads their results; leave --batch-out and --batch-in out")
    folder = Path(folder) if folder else None
    if folder:
        check_none_sent(run)
    if run.config.between:
        raise InputError("batch files are of two models; sample several by `demur run FILE`")
    if run.pair.weak.local and run.pair.strong.local:
        raise InputError("both models are local, and no batch API has them; sample without --batch-out and --batch-in")
    for file in map(Path, files):
        refuse_device(file)
        if not file.exists():
            raise InputError(f"{file}: no such file of results; give the files that the batch API returned")
    if folder:
        check_output_folder(folder)
    if folder and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            f"{folder} is not an empty folder; name another for each --batch-out, so that no request is sent twice"
        )


def _read_results(run: SampledRun, files: Sequence[str | Path]) -> list[str]:
    """Keep the samples of result files, or of the .jsonl files of folders; sentences about what was read."""
    endpoints = [endpoint for _, endpoint, _ in remote_sides(run)]
    known = (run.prompts, endpoints, run.config.sampling, run.store, read_left_out(run))
    reader = BatchReader(*known, asks_again="the next --batch-out")
    for given in map(Path, files):
        for file in sorted(given.glob("*.jsonl")) if given.is_dir() else [given]:
            with file.open(encoding="utf-8-sig", errors="replace") as lines:
                for number, line in enumerate(lines, 1):
                    reader.read(line, f"{file.name}:{number}")
    keep_left_out(run, reader.left_out)
    run.read_samples()
    return list(reader.notes())


def settle_prompts(run: SampledRun, settle: Settle) -> None:
    """Record the prompts that their first samples settle, so that they get no more."""
    settings, have = run.config.sampling, run.samples
    unsure = [
        prompt
        for prompt in run.prompts
        if settings.fewest <= have.count(prompt) < settings.most and prompt.id not in run.for_measuring | have.settled
    ]
    if not unsure:
        return
    found = settle(unsure, have)
    run.store.add_settled(*settled_key(run.pair, settings), [one.key for one in unsure if one.id in found])
    run.read_samples()


def _write_requests(run: SampledRun, folder: Path) -> Iterator[str]:
    """Files of one model and one API each; a sentence per model. Raises BudgetError before anything is written."""
    budget, written = budget_of(run.config, run.pair, run.store), list[tuple[str, Endpoint, list[BatchRequest]]]()
    for side, endpoint, have in remote_sides(run):
        requests = list(requests_for(run, endpoint, have))
        for one in requests:
            budget.reserve(one.prompt, len(one.indices), endpoint, run.config.sampling, batch=True)
        written.append((side, endpoint, requests))
    for side, endpoint, requests in written:
        names = []
        for url, some in groupby(sorted(requests, key=lambda one: one.url), key=lambda one: one.url):
            for number, lines in enumerate(in_files(one.line for one in some), 1):
                names.append(f"{side}-{'chat' if 'chat' in url else 'text'}-{number:03}.jsonl")
                write_whole(folder / names[-1], "".join(lines))
        samples = sum(len(one.indices) for one in requests)
        more = ", ..." if len(names) > 1 else ""
        to = f"in {count_of(len(names), 'file')} ({folder / names[0]}{more})" if names else ""
        asked = f"{count_of(len(requests), 'request')} for {count_of(samples, 'sample')} {to}".rstrip()
        yield f"{endpoint.model}: {asked}{batch_words(endpoint, ', ')}"
    yield from local_notes(run, "--batch-out")


def local_notes(run: SampledRun, option: str) -> Iterator[str]:
    """What is to be done about a model that is local, after the other one was sampled with an ``option``."""
    for name, endpoint in (("weak", run.pair.weak), ("strong", run.pair.strong)):
        if endpoint.local:
            yield (
                f"{endpoint.model} ({name}) is local and has no batch file: once the results are read, the same "
                f"command without {option} samples it directly, and asks the other model for what is missing then"
            )


def requests_for(run: SampledRun, endpoint: Endpoint, have: Samples) -> Iterator[BatchRequest]:
    """Requests for the samples that a model has to give next."""
    settings = run.config.sampling
    refused = refused_prompts(run.prompts, endpoint, settings, run.store)
    asked = [prompt for prompt in run.prompts if prompt.id not in refused]
    wanted = samples_wanted(asked, run.samples, settings, run.for_measuring)
    return missing_requests(asked, endpoint, settings, have, wanted, read_left_out(run).get(endpoint.name, frozenset()))


def remote_sides(run: SampledRun) -> list[tuple[str, Endpoint, Samples]]:
    """The models that are not local: which of the pair it is, its endpoint, its samples."""
    pair, have = run.pair, run.samples
    sides = (("weak", pair.weak, have.weak), ("strong", pair.strong, have.strong))
    return [side for side in sides if not side[1].local]


def keep_left_out(run: SampledRun, left_out: Mapping[str, Set[str]]) -> None:
    """Keep what results told of fields that endpoints refuse."""
    kept = {name: sorted(fields) for name, fields in left_out.items() if fields}
    if kept:
        write_whole(run.config.folder / LEFT_OUT, json.dumps(kept) + "\n")


def read_left_out(run: SampledRun) -> dict[str, Set[str]]:
    """What earlier results told of fields that endpoints refuse. Raises InputError."""
    path = run.config.folder / LEFT_OUT
    if not path.exists():
        return {}
    try:
        return {name: frozenset(map(str, fields)) for name, fields in json.loads(path.read_text("utf-8")).items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{path}: is damaged; delete it, and read the last results again with --batch-in") from None

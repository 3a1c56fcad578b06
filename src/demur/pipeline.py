"""The main path, a stage a function, in the order in which data flow.

    sample -> label -> train -> evaluate -> calibrate -> route;  `run` does them all

Each stage reads what the one before it left in the run folder, so any of them can be done again alone. The stages
only connect: what a stage computes is in the module that bears its name.
"""

from __future__ import annotations

from pathlib import Path

from demur.config import RunConfig, read_run_file
from demur.evaluation import Evaluation
from demur.records import Progress, no_progress
from demur.reporting import write_report
from demur.store import Store

STORE = "store.sqlite"
PREFERENCES = "preferences.jsonl"
ROUTERS = "routers"  # one folder a trained router
ROUTER = "router"  # the one that serves
EVALUATION = "evaluation.json"


def run(file: str | Path, *, progress: Progress = no_progress) -> Evaluation:
    """Do the whole of a run file; returns what `evaluate` found."""
    return run_config(read_run_file(file), progress=progress)


def run_config(config: RunConfig, *, progress: Progress = no_progress) -> Evaluation:
    """Every stage, once; the table of contents of demur."""
    config.save()
    with Store(config.folder / STORE) as store:
        sample_stage(config, store, progress)  # ask both models n times a prompt, pay once, keep all
        label_stage(config, store, progress)  # meaning clusters -> semantic entropy -> preferences
        train_stage(config, store, progress)  # fit every router on the train prompts
        calibrate_stage(config, store)  # the threshold that sends strong_share of them to the strong model
        evaluation = evaluate_stage(config, store, progress)  # cost and quality on the test prompts
    write_report(evaluation, config.folder)
    return evaluation

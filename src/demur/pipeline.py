"""The main path, one function per stage, in the order in which data flow.

    sample -> label -> train -> calibrate -> evaluate;  `run` does them all, `demur.Router` serves what they made

Each stage reads what the one before it left in the run folder, so any of them can be repeated alone. The stages only
connect other modules: `demur.sampling`, `demur.labels`, `demur.routing`, `demur.gate` and `demur.evaluation` compute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from demur.config import RunConfig, check_label, list_names, load_run
from demur.config.given_options import label_settings, router_settings, sampling_settings
from demur.evaluation.evaluate_run import evaluate_by_gold, load_served
from demur.evaluation.experiment.set_results import SetResult, measure_test_sets
from demur.evaluation.experiment.test_sets import check_sets
from demur.evaluation.held_out import count_graded_prompts, evaluate_by_grades, evaluate_without_gold, try_without_gold
from demur.evaluation.report.cautions import keep_trained
from demur.evaluation.report.figures import check_matplotlib
from demur.evaluation.report.headline_record import Headline
from demur.evaluation.report.page import write_report
from demur.evaluation.results import Evaluation
from demur.evaluation.thresholds.kept_threshold import keep_threshold, threshold_there
from demur.evaluation.thresholds.share_figures import calibration_of_run
from demur.files import hash_of_file
from demur.gate.router import Router
from demur.gate.train import SWITCHED_OFF, train_gate
from demur.labels.beliefs.unknown import UNKNOWN_FILE, write_unknown
from demur.labels.from_samples import Labels
from demur.labels.label_notes import label_and_note
from demur.labels.parquet_files import write_tables
from demur.labels.preference_files import write_preferences
from demur.labels.settled_prompts import settle_of
from demur.mapping.on_ray import workers_at
from demur.meaning.entailment import own_name
from demur.measure.threshold import Calibration
from demur.methods.classifier import Classifier
from demur.models.allowed_endpoints import endpoint_names
from demur.models.encoders.encoder import encoder_identity, load_encoder
from demur.models.local import parse_model, with_price
from demur.records import Encoder, Entailment, Grader, OnUnknown, OnUnlike, Progress, no_progress
from demur.routing.artifact import GATE_FILE, save_calibration, weights_hash
from demur.routing.prompt_router import PromptRouter
from demur.routing.train_run import train_run
from demur.routing.verdict import RouterVerdict, recorded_verdict
from demur.runs.begin.begin_sample import begin_sample
from demur.runs.begin.dry_run import sample_dry
from demur.runs.begin.preflight import check_run, check_training
from demur.runs.begin.unused_folder import kept_if_used
from demur.runs.lineage import keep_made, keep_requests, keep_run_file
from demur.runs.record import begin_sampling, check_same_run, run_of_file, with_absolute_files, with_absolute_paths
from demur.runs.run import Own, Run, open_run
from demur.sampling.batches.by_api import sample_by_api
from demur.sampling.batches.by_files import check_batches, sample_by_batch
from demur.sampling.cost import PairSpend
from demur.sampling.pair import forget_refusals, spend_of
from demur.sampling.sample_run import Announce, sample_run, with_kept_limit


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a whole run made."""

    folder: str
    spend: PairSpend
    labels: Labels
    calibration: Calibration
    evaluation: Evaluation | None  # None when no prompt has gold answers
    verdict: RouterVerdict | None  # whether the router has learned anything, label-free
    headline: Headline  # the router at its threshold, on the test prompts or, without gold, on the training prompts
    graded: int = 0  # labelled prompts that a person has graded
    kept: str = ""  # what became of a threshold that was set after the run before; empty: there was none
    sets: tuple[SetResult, ...] = ()  # separate test sets, answered and graded


# -- the stages, each a function of the open run ---------------------------------------------------------------------


def run_config(
    config: RunConfig,
    *,
    again: bool = False,
    announce: Announce | None = None,
    progress: Progress = no_progress,
    ray: str | None = None,
    file: str | Path = "",
) -> Outcome:
    """Every stage, once; the table of contents of demur."""
    config = with_absolute_paths(config)
    check_run(config)  # before anything is paid for
    check_matplotlib()
    check_same_run(config, again=again, by_file=bool(file))
    keep_run_file(config.folder, file)
    before = threshold_there(config, again=again)
    with workers_at(ray) as workers, open_run(config, progress=progress, workers=workers) as run:
        check_sets(run)  # before anything is paid for
        sample_stage(run, announce, "run")  # ask both models n times per prompt; keep every answer
        labels = label_stage(run)  # meanings -> entropy -> preferences; or another source of labels
        router = train_stage(run)  # fit every router on the train prompts
        config.save()  # only now: a run that failed must leave the record of what is there
        gated = gate_stage(run, router)  # learn when to look at the weak model's answer
        # the threshold of strong_share, or of the share that training proposes, unless another was set since
        calibration, kept = keep_threshold(config.served_router, before, calibrate_stage(run, gated))
        sets = measure_test_sets(run)  # the run's separate ones, which `demur reproduce --run` reads
        by_gold = evaluate_by_gold(run)  # cost and quality on the test prompts
        shown = by_gold or try_without_gold(run, gated)  # on the training prompts, by a person's grades or by belief
        if shown:
            write_report(shown, config.folder)
        in_line = shown.headline if shown else keep_trained(load_served(run, None), config.folder)
        graded = count_graded_prompts(run)
        spend = spend_of(run.config, run.pair, run.prompts, run.samples, run.store)  # judges and test sets, too
    verdict = recorded_verdict(gated.prompt_router.record)
    return Outcome(config.run, spend, labels, calibration, by_gold, verdict, in_line, graded, kept, sets)


def sample_stage(run: Run, announce: Announce | None, command: str = "sample") -> PairSpend:
    """Both models' samples of every prompt, from the store or by asking; returns what they cost in all."""
    check_training(run.prompts, run.config.test_share)
    announce = begin_sampling(run, announce, command=command)
    run.samples = sample_run(run, settle_of(run), announce)
    keep_made(run.config.folder, "samples", run.samples_hash)
    return spend_of(run.config, run.pair, run.prompts, run.samples, run.store)


def batch_stage(run: Run, folder: str | Path | None, files: Sequence[str | Path], *, by_api: bool) -> PairSpend:
    """The same by batches: through the models' batch APIs, or by files of requests and of results."""
    check_training(run.prompts, run.config.test_share)
    check_batches(run, folder, files, by_api=by_api)
    begin_sampling(run, None, ask=by_api)
    notes = sample_by_api(run, settle_of(run)) if by_api else sample_by_batch(run, settle_of(run), folder, files)
    keep_requests(run.config.folder, folder)
    if not run.unfinished:
        keep_made(run.config.folder, "samples", run.samples_hash)
    spend = spend_of(run.config, run.pair, run.prompts, run.samples, run.store, missing_advice="")  # advised later
    return replace(spend, notes=(*notes, *spend.notes))


def label_stage(run: Run) -> Labels:
    """Preferences from the source that the run names, written to preferences.jsonl."""
    labels = label_and_note(run)
    write_unknown(run.config.folder / UNKNOWN_FILE, labels.unknown)
    write_preferences(run.config.preferences, labels.preferences)
    keep_made(run.config.folder, "labels", hash_of_file(run.config.preferences), run.samples_hash)
    write_tables(run, labels.preferences)
    return labels


def train_stage(run: Run) -> PromptRouter:
    """Every router, saved under routers/, the served one also as router/; returns that one, not calibrated yet."""
    config, (routers, served) = run.config, train_run(run)
    for name, router in routers.items():
        router.save(config.routers / name)
    served.save(config.served_router)
    (config.served_router / GATE_FILE).unlink(missing_ok=True)  # the gate of the router before
    keep_made(config.folder, "routers", weights_hash(config.served_router), hash_of_file(config.preferences))
    return served


def gate_stage(run: Run, router: PromptRouter) -> Router:
    """The served router with its gate, saved beside it."""
    wish, extra = run.config.router.gate, run.config.router.extra_samples
    if wish == "off" and not run.config.label.needs("samples"):  # nobody has compared these
        gated = Router(router, about=SWITCHED_OFF)
    else:
        trained = {one.prompt for one in router.training}
        prompts = [prompt for prompt in run.complete(run.train_prompts) if prompt.text in trained]
        gated = train_gate(router, prompts, run.samples, run.meanings, gate=wish, extra=extra, stated=run.stated)
    gated.save_gate(run.config.served_router)
    return gated


def calibrate_stage(run: Run, gated: Router) -> Calibration:
    """The router's threshold for the run's strong share, by quantile of its last scores on the training prompts."""
    calibration = calibration_of_run(gated, run.config.folder, run.config.strong_share)
    save_calibration(run.config.served_router, calibration)
    return calibration


# -- the public functions, one per command -----------------------------------------------------------------------------


def run(
    file: str | Path,
    *,
    again: bool = False,
    ray: str | None = None,
    announce: Announce | None = None,
    progress: Progress = no_progress,
) -> Outcome:
    """Run every stage of a run file: sample, label, train, calibrate, evaluate, report.

    ``ray``: the cluster that does most of the work (`demur.mapping.on_ray.workers_at`); it writes Parquet, too.
    A file without ``max_usd`` leaves the limit that its folder's run was given before. Raises InputError where that run
    has other samples, unless it is to be begun ``again``.
    """
    config, announce = run_of_file(file, announce)
    return run_config(config, again=again, ray=ray, announce=announce, progress=progress, file=file)


def sample(
    prompts: str | Path,
    weak: str,
    strong: str,
    *,
    run: str = "run",
    store: str = "",
    n: int | str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    template: str | None = None,
    system: str | None = None,
    stop: Sequence[str] | None = None,
    chat: bool | None = None,
    seed: int | None = None,
    max_usd: float | None = None,
    weak_usd: str | None = None,
    strong_usd: str | None = None,
    concurrency: int | None = None,
    batch_out: str | Path | None = None,
    batch_in: Sequence[str | Path] = (),
    batch: bool = False,
    ask_refused: bool = False,
    again: bool = False,
    dry_run: bool = False,
    announce: Announce | None = None,
    progress: Progress = no_progress,
) -> PairSpend:
    """Ask both models n times per prompt and keep every answer in the run folder; returns what it cost in all.

    None leaves what the folder's run says, of a new run the default; ``again``, it leaves ``max_usd`` and prices alone.
    ``store``: a ``postgresql://`` URL without a password of a store that several samplers share; empty: the run folder.
    ``n``: a number, or "2..5": two samples, and up to five where both models' first two do not settle the prompt.
    Models are named as `demur.models.local.parse_model` reads them; ``weak_usd`` and ``strong_usd`` are IN/OUT, USD per
    million tokens; ``concurrency`` is of requests to each model. Prompts that a model refused before are left out,
    unless ``ask_refused``. A folder that holds a run with other samples is refused, unless that is to be begun
    ``again``. A ``dry_run`` announces the estimate and asks nothing. ``batch_out``, a folder, gets files of requests
    for a batch API instead, and ``batch_in`` are files of its results; ``batch`` sends them and waits: see
    docs/run-file.md. Raises InputError, EndpointError, BudgetError, StoreError.
    """
    given: dict[str, object] = {"n": n, "temperature": temperature, "max_tokens": max_tokens}
    given |= {"stop": stop, "seed": seed, "template": template, "system": system, "chat": chat}
    settings = sampling_settings(None if again else run, given)
    small, large = (with_price(parse_model(name), usd) for name, usd in ((weak, weak_usd), (strong, strong_usd)))
    asked = RunConfig(str(prompts), small, large, run=run, sampling=settings, max_usd=max_usd, store=store)
    config, read = begin_sample(asked, system=system, again=again, concurrency=concurrency, progress=progress)
    announce = with_kept_limit(announce, max_usd, config)
    if dry_run:
        return sample_dry(config, announce, progress, batch=bool(batch or batch_out or batch_in), prompts=read)
    with kept_if_used(config), open_run(config, progress=progress, prompts=read) as opened:
        if ask_refused:
            forget_refusals(opened.pair, config.sampling, opened.store)
        if batch or batch_out or batch_in:
            return batch_stage(opened, batch_out, batch_in, by_api=batch)
        return sample_stage(opened, announce)


def label(
    *,
    run: str = "run",
    source: str | None = None,
    kind: str | None = None,
    definition: str | None = None,
    delta: str | None = None,
    tau: float | None = None,
    file: str | None = None,
    models: str | Sequence[str] | None = None,
    tie_below: float | None = None,
    tiers: int | None = None,
    judge: str | None = None,
    judge_tokens: int | None = None,
    max_usd: float | None = None,
    entailment: str | Entailment | None = None,
    rules: bool | None = None,
    state_answers: str | None = None,
    grader: Grader | None = None,
    encoder: str | Encoder | None = None,
    preset: str = "",
    allow_endpoints: Sequence[str] = (),
    progress: Progress = no_progress,
) -> Labels:
    """Make a run's preferences (run/preferences.jsonl) from a ``source``; `demur.config.LabelConfig` says what each is.

    None leaves what the run's record says, of another source or kind the default. ``entailment``: a name, or a function
    of your own, which later stages must then be given again; ``grader`` is of sources accuracy and quality-gap.
    ``encoder`` is the one that kind auto tries labels with; None: the run's, whose host, if it has one, is among
    ``allow_endpoints`` (see `evaluate`).

    Raises InputError for an option that is not of the source, or where that lacks something; EndpointError of a judge.
    """
    before = load_run(run)
    given: dict[str, object] = {"source": source, "kind": kind, "definition": definition, "delta": delta, "tau": tau}
    given |= {"file": file, "models": models and list_names(models), "tie_below": tie_below, "tiers": tiers}
    decides = own_name(entailment) if callable(entailment) else entailment
    given |= {"judge": judge, "judge_tokens": judge_tokens, "max_usd": max_usd, "state_answers": state_answers}
    given |= {"entailment": decides, "rules": rules}
    wanted = label_settings(before.label, given, preset)
    check_label(wanted)
    loaded = load_encoder(encoder, progress=progress) if isinstance(encoder, str) else encoder
    own = Own(loaded, entailment if callable(entailment) else None, grader)
    config = replace(before, label=with_absolute_files(wanted, before.models))
    allowed = (*endpoint_names((decides, judge and config.label.judge)), *allow_endpoints)
    with open_run(config, own, allow_endpoints=allowed, progress=progress) as opened:
        opened.lock("label")
        labels = label_stage(opened)
    config.save()  # only now: the record must not name a source that failed
    return labels


def train(
    *,
    run: str = "run",
    methods: str | Sequence[str] | Mapping[str, object] | None = None,
    serve: str | None = None,
    encoder: str | Encoder | None = None,
    entailment: Entailment | None = None,
    gate: str | None = None,
    extra_samples: int | None = None,
    unknown: OnUnknown | None = None,
    unlike: OnUnlike | None = None,
    k: int | None = None,
    weighting: str | None = None,
    gamma: float | None = None,
    hidden: float | None = None,
    preset: str = "",
    allow_endpoints: Sequence[str] = (),
    progress: Progress = no_progress,
) -> Router:
    """Fit the routers and the gate on a run's preferences and samples; returns the served router, not yet calibrated.

    None leaves what the run's record says. ``methods``: a list, names separated by commas, or a mapping from new names
    to scikit-learn classifiers of your own. ``encoder``: a name, or an object with ``encode``. ``entailment`` where the
    labels were made with your own. Objects of your own must be given again to whatever loads the router. The others are
    `demur.config.RouterConfig`'s; ``allow_endpoints``: see `evaluate`. Raises InputError.
    """
    mine = methods if isinstance(methods, Mapping) else {}
    own = Own(None if isinstance(encoder, str) else encoder, entailment, methods=mine)
    names = list(methods) if isinstance(methods, Mapping) else methods and list_names(methods)
    spec = encoder if isinstance(encoder, str | None) else encoder_identity(encoder)
    given: dict[str, object] = {"methods": names, "serve": serve, "encoder": spec}
    given |= {"gate": gate, "extra_samples": extra_samples, "unknown": unknown, "unlike": unlike}
    given |= {"k": k, "weighting": weighting, "gamma": gamma, "hidden": hidden}
    before = load_run(run)
    config = with_absolute_paths(replace(before, router=router_settings(before.router, given, preset)))
    allowed = (*endpoint_names((spec,)), *allow_endpoints)
    with open_run(config, own, allow_endpoints=allowed, progress=progress) as opened:
        opened.lock("train")
        if entailment is None:
            opened.allowed_spec(config.label.entailment)  # before anything is written
        router = train_stage(opened)
        config.save()  # now that the routers are there
        gate_stage(opened, router)
        found = load_served(opened, router.method if isinstance(router.method, Classifier) else None)  # opened again
        keep_trained(found, config.folder)
        return found


def evaluate(
    *,
    run: str = "run",
    encoder: Encoder | None = None,
    entailment: Entailment | None = None,
    methods: Mapping[str, object] | None = None,
    grader: Grader | None = None,
    allow_endpoints: Sequence[str] = (),
    progress: Progress = no_progress,
) -> Evaluation:
    """Measure cost against quality on the run's test prompts, by ``grader`` where you have one of your own.

    ``encoder``, ``entailment`` and ``methods`` only where the routers were made with objects of your own.
    ``allow_endpoints``: ``HOST[:PORT][#KEY_VARIABLE]`` that the run's encoder and entailment may send prompts to: a
    folder, which may be another person's, names no host and no key by itself. Raises InputError when no prompt has gold
    answers, ArtifactError for a host that is not allowed.
    """
    own = Own(encoder, entailment, grader, methods or {})
    with open_run(load_run(run), own, allow_endpoints=allow_endpoints, progress=progress) as opened:
        return evaluate_by_gold(opened) or evaluate_by_grades(opened)


def report(
    *,
    run: str = "run",
    encoder: Encoder | None = None,
    entailment: Entailment | None = None,
    methods: Mapping[str, object] | None = None,
    grader: Grader | None = None,
    allow_endpoints: Sequence[str] = (),
    progress: Progress = no_progress,
) -> Path:
    """Write report.html and the pictures of the curve into the run folder; returns the report's path.

    It shows what `evaluate` finds, or, where no prompt is graded, what the strong model's samples believe; it takes the
    same objects of your own.
    """
    own = Own(encoder, entailment, grader, methods or {})
    with open_run(load_run(run), own, allow_endpoints=allow_endpoints, progress=progress) as opened:
        return write_report(evaluate_by_gold(opened) or evaluate_without_gold(opened), Path(run))

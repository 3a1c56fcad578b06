"""From samples to preferences: cluster both models' answers by meaning, measure their entropies, set the targets.

It connects clustering, uncertainty and preferences for a list of prompts; each of them knows nothing of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, compress

import numpy as np

from demur.config import KINDS, LabelConfig
from demur.errors import InputError
from demur.labels.beliefs.belief import Belief
from demur.labels.beliefs.believed_gain import KindChoice, choose_targets, halves
from demur.labels.beliefs.unknown import (
    UNMEASURED,
    Saturation,
    UnknownPrompt,
    check_told,
    saturation_of,
    unknown_details,
)
from demur.labels.prompt_kinds import PromptKinds
from demur.labels.scores.measurement import (
    Measured,
    Measuring,
    Side,
    believe,
    heard_apart,
    measure_prompts,
    measure_sureness,
)
from demur.labels.scores.support import support_of
from demur.labels.scores.sureness import calibrated_targets, combined_targets
from demur.labels.scores.token_scores import first_answer_doubt
from demur.labels.scores.uncertainty import (
    AS_PRINTED,
    OF_FIRST_ANSWER,
    has_tokens,
    usable_definition,
)
from demur.labels.targets import (
    WARNED_SHARE,
    gain_targets,
    hard_targets,
    label_warnings,
    margin_targets,
    needs_in_words,
    winner_of,
)
from demur.mapping import Map
from demur.meaning.meanings import Meanings
from demur.models.requests.cut_answers import cut_answers
from demur.records import Encoder, Fact, FloatArray, Preference, Progress, Prompt, Sample, count_of, no_progress
from demur.sampling.packed_samples import SamplesOf
from demur.sampling.pair import PairSamples
from demur.statistics import first_rows


@dataclass(frozen=True, slots=True)
class Labels:
    """The training rows, and how they fell out."""

    preferences: tuple[Preference, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()  # what else to be careful about, with what helps
    definition: str = ""  # of the entropies, as used; "" where none were measured, and all below is 0
    saturation: Saturation = UNMEASURED  # of all prompts, the unknown ones too
    pairs_scored: int = 0  # pairs of answers that the entailment model decided about, now or before
    unknown: tuple[UnknownPrompt, ...] = ()  # prompts whose samples cannot tell: they have no label
    cut: float = 0.0  # share of all answers that a limit of tokens ended
    kinds: PromptKinds | None = None  # what is known of each kind of prompt; None where no samples were compared
    kinds_sentence: str = ""  # of which kinds the samples mostly show nothing, and where such prompts go
    pairs_asked: int | None = None  # of `pairs_scored`, those that it was asked about now; None where none is stored
    facts: tuple[Fact, ...] = ()  # what the labels are of
    made_by: tuple[Fact, ...] = ()  # how the targets came about

    @property
    def sentence(self) -> str:
        """The result in one line."""
        asked = len(self.preferences) + len(self.unknown)
        labelled = f"{len(self.preferences):,} of {count_of(asked, 'prompt')} ({self.told:.0%})"
        needs = needs_in_words([row.target for row in self.preferences])
        return f"labelled {labelled if self.unknown else count_of(asked, 'prompt')}: {needs}"

    @property
    def details(self) -> tuple[Fact, ...]:
        """What changes nothing that one does next: how targets were made, what was measured, why some have no label."""
        kind = ("kind of labels", self.preferences[0].kind)
        return (kind, *self.made_by, *(self._measured if self.definition else []))

    @property
    def _measured(self) -> list[Fact]:
        decided = f"{count_of(self.pairs_scored, 'pair of answers', 'pairs of answers')} by the entailment model"
        asked = "" if self.pairs_asked is None else f", {self.pairs_asked:,} of them now"
        cut = [("answers cut", f"{self.cut:.0%}, by a limit of tokens")] if self.cut else []
        return [
            ("semantic entropy", f"by {self.definition}"),
            ("compared", f"about {decided}{asked}"),
            self.saturation.fact,
            *cut,
            *unknown_details(self.unknown),
        ]

    @property
    def told(self) -> float:
        """Share of the prompts that could be labelled."""
        return len(self.preferences) / max(1, len(self.preferences) + len(self.unknown))


TARGETS: Mapping[str, Callable[[Measured, LabelConfig], FloatArray]] = {  # (n,), of every kind that samples make
    "entropy believed": lambda found, _: gain_targets(found.believed_gains),
    "entropy support": lambda found, _: gain_targets(found.believed_gains),
    "entropy combined": lambda found, _: combined_targets(found.gains, found.weak, found.strong),
    "entropy calibrated": lambda found, _: calibrated_targets(found.weak, found.strong),
    "entropy margin": lambda found, _: margin_targets(found.weak.entropy, found.strong.entropy),
    "entropy hard": lambda found, asked: hard_targets(
        found.weak.entropy, found.strong.entropy, tau=asked.tau, delta=asked.delta
    ),
    "agreement": lambda found, _: gain_targets(found.gains),
}
CANDIDATES = ("entropy believed", "entropy combined", "agreement", "entropy margin")  # that auto chooses among


def label_prompts(
    prompts: Sequence[Prompt],
    samples: PairSamples,
    meanings: Meanings,
    config: LabelConfig,
    *,
    weak: str,
    strong: str,
    encoder: Encoder | None = None,
    mapping: Map = map,
    progress: Progress = no_progress,
) -> Labels:
    """A preference for every prompt, from n samples of both models (``weak`` and ``strong`` are their names).

    ``mapping``: what measures the prompts, a portion at a time; the labels are the same by any (`demur.mapping`).

    ``config.source`` is entropy or agreement; both leave the entropies beside the targets. Where either model gives no
    log-probs both are measured by the discrete form, so that they compare. Raises InputError for no prompts, or an
    unequal number of samples.
    """
    if not prompts:
        raise InputError("no prompts to label; give some, or lower test_share")
    sides: tuple[Side, Side] = (SamplesOf(samples.weak, prompts), SamplesOf(samples.strong, prompts))
    _check_equal_n(prompts, *sides)
    silent = _check_silence(sides, (weak, strong))
    definition = usable_definition(config.definition, [] if has_tokens(chain(*sides)) else None)
    tokens = has_tokens(sides[0]) and has_tokens(sides[1])
    of_clusters = "discrete" if definition in OF_FIRST_ANSWER else definition
    joint = "joint meanings" in KINDS[config.name].needs
    work = Measuring(meanings.quiet(), config.entailment, of_clusters, joint, tokens)
    found = measure_prompts(prompts, sides, work, mapping=mapping, progress=progress)
    measured, reasons = _with_doubt(found.measured, prompts, sides, meanings, definition), found.reasons
    cut = cut_answers(chain.from_iterable(chain(*sides))).share
    name, made_by = config.name, list[Fact]()
    if "log-probs" in KINDS[name].needs and measured.weak.coverage is None:
        name = "agreement"
        made_by.append(("targets", "agreement: without log-probs there is no coverage to combine it with"))
    belief = believe(measured.heard) if "belief" in KINDS[name].needs else None
    measured = replace(measured, belief=belief)
    if belief and name == "entropy support":
        supported = support_of(prompts, sides[0], sides[1], meanings.entailment)
        belief, reasons = supported.support_belief(belief), supported.reasons(reasons)
        measured = replace(measured, belief=belief)
        made_by.append(("long answers", supported.sentence))
    told = np.array([not reason for reason in reasons])
    unknown = tuple(UnknownPrompt(one.id, one.text, why) for one, why in zip(prompts, reasons, strict=True) if why)
    check_told(unknown, len(prompts), strong)
    asked, measured, prompts = prompts, measured.of(told), list(compress(prompts, told))
    sides = (SamplesOf(samples.weak, prompts), SamplesOf(samples.strong, prompts))
    if "encoder" in KINDS[name].needs:
        picked = _choose(prompts, measured, sides, encoder, config)
        name = picked.kind
        made_by.append(picked.fact)
    if "belief" not in KINDS[name].needs:
        belief = None
    made_by += belief.facts if belief else []
    targets = TARGETS[name](measured, config)
    rows = _rows(prompts, sides, measured, targets, (weak, strong), kind=name, definition=definition, belief=belief)
    saturation = saturation_of(rows, unknown)  # as evaluate and report count it, which have no samples at hand
    as_printed = definition in AS_PRINTED
    warnings = list(silent)
    warnings += label_warnings(targets, saturation, as_printed=as_printed, softer=KINDS[name].softer)
    if definition != config.definition:
        instead = f"entropy by {definition} instead of {config.definition}, for both models"
        lacking = _without_logprobs((samples.weak, samples.strong), (weak, strong), asked)
        if config.definition == LabelConfig().definition:
            made_by.append(("log-probs", f"{lacking}, so {instead}"))
        else:
            warnings.insert(0, f"{lacking}: {instead}")
    measured_of = (definition, saturation, found.pairs, unknown, cut)
    return Labels(rows, tuple(warnings), (), *measured_of, made_by=tuple(made_by))


def _rows(
    prompts: Sequence[Prompt],
    sides: tuple[Side, Side],
    measured: Measured,
    targets: FloatArray,
    models: tuple[str, str],
    *,
    kind: str,
    definition: str,
    belief: Belief | None,
) -> tuple[Preference, ...]:
    """A preference per prompt, with both models' first answers, and all that its target was derived from."""
    meanings_of = measured.weak_meanings, measured.strong_meanings
    return tuple(
        Preference(
            id=prompt.id,
            model_a=models[0],
            model_b=models[1],
            prompt=prompt.text,
            response_a=sides[0][i][0].text,
            response_b=sides[1][i][0].text,
            target=float(targets[i]),
            winner=winner_of(float(targets[i])),
            kind=kind,
            entropy_a=float(measured.weak.entropy[i]),
            entropy_b=float(measured.strong.entropy[i]),
            definition=definition,
            margin=float(measured.weak.entropy[i] - measured.strong.entropy[i]),
            n=len(sides[0][i]),
            meanings_a=meanings_of[0][i],
            meanings_b=meanings_of[1][i],
            slope=belief.slope if belief else None,
            strong_weight=belief.strong_weight if belief else None,
        )
        for i, prompt in enumerate(prompts)
    )


def _check_equal_n(
    prompts: Sequence[Prompt], weak: Sequence[Sequence[Sample]], strong: Sequence[Sequence[Sample]]
) -> None:
    for prompt, a, b in zip(prompts, weak, strong, strict=True):
        if len(a) != len(b) or not a:
            raise InputError(
                f"prompt {prompt.id!r}: {len(a)} weak and {len(b)} strong samples; entropies compare at equal n only"
            )


def _check_silence(sides: Sequence[Side], names: Sequence[str]) -> list[str]:
    """Warnings about models that often say nothing: silence is one meaning, and would pass for certainty.

    Raises InputError for one that never says anything.
    """
    found = []
    for side, name in zip(sides, names, strict=True):
        share = float(np.mean([not one.text.strip() for answers in side for one in answers]))
        if share == 1:
            raise InputError(
                f"all answers of {name} are empty, so there is no meaning to compare; look at its template, "
                "stop strings and max_tokens, and sample again"
            )
        if share > WARNED_SHARE:
            found.append(f"{share:.0%} of {name}'s answers are empty, which makes it look certain: see its template")
    return found


def _without_logprobs(
    samples: tuple[Mapping[str, Sequence[Sample]], Mapping[str, Sequence[Sample]]],
    names: tuple[str, str],
    prompts: Sequence[Prompt],
) -> str:
    """Which models give no log-probs; else what share of their answers, without the empty ones, has none."""
    shares = dict[str, float]()
    for side, name in zip(samples, names, strict=True):
        given = [
            one.logprobs is not None for answers in SamplesOf(side, prompts) for one in answers if one.text.strip()
        ]
        if not all(given):
            shares[name] = 1 - float(np.mean(given))
    if all(share == 1 for share in shares.values()):
        return f"no log-probs of {' and '.join(shares)}"
    parts = " and ".join(f"{_in_words(share)} of {name}'s" for name, share in shares.items())
    return f"{parts} answers have no log-probs"


def _in_words(share: float) -> str:
    """A share above 0 that is not rounded to none, or to all."""
    return "all" if share == 1 else f"{min(max(share, 0.01), 0.99):.0%}"


def _with_doubt(
    measured: Measured, prompts: Sequence[Prompt], sides: Sequence[Side], meanings: Meanings, definition: str
) -> Measured:
    """The same with each model's doubt about its first answer for its entropy, where the definition is of that."""
    if definition not in OF_FIRST_ANSWER:
        return measured
    doubts = [first_answer_doubt(definition, prompts, side, meanings.entailment) for side in sides]
    weak, strong = replace(measured.weak, entropy=doubts[0]), replace(measured.strong, entropy=doubts[1])
    return replace(measured, weak=weak, strong=strong)


def _choose(
    prompts: Sequence[Prompt],
    measured: Measured,
    sides: Sequence[Side],
    encoder: Encoder | None,
    config: LabelConfig,
) -> KindChoice:
    """Targets from the first half of the samples, judged by G of the second half.

    Only kinds that G enters, and the margin: G cannot arbitrate between kinds of entropy alone, which it ranks wrongly.
    """
    if encoder is None:
        raise InputError("kind auto trains a small router to choose by; give label_prompts an encoder, or name a kind")
    first, judged = halves(measured.joint)
    samples = [[answers[: len(answers) // 2] for answers in side] for side in sides]
    strong_ids, weak_ids = zip(*(np.split(ids, 2) for ids in first), strict=True)
    tokens = has_tokens(sides[0]) and has_tokens(sides[1])
    weak, strong = (
        measure_sureness(ids, side, "discrete", tokens=tokens)
        for ids, side in zip((weak_ids, strong_ids), samples, strict=True)
    )
    slope = measured.belief.slope if measured.belief else None
    belief = believe(heard_apart(first, *samples), slope=slope)
    learned = Measured(weak, strong, (), (), first, belief=belief)
    candidates = {name: TARGETS[name](learned, config) for name in CANDIDATES}
    texts = [prompt.text for prompt in prompts]
    vectors = np.asarray(encoder.encode(texts), dtype=np.float32)
    return choose_targets(candidates, judged, vectors, first_rows(texts))

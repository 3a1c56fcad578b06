"""From samples to preferences: cluster both models' answers by meaning, measure their entropies, set the targets.

It connects clustering, uncertainty and preferences for a list of prompts; each of them knows nothing of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np

from demur.config import KINDS, LabelConfig
from demur.errors import InputError
from demur.labels.beliefs.belief import (
    Belief,
    belief_weight,
    believed_gains,
    confirmed_slope,
    pair_shares,
    without_silence,
)
from demur.labels.beliefs.believed_gain import KindChoice, choose_targets, halves
from demur.labels.beliefs.unknown import (
    UNMEASURED,
    Saturation,
    UnknownPrompt,
    check_told,
    cut_share,
    unknown_notes,
    why_unknown,
)
from demur.labels.pair_meanings import PairMeanings, pair_meanings
from demur.labels.scores.support import support_of
from demur.labels.scores.sureness import Sureness, calibrated_targets, combined_targets
from demur.labels.scores.token_scores import first_answer_doubt
from demur.labels.scores.uncertainty import (
    AS_PRINTED,
    OF_FIRST_ANSWER,
    agreement,
    consistency,
    coverage,
    has_tokens,
    uncertainty,
    usable_definition,
)
from demur.labels.targets import (
    WARNED_SHARE,
    gain_targets,
    hard_targets,
    label_warnings,
    margin_targets,
    winner_of,
)
from demur.meaning.entailment import reader_of
from demur.meaning.meanings import Meanings
from demur.meaning.rules.declined_answers import says_nothing
from demur.records import BoolArray, Encoder, FloatArray, IntArray, Preference, Prompt, Sample
from demur.sampling.pair import PairSamples

_Side = Sequence[Sequence[Sample]]  # a model's samples of every prompt


@dataclass(frozen=True, slots=True)
class Labels:
    """The training rows, and how they fell out."""

    preferences: tuple[Preference, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()  # how the targets were made; warnings
    definition: str = ""  # of the entropies, as used; "" where none were measured, and all below is 0
    saturation: Saturation = UNMEASURED  # of all prompts, the unknown ones too
    pairs_scored: int = 0  # pairs of answers that the entailment model decided about, now or before
    unknown: tuple[UnknownPrompt, ...] = ()  # prompts whose samples cannot tell: they have no target
    cut: float = 0.0  # share of all answers that max_tokens ended

    @property
    def ties(self) -> float:
        """Share of targets that are exactly .5."""
        return float(np.mean([row.winner == "tie" for row in self.preferences])) if self.preferences else 0.0

    @property
    def sentence(self) -> str:
        """The result as one sentence."""
        shares = [np.mean([row.winner == side for row in self.preferences]) for side in ("model_a", "model_b")]
        counted = (
            f"{len(self.preferences)} preferences ({self.preferences[0].kind}): weak {shares[0]:.0%}, strong "
            f"{shares[1]:.0%}, tie {self.ties:.0%}"
        )
        if not self.definition:
            return counted
        decided = f"the entailment model decided about {self.pairs_scored:,} pairs of answers"
        return f"{counted}; semantic entropy by {self.definition}; {decided}"

    @property
    def told(self) -> float:
        """Share of the prompts that could be labelled."""
        return len(self.preferences) / max(1, len(self.preferences) + len(self.unknown))

    @property
    def labelled_sentence(self) -> str:
        """How much the labels stand on, in one line; "" where they are not from samples."""
        if not self.definition:
            return ""
        asked = len(self.preferences) + len(self.unknown)
        cut = f"; {self.cut:.0%} of the answers were cut at max_tokens" if self.cut else ""
        return (
            f"labelled: {len(self.preferences)} of {asked} prompts ({self.told:.0%}); {self.saturation.sentence}{cut}"
        )


@dataclass(frozen=True, slots=True)
class _Measured:
    """Both models on every prompt."""

    weak: Sureness
    strong: Sureness
    weak_ids: Sequence[IntArray]  # clusters of each model's own answers
    strong_ids: Sequence[IntArray]
    joint: Sequence[IntArray] = ()  # clusters over both models' answers of a prompt, the strong model's half first
    belief: Belief | None = None

    def of(self, told: BoolArray) -> _Measured:
        """The same of those prompts alone, (n,) booleans."""
        weak_ids, strong_ids, joint = (
            list(compress(each, told)) for each in (self.weak_ids, self.strong_ids, self.joint)
        )
        belief = self.belief and replace(self.belief, gains=self.belief.gains[told])
        return _Measured(self.weak.of(told), self.strong.of(told), weak_ids, strong_ids, joint, belief)

    @property
    def weak_meanings(self) -> list[int]:
        """How many the weak model's answers have, a prompt each."""
        return [len(np.unique(ids)) for ids in self.weak_ids]

    @property
    def strong_meanings(self) -> list[int]:
        """How many the strong model's answers have."""
        return [len(np.unique(ids)) for ids in self.strong_ids]

    @property
    def saturation(self) -> Saturation:
        """Of either model; of one sample nothing is known."""
        counts = np.array([len(ids) for ids in self.strong_ids])
        weak, strong = (np.array(each) == counts for each in (self.weak_meanings, self.strong_meanings))
        return Saturation.of(weak, strong) if counts.max() > 1 else UNMEASURED

    @property
    def gains(self) -> FloatArray:
        """(n,) what escalating gains, by agreement of both models' answers."""
        return np.array([agreement(ids[len(ids) // 2 :], ids[: len(ids) // 2]) for ids in self.joint])

    @property
    def believed_gains(self) -> FloatArray:
        """(n,) the same as believed, weighed by how much of the weak model's consistency the strong one confirms."""
        assert self.belief is not None, "the kind needs a belief, and none was formed"
        return self.belief.gains


TARGETS: Mapping[str, Callable[[_Measured, LabelConfig], FloatArray]] = {  # (n,), of every kind that samples make
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
) -> Labels:
    """A preference for every prompt, from n samples of both models (``weak`` and ``strong`` are their names).

    ``config.source`` is entropy or agreement; both leave the entropies beside the targets. Where either model gives no
    log-probs both are measured by the discrete form, so that they compare. Raises InputError for no prompts, or an
    unequal number of samples.
    """
    if not prompts:
        raise InputError("no prompts to label; give some, or lower test_share")
    sides = [[side[prompt.id] for prompt in prompts] for side in (samples.weak, samples.strong)]
    _check_equal_n(prompts, *sides)
    silent = _check_silence(sides, (weak, strong))
    definition = _common_definition(config.definition, [one for side in sides for answers in side for one in answers])
    joint = "joint meanings" in KINDS[config.name].needs
    found = pair_meanings(prompts, sides[0], sides[1], meanings, joint=joint)
    measured = _measure(prompts, sides[0], sides[1], found, meanings, definition)
    saturation, cut = measured.saturation, cut_share([*sides[0], *sides[1]])
    name, notes = config.name, []
    if "log-probs" in KINDS[name].needs and measured.weak.coverage is None:
        name = "agreement"
        notes.append("targets agreement: without log-probs there is no coverage to combine it with")
    belief = believe(measured.joint, sides) if "belief" in KINDS[name].needs else None
    measured = replace(measured, belief=belief)
    reasons = _why_unknown(prompts, measured, sides, config, meanings)
    if belief and name == "entropy support":
        supported = support_of(prompts, sides[0], sides[1], meanings.entailment)
        belief, reasons = supported.support_belief(belief), supported.reasons(reasons)
        measured = replace(measured, belief=belief)
        notes.append(supported.sentence)
    told = np.array([not reason for reason in reasons])
    unknown = tuple(UnknownPrompt(one.id, one.text, why) for one, why in zip(prompts, reasons, strict=True) if why)
    check_told(unknown, len(prompts))
    measured, prompts = measured.of(told), list(compress(prompts, told))
    sides = [list(compress(side, told)) for side in sides]
    if "encoder" in KINDS[name].needs:
        picked = _choose(prompts, measured, sides, encoder, config)
        name, notes = picked.kind, [*notes, picked.sentence]
    if "belief" not in KINDS[name].needs:
        belief = None
    notes += [belief.sentence] if belief else []
    targets = TARGETS[name](measured, config)
    meanings_of = measured.weak_meanings, measured.strong_meanings
    rows = tuple(
        Preference(
            id=prompt.id,
            model_a=weak,
            model_b=strong,
            prompt=prompt.text,
            response_a=sides[0][i][0].text,
            response_b=sides[1][i][0].text,
            target=float(targets[i]),
            winner=winner_of(float(targets[i])),
            kind=name,
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
    as_printed = definition in AS_PRINTED
    warnings = list(silent)
    warnings += label_warnings(targets, saturation, as_printed=as_printed, softer=KINDS[name].softer)
    if definition != config.definition:
        warnings.insert(
            0, f"a model gives no log-probs: entropy by {definition} instead of {config.definition}, for both models"
        )
    notes += unknown_notes(unknown)
    return Labels(rows, tuple(warnings), tuple(notes), definition, saturation, found.pairs, unknown, cut)


def _why_unknown(
    prompts: Sequence[Prompt], measured: _Measured, sides: Sequence[_Side], config: LabelConfig, meanings: Meanings
) -> list[str]:
    """Why the samples of each prompt do not tell, "" where they do.

    Where no clusters over both models were asked for, what is equal within either model has to do.
    """
    reads = reader_of(config.entailment)
    apart = [np.concatenate([b, len(b) + a]) for a, b in zip(measured.weak_ids, measured.strong_ids, strict=True)]
    return [
        why_unknown(
            ids, *(meanings.compared_samples(p.text, weak), meanings.compared_samples(p.text, strong)), p.text, reads
        )
        for p, ids, weak, strong in zip(prompts, measured.joint or apart, *sides, strict=True)
    ]


def _check_equal_n(
    prompts: Sequence[Prompt], weak: Sequence[Sequence[Sample]], strong: Sequence[Sequence[Sample]]
) -> None:
    for prompt, a, b in zip(prompts, weak, strong, strict=True):
        if len(a) != len(b) or not a:
            raise InputError(
                f"prompt {prompt.id!r}: {len(a)} weak and {len(b)} strong samples; entropies compare at equal n only"
            )


def _check_silence(sides: Sequence[_Side], names: Sequence[str]) -> list[str]:
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
            found.append(
                f"{share:.0%} of {name}'s answers are empty, and silence passes for certainty: see its template"
            )
    return found


def _common_definition(definition: str, samples: Sequence[Sample]) -> str:
    return usable_definition(definition, [] if has_tokens([samples]) else None)


def _measure(
    prompts: Sequence[Prompt], weak: _Side, strong: _Side, found: PairMeanings, meanings: Meanings, definition: str
) -> _Measured:
    """Both models' sureness on every prompt, from what their answers mean."""
    tokens = has_tokens(weak) and has_tokens(strong)
    of_clusters = "discrete" if definition in OF_FIRST_ANSWER else definition
    sides = [
        measure_sureness(found.weak, weak, of_clusters, tokens=tokens),
        measure_sureness(found.strong, strong, of_clusters, tokens=tokens),
    ]
    if definition in OF_FIRST_ANSWER:
        doubts = [first_answer_doubt(definition, prompts, side, meanings.entailment) for side in (weak, strong)]
        sides = [replace(side, entropy=doubt) for side, doubt in zip(sides, doubts, strict=True)]
    return _Measured(sides[0], sides[1], found.weak, found.strong, found.joint)


def measure_sureness(clusters: Sequence[IntArray], samples: _Side, definition: str, *, tokens: bool = True) -> Sureness:
    """One model's, from the meanings of its samples; ``definition`` is the entropy's, and without ``tokens`` there is
    no coverage. An empty answer has no tokens."""
    logprobs = [[one.logprobs or () for one in answers] for answers in samples]
    covered = [coverage([one.text for one in answers], each) for answers, each in zip(samples, logprobs, strict=True)]
    return Sureness(
        np.array([uncertainty(ids, each, definition) for ids, each in zip(clusters, logprobs, strict=True)]),
        np.array([consistency(ids) for ids in clusters]),
        np.array(covered) if tokens else None,
    )


def believe(joint: Sequence[IntArray], sides: Sequence[_Side], *, slope: float | None = None) -> Belief:
    """The believed gain of every prompt, from ``sides``, the weak and the strong model's samples.

    ``joint``: clusters over both, the strong model's first. An answer that says nothing agrees with none. ``slope``:
    where it is known already.
    """
    clusters = [
        without_silence(ids, np.array([says_nothing(one.text) for one in (*strong, *weak)]))
        for ids, weak, strong in zip(joint, *sides, strict=True)
    ]
    found = confirmed_slope(clusters) if slope is None else slope
    weight = belief_weight(found)
    return Belief(believed_gains(pair_shares(clusters), weight), found, weight)


def _choose(
    prompts: Sequence[Prompt],
    measured: _Measured,
    sides: Sequence[_Side],
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
    belief = believe(first, samples, slope=slope)
    learned = _Measured(weak, strong, (), (), first, belief)
    candidates = {name: TARGETS[name](learned, config) for name in CANDIDATES}
    vectors = np.asarray(encoder.encode([prompt.text for prompt in prompts]), dtype=np.float32)
    return choose_targets(candidates, judged, vectors)

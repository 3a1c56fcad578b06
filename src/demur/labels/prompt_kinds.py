"""Of what kind each prompt is, as its answers show, and how much labelling learned about prompts of that kind.

Labels stand on agreement among answers, which short answers in a language of the entailment model show best. So a kind
is what agreement depends on: pictures, tools and language of the prompt; form and length of both models' answers.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from demur.config import tier_name
from demur.labels.beliefs.unknown import BY_SCORE, GUESSED, MOST_CUT, TEXT_WORDS, UnknownPrompt, reason_of
from demur.meaning.entailment import reader_of, reads_any
from demur.meaning.rules.code import code_of
from demur.meaning.rules.languages import language_of
from demur.models.requests.cut_answers import CUT
from demur.prompts.pictures import has_pictures
from demur.prompts.tool_calls import calls_of
from demur.records import FloatArray, Preference, Prompt, Role, Sample
from demur.runs.run import Run

KEY = "prompt_kinds"  # in a router's record
SHORT, LONG, CUT_TEXTS = "short answers", "sentences and texts", "cut texts"
CODE, TOOLS, PICTURES, FOREIGN = "code", "calls of tools", "pictures", "other languages"
KINDS = (SHORT, LONG, CUT_TEXTS, CODE, TOOLS, PICTURES, FOREIGN)  # in the order of a table
COLUMNS = ("kind of prompt", "prompts", "labelled", "both guess", "not shown")  # of `PromptKind.cells`
MOST_ROWS = 6
MOST = 0.5  # share of a kind's prompts
WORTH_SAYING = 0.1  # share of prompts
SAID_FROM = 0.01  # share of prompts
SHOWN_LANGUAGES = 4
_ZERO, _LONGEST, _STEPS = ord("0"), ord("~") - ord("0"), 6  # of a length's character: 8,191 tokens at most

Reads = Callable[[str], bool]  # is a text in a language of the entailment model?


def kind_by_prompt(prompt: Prompt, reads: Reads) -> str:
    """The kind that a prompt alone shows, before any model is asked; "" where its answers decide."""
    if has_pictures(prompt):
        return PICTURES
    if prompt.request is not None and json.loads(prompt.request.body).get("tools"):
        return TOOLS
    return "" if reads(prompt.text) else FOREIGN


def kind_of(prompt: Prompt, weak: Sequence[Sample], strong: Sequence[Sample], reads: Reads) -> str:
    """One of KINDS. Code and calls are told by both models' first answers, texts by the length of all."""
    if known := kind_by_prompt(prompt, reads):
        return known
    answers, firsts = [*weak, *strong], [*weak[:1], *strong[:1]]
    if any(calls_of(one.text) for one in firsts):
        return TOOLS
    if firsts and all(code_of(one.text) is not None for one in firsts):
        return CODE
    words = np.mean([len(one.text.split()) for one in answers]) if answers else 0
    if words <= TEXT_WORDS:
        return SHORT
    return CUT_TEXTS if np.mean([one.finish_reason == CUT for one in answers]) > MOST_CUT else LONG


@dataclass(frozen=True, slots=True)
class PromptKind:
    """The prompts of one kind, and what labelling learned about them."""

    name: str  # one of KINDS
    prompts: int
    labelled: int  # their answers agree, so that the samples label them
    guessed: int  # questions on which both models guess: no two of their short answers mean the same
    languages: tuple[tuple[str, int], ...] = ()  # of FOREIGN: codes and their numbers of prompts, most frequent first
    tokens: tuple[float, ...] = ()  # of an answer of each model, cheapest first: the mean over its prompts

    @property
    def untold(self) -> int:
        """Prompts whose samples show nothing."""
        return self.prompts - self.labelled - self.guessed

    @property
    def mostly_untold(self) -> bool:
        """Whether the samples of most of its prompts show nothing, so that a router does not know the kind."""
        return self.untold > MOST * self.prompts

    @property
    def shown(self) -> str:
        """Its name, with the languages found."""
        found = ", ".join(f"{code} {number:,}" for code, number in self.languages[:SHOWN_LANGUAGES])
        more = ", ..." if len(self.languages) > SHOWN_LANGUAGES else ""
        return f"{self.name} ({found}{more})" if found else self.name

    @property
    def cells(self) -> tuple[str, ...]:
        """Its row of a table of `COLUMNS`."""
        parts = (self.labelled, self.guessed, self.untold)
        shares = (f"{number:,} ({number / self.prompts:.0%})" if number else "0" for number in parts)
        return (self.shown, f"{self.prompts:,}", *shares)


@dataclass(frozen=True, slots=True)
class PromptKinds:
    """The kinds of the prompts that were labelled."""

    kinds: tuple[PromptKind, ...]  # those that occur, at most MOST_ROWS
    of: tuple[int, ...] = ()  # (n,) numbers in `kinds`: of the labelled prompts, then of the unknown ones
    english: bool = True  # the entailment model is of English alone
    roles: tuple[Role, ...] = ()  # of `PromptKind.tokens`
    answered: tuple[str, ...] = ()  # by role: how long its answers are, a character per prompt in the order of `of`

    @classmethod
    def count(
        cls,
        names: Mapping[str, str],
        preferences: Sequence[Preference],
        unknown: Sequence[UnknownPrompt],
        *,
        english: bool,
        reasons: Sequence[str] = (),
    ) -> PromptKinds:
        """From the kind of each prompt by its text, and what became of the prompts; ``reasons``: as `told_by` has them,
        so that prompts are counted by what their samples tell, not by their labels."""
        texts = [*(row.prompt for row in preferences), *(one.prompt for one in unknown)]
        there = _few_rows([names[text] for text in texts])
        order = [name for name in KINDS if name in there]
        found = [*(reasons or [""] * len(preferences)), *(one.reason for one in unknown)]
        labelled = Counter(name for name, why in zip(there, found, strict=True) if not why)
        whys = zip(there, found, texts, strict=True)
        guessed = Counter(name for name, why, text in whys if reason_of(why, text) == GUESSED)
        foreign = (text for text, name in zip(texts, there, strict=True) if name == FOREIGN)
        languages = tuple(Counter(language_of(text) for text in foreign).most_common())
        kinds = tuple(
            PromptKind(*(name, there.count(name), labelled[name], guessed[name]), languages if name == FOREIGN else ())
            for name in order
        )
        return cls(kinds, tuple(order.index(name) for name in there), english)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> PromptKinds | None:
        """What a router was saved with; None of one saved before demur wrote it, or labelled without samples."""
        saved = record.get(KEY)
        if not saved:
            return None
        lists = [
            one | {"languages": tuple(map(tuple, one["languages"])), "tokens": tuple(one["tokens"])}
            for one in saved["kinds"]
        ]
        kinds = tuple(PromptKind(**one) for one in lists)
        answered = tuple(saved.get("answered", ()))
        return cls(kinds, tuple(map(int, saved["of"])), saved["english"], tuple(saved["roles"]), answered)

    def as_record(self) -> dict[str, Any]:
        """As a part of a router's record; a digit per prompt, since there may be millions."""
        return {KEY: asdict(self) | {"of": "".join(map(str, self.of))}}

    def with_tokens(self, tokens: FloatArray, roles: Sequence[Role]) -> PromptKinds:
        """The same with the length of each prompt's answers and the mean of each kind, from (n, K) tokens of each
        model's answer to each prompt."""
        of = np.array(self.of)
        means = [tuple(tokens[of == number].mean(axis=0).tolist()) for number in range(len(self.kinds))]
        kinds = tuple(replace(one, tokens=mean) for one, mean in zip(self.kinds, means, strict=True))
        answered = tuple("".join(map(_length_character, column)) for column in tokens.T.tolist())
        return replace(self, kinds=kinds, roles=tuple(roles), answered=answered)

    def lengths(self, texts: Sequence[str], role: Role) -> dict[str, float]:
        """How many tokens a model's answer to each of these prompts has, to 6 %; ``texts`` in the order of `of`.

        Its own answers', not those of its kind: prompts that a router keeps at the small model have shorter answers
        than others of their kind, so that a mean would promise too much. Of a router that was saved before they were
        kept, those of its kind. Empty where these are other prompts, or it is another model.
        """
        if len(texts) != len(self.of) or role not in self.roles:
            return {}
        model, of = self.roles.index(role), np.array(self.of)
        means = np.array([one.tokens[model] for one in self.kinds])
        found = means[of]
        if self.answered:
            found = np.array([_length_of(one) for one in self.answered[model]])
            rough = np.bincount(of, found, len(means)) / np.bincount(of, minlength=len(means))
            found *= np.divide(means, rough, out=np.ones_like(means), where=rough > 0)[of]  # steps do not move a mean
        return dict(zip(texts, found.tolist(), strict=True))

    @property
    def prompts(self) -> int:
        """How many there are of all kinds."""
        return sum(one.prompts for one in self.kinds)

    def share(self, name: str) -> float:
        """Share of the prompts that are of a kind."""
        return sum(one.prompts for one in self.kinds if one.name == name) / max(1, self.prompts)

    @property
    def common(self) -> tuple[PromptKind, ...]:
        """All but the rare ones, as a mistaken language makes them."""
        return tuple(one for one in self.kinds if one.prompts >= SAID_FROM * self.prompts) or self.kinds

    @property
    def untold_sentence(self) -> str:
        """Of which kinds the samples mostly show nothing; empty where there is none."""
        lost = [one.shown for one in self.common if one.mostly_untold]
        return f"{', '.join(lost)}: the samples mostly do not show which model is needed" if lost else ""

    def sentence(self, goes: str) -> str:
        """The same, and where such prompts go; empty where there is none.

        ``goes``: where a prompt goes whose samples show nothing, such as "go to the large model".
        """
        return f"{self.untold_sentence}; {untold_go(goes)}" if self.untold_sentence else ""

    @property
    def by_rules(self) -> tuple[str, ...]:
        """A sentence on each kind that the entailment model does not read; none where it reads all."""
        remedies = {FOREIGN: ("are", ": `demur label --entailment hub:NAME`"), CODE: ("is", "")}
        return tuple(
            "{} {} compared by rules, which miss paraphrases{}".format(one.shown, *remedies[one.name])
            for one in self.common
            if self.english and one.name in remedies
        )


def _length_character(tokens: float) -> str:
    """A length in tokens as one printable character, in steps of 12 %: there may be millions of prompts."""
    return chr(_ZERO + min(_LONGEST, round(_STEPS * math.log2(1 + tokens))))


def _length_of(character: str) -> float:
    return float(2.0 ** ((ord(character) - _ZERO) / _STEPS) - 1)


def _few_rows(names: Sequence[str]) -> list[str]:
    """The same, with texts that were cut among the other ones where there would be more than MOST_ROWS."""
    merged = {CUT_TEXTS: LONG} if len(set(names)) > MOST_ROWS else {}
    return [merged.get(name, name) for name in names]


def kinds_of_run(
    run: Run, preferences: Sequence[Preference], unknown: Sequence[UnknownPrompt], reasons: Sequence[str] = ()
) -> PromptKinds | None:
    """The kinds of a run's labelled and unknown prompts; None without samples of all of them. ``reasons``: of labels
    from elsewhere (`PromptKinds.count`)."""
    texts = [*(row.prompt for row in preferences), *(one.prompt for one in unknown)]
    if not texts or not run.config.label.needs("samples"):
        return None
    known = {prompt.text: prompt for prompt in run.complete(run.train_prompts)}
    if any(text not in known for text in texts):
        return None
    reads, names, tokens = reader_of(run.config.label.entailment), dict[str, str](), []
    for prompt in (known[text] for text in texts):
        answers = [side[prompt.id] for side in run.samples.all]
        names[prompt.text] = kind_of(prompt, answers[0], answers[-1], reads)
        tokens.append([float(np.mean([one.completion_tokens for one in side])) for side in answers])
    found = PromptKinds.count(names, preferences, unknown, english=reads is not reads_any, reasons=reasons)
    return found.with_tokens(np.array(tokens), ("weak", *map(tier_name, run.config.between), "strong"))


def untold_go(goes: str) -> str:
    """Where prompts go of a kind that mostly has no label; ``goes``: those without one."""
    return f"such prompts {goes}" if goes == BY_SCORE else f"those without a label {goes}, the others {BY_SCORE}"

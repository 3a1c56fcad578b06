"""A run's samples in bytes: as objects they take four times as much memory, and a run may have millions."""

from __future__ import annotations

import marshal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import overload

from demur.records import Prompt, Sample

_values_of = attrgetter(*(one.name for one in fields(Sample)))


class PackedSamples(Mapping[str, Sequence[Sample]]):
    """Prompt id -> its samples, by index; they are unpacked each time they are looked at."""

    def __init__(self, samples: Iterable[tuple[str, Sequence[Sample]]]) -> None:
        self._packed = {id: marshal.dumps([_values_of(one) for one in some]) for id, some in samples}

    def __getitem__(self, id: str) -> Sequence[Sample]:
        return [Sample(*values) for values in marshal.loads(self._packed[id])]

    def __iter__(self) -> Iterator[str]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)


class SamplesOf(Sequence[Sequence[Sample]]):
    """A model's samples of prompts, in the prompts' order; looked up when they are needed, so that they stay packed."""

    def __init__(self, samples: Mapping[str, Sequence[Sample]], prompts: Sequence[Prompt]) -> None:
        self._samples, self._prompts = samples, prompts

    @overload
    def __getitem__(self, place: int) -> Sequence[Sample]: ...
    @overload
    def __getitem__(self, place: slice) -> list[Sequence[Sample]]: ...
    def __getitem__(self, place: int | slice) -> Sequence[Sample] | list[Sequence[Sample]]:
        if isinstance(place, slice):
            return [self._samples[one.id] for one in self._prompts[place]]
        return self._samples[self._prompts[place].id]

    def __len__(self) -> int:
        return len(self._prompts)

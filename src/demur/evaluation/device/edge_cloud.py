"""A device beside a cloud, simulated: how long requests wait and take, what they cost, at every threshold.

The device answers in a few slots, first come first served, each at its own speed; the cloud has no queue, but a way to
it and a time to its first token. Every request is one of the run's prompts with its own lengths. Pure functions on
arrays; with slots that serve in order a request begins when it has come and a slot is free, so no event list is needed.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

import numpy as np

from demur.records import BoolArray, FloatArray

POSITIVE = {"above": 0}
NOT_NEGATIVE = {"at_least": 0}


@dataclass(frozen=True, slots=True)
class Edge:
    """The device with the weak model."""

    tokens_per_s: float = field(default=40.0, metadata=POSITIVE)  # that a slot generates
    prompt_tokens_per_s: float = field(default=400.0, metadata=POSITIVE)  # that a slot reads
    slots: int = field(default=2, metadata={"at_least": 1})
    joules_per_token: float = field(default=0.5, metadata=NOT_NEGATIVE)  # generated


@dataclass(frozen=True, slots=True)
class Cloud:
    """The way to the strong model, and how fast it answers."""

    ttft: float = field(default=0.4, metadata=NOT_NEGATIVE)  # seconds to the first token
    tokens_per_s: float = field(default=80.0, metadata=POSITIVE)
    rtt: float = field(default=0.06, metadata=NOT_NEGATIVE)  # seconds
    bandwidth: float = field(default=1e6, metadata=POSITIVE)  # bytes per second, of prompts on their way there


@dataclass(frozen=True, slots=True)
class Requests:
    """What is asked, (m,) each; a request may need the device, the cloud, or first the device and then the cloud."""

    arrivals: FloatArray  # seconds, rising
    on_device: BoolArray  # a draft or an answer is asked of the weak model
    in_cloud: BoolArray  # the strong model answers
    device_seconds: FloatArray  # that a slot is busy with it, if it is asked
    cloud_seconds: FloatArray  # until its answer is there, if it is asked


@dataclass(frozen=True, slots=True)
class Simulated:
    """What came of the requests."""

    latency: FloatArray  # (m,) seconds until the whole answer
    waited: FloatArray  # (m,) seconds for a slot
    diverted: BoolArray  # (m,) sent to the cloud because the queue was long
    busy: float  # share of the slots' time
    queue: float  # mean number of waiting requests


def simulate_serving(
    requests: Requests, slots: int, longest_wait: float = math.inf, longest_queue: float = math.inf
) -> Simulated:
    """Serve requests in the order of their arrival; one that would wait longer goes to the cloud at once, and so does
    one that finds ``longest_queue`` at the device, waiting or in its slots (the gateway's `weak_at_most`)."""
    ends: list[float] = []  # when those at the device will be done; a heap
    free = [0.0] * slots  # when each slot is free; a heap
    m = len(requests.arrivals)
    waited, diverted = np.zeros(m), np.zeros(m, dtype=bool)
    latency = np.where(requests.in_cloud, requests.cloud_seconds, 0.0)
    for i in np.flatnonzero(requests.on_device):
        arrival = float(requests.arrivals[i])
        wait = max(0.0, free[0] - arrival)
        while ends and ends[0] <= arrival:
            heapq.heappop(ends)
        if wait > longest_wait or len(ends) >= longest_queue:
            diverted[i] = True
            latency[i] = requests.cloud_seconds[i]
            continue
        seconds = float(requests.device_seconds[i])
        heapq.heapreplace(free, arrival + wait + seconds)
        heapq.heappush(ends, arrival + wait + seconds)
        waited[i] = wait
        latency[i] += wait + seconds
    served = requests.on_device & ~diverted
    end = max(float(requests.arrivals[-1]), max(free)) - float(requests.arrivals[0])
    busy = float(requests.device_seconds[served].sum()) / (slots * end) if end > 0 else 0.0
    queue = float(waited.sum()) / end if end > 0 else 0.0  # Little's law
    return Simulated(latency, waited, diverted, busy, queue)


def device_seconds(edge: Edge, prompt_tokens: FloatArray, answer_tokens: FloatArray) -> FloatArray:
    """(m,) seconds that a slot needs for prompts of so many tokens and answers of so many."""
    return np.asarray(prompt_tokens / edge.prompt_tokens_per_s + answer_tokens / edge.tokens_per_s)


def cloud_seconds(cloud: Cloud, prompt_bytes: FloatArray, answer_tokens: FloatArray) -> FloatArray:
    """(m,) seconds from a prompt's leaving to the end of its answer."""
    return np.asarray(cloud.rtt + prompt_bytes / cloud.bandwidth + cloud.ttft + answer_tokens / cloud.tokens_per_s)


def poisson(rate: float, count: int, seed: int = 0) -> FloatArray:
    """(count,) arrivals at a mean ``rate`` per second."""
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate, count))

"""Rows that think together, all at the same tick.

Whoever leaves leaves an empty seat, which costs its share of every tick until the others close up; closing up costs time, too.
So they do it once the empty seats have cost about as much as closing up will: without knowing when the others will leave, no
way of waiting is sure to lose less against one that does (the ski-rental problem).
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ctm import Output
from inference.history import History, first
from inference.policies import Policy

CLOSING_UP = 0.5  # what it costs, in ticks of the rows that do it; measured on batches of 256


@dataclass(frozen=True)
class Best:
    """For every row the tick whose answer the machine itself trusts most, so far."""

    score: Float[Tensor, " A"]
    tick: Int[Tensor, " A"]

    @classmethod
    def of(cls, output: Output, listening: Int[Tensor, " A"] | None) -> "Best":
        score = score_now(output, 1, listening)
        return cls(score, torch.ones_like(score, dtype=torch.long))

    def or_now(self, output: Output, number: int, listening: Int[Tensor, " A"] | None) -> "Best":
        score = score_now(output, number, listening)
        better = (score > self.score) | self.score.isneginf()  # while it listens, the newest
        return Best(torch.where(better, score, self.score), self.tick.masked_fill(better, number))

    def take(self, rows: Int[Tensor, " R"]) -> "Best":
        return Best(self.score[rows], self.tick[rows])

    def join(self, others: "Best") -> "Best":
        return Best(torch.cat((self.score, others.score)), torch.cat((self.tick, others.tick)))


def score_now(output: Output, number: int, listening: Int[Tensor, " A"] | None) -> Float[Tensor, " A"]:
    """How good it is to answer now; at no price before all is heard."""
    score = output.certainty.mean(1)
    return score if listening is None else score.masked_fill(listening >= number, -torch.inf)


@dataclass
class Group:
    """Rows that think together. Who is done leaves an empty seat in the state and in the features."""

    rows: Int[Tensor, " A"]  # who still thinks, numbered as in the input
    seats: Int[Tensor, " A"]  # where they are in the state and in the features
    width: int  # seats
    state: Any
    features: Any
    budget: int  # the tick at which everybody is done
    number: int = 0  # ticks thought
    idle: int = 0  # ticks that go by at empty seats
    history: History | None = None  # None before the first tick
    best: Best | None = None

    def hear(self, state: Any, output: Output, policy: Policy) -> tuple[History, Best]:
        """A tick is over.

        Args:
            state: after it.
            output: what these rows said.
            policy: what will look at the history.
        """
        self.state, self.number = state, self.number + 1
        if self.history is None or self.best is None:
            listening = self.features.listening
            self.history = first(output, policy.needs_choices, listening, policy.signals)
            self.best = Best.of(output, listening)
        else:
            self.history = self.history.add(output, policy.looks_back)
            self.best = self.best.or_now(output, self.number, self.history.listening)
        return self.history, self.best

    def leave(self, done: Bool[Tensor, " A"]) -> None:
        """Some rows leave."""
        self._keep((~done).nonzero().squeeze(1))

    def close_up(self, now: bool = False) -> None:
        """Leave no seat empty, in the memory of these features; unless it is done `now`, only once it is worth it."""
        self.idle += self.width - len(self.seats)
        if not now and (not self.idle or self.idle < CLOSING_UP * len(self.seats)):
            return
        free = torch.ones(self.width, dtype=torch.bool, device=self.seats.device).index_fill_(0, self.seats, False)
        order = seating(free)
        self._keep(torch.searchsorted(self.seats, order))
        self.seats, self.width, self.idle = torch.arange(len(order), device=order.device), len(order), 0
        self.state, self.features = self.state.take(order, self.budget - self.number), self.features.take_(order)

    def join(self, others: "Group") -> None:
        """Others who are at the same tick come in."""
        assert self.history and others.history and self.best and others.best, "they have thought"
        self.rows = torch.cat((self.rows, others.rows))
        self.seats = torch.cat((self.seats, others.seats + self.width))
        self.width, self.idle = self.width + others.width, self.idle + others.idle
        self.state = self.state.join(others.state, self.budget - self.number)
        self.features = self.features.join(others.features)
        self.history, self.best = self.history.join(others.history), self.best.join(others.best)

    def _keep(self, places: Int[Tensor, " R"]) -> None:
        assert self.history and self.best, "they have thought"
        self.rows, self.seats = self.rows[places], self.seats[places]
        self.history, self.best = self.history.take(places), self.best.take(places)


def seating(empty: Bool[Tensor, " W"]) -> Int[Tensor, " A"]:
    """The seats that are taken, the last ones in the places of the empty ones: few rows have to be moved."""
    taken = (~empty).nonzero().squeeze(1)
    order = torch.arange(len(taken), device=empty.device)
    order[empty[: len(order)]] = taken[taken >= len(order)]
    return order

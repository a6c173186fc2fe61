"""Rows that think together, each at its own tick.

Whoever leaves leaves an empty seat, which costs its share of every tick until a newcomer takes it, or, where nobody comes any
more, until the others close up. Closing up costs time, too. So they do it once the empty seats have cost about as much as
closing up will: without knowing when the others will leave, no way of waiting is sure to lose less against one that does (the
ski-rental problem).
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ctm import Output
from inference.halting.policies import Policy
from inference.tick_history import History, first

CLOSING_UP = 0.5  # what it costs, in ticks of the rows that do it; measured on batches of 256


@dataclass(frozen=True)
class Best:
    """For every row the tick whose answer the machine itself trusts most, so far."""

    score: Float[Tensor, " A"]
    tick: Int[Tensor, " A"]

    @classmethod
    def of(cls, output: Output, history: History) -> "Best":
        return cls(score_now(output, history), history.ticks)

    def or_now(self, output: Output, history: History) -> "Best":
        score = score_now(output, history)
        better = (score > self.score) | self.score.isneginf()  # before anything counts, the newest
        return Best(torch.where(better, score, self.score), torch.where(better, history.ticks, self.tick))

    def take(self, rows: Int[Tensor, " R"]) -> "Best":
        return Best(self.score[rows], self.tick[rows])

    def welcome(self, count: int) -> "Best":
        """The same with so many more rows, which have not said anything yet."""
        nothing = self.score.new_full((count,), -torch.inf)
        return Best(torch.cat((self.score, nothing)), torch.cat((self.tick, self.tick.new_zeros(count))))


def score_now(output: Output, history: History) -> Float[Tensor, " A"]:
    """How good it is to answer now; at no price before all is heard."""
    score, listening = output.certainty.mean(1), history.listening
    return score if listening is None else score.masked_fill(listening >= history.ticks, -torch.inf)


@dataclass
class Group:
    """Rows that think together. Who is done leaves an empty seat in the state and in the features."""

    rows: Int[Tensor, " A"]  # who still thinks, numbered as in the input
    seats: Int[Tensor, " A"]  # where they are in the state and in the features; in order
    width: int  # seats
    state: Any
    features: Any
    budget: int  # the tick at which everybody is done
    idle: int = 0  # ticks that go by at empty seats while nobody comes
    history: History | None = None  # None before the first tick
    best: Best | None = None

    def hear(self, state: Any, output: Output, policy: Policy) -> tuple[History, Best]:
        """A tick is over.

        Args:
            state: after it.
            output: what these rows said.
            policy: what will look at the history.
        """
        self.state = state
        if self.history is None or self.best is None:
            self.history = first(output, policy.needs_choices, self.features.listening, policy.signals)
            self.best = Best.of(output, self.history)
        else:
            self.history = self.history.add(output, min(policy.looks_back, self.budget))
            self.best = self.best.or_now(output, self.history)
        return self.history, self.best

    def leave(self, done: Bool[Tensor, " A"]) -> None:
        """Some rows leave."""
        self._keep((~done).nonzero().squeeze(1))

    def welcome(self, newcomers: "Group") -> None:
        """Others, who have not begun to think, take empty seats, in the memory of this state and of these features."""
        assert self.history and self.best, "they have thought"
        count = len(newcomers.rows)
        seats = self._empty().nonzero().squeeze(1)[:count]
        self.state = self.state.seat_(newcomers.state, seats)
        self.features = self.features.seat_(newcomers.features, seats)
        self.history, self.best = self.history.welcome(count), self.best.welcome(count)
        self.rows, self.seats = torch.cat((self.rows, newcomers.rows)), torch.cat((self.seats, seats))
        self._keep(self.seats.argsort())

    def close_up(self) -> None:
        """Leave no seat empty, in the memory of these features, once it is worth it."""
        self.idle += self.width - len(self.seats)
        if not self.idle or self.idle < CLOSING_UP * len(self.seats):
            return
        order = seating(self._empty())
        self._keep(torch.searchsorted(self.seats, order))
        self.seats, self.width, self.idle = torch.arange(len(order), device=order.device), len(order), 0
        assert self.history, "they have thought"
        room = self.budget - int(self.history.ticks.min())
        self.state, self.features = self.state.take(order, room), self.features.take_(order)

    def _empty(self) -> Bool[Tensor, " W"]:
        return torch.ones(self.width, dtype=torch.bool, device=self.seats.device).index_fill_(0, self.seats, False)

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

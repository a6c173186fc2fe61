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

from ctm import TickOutput
from inference.halting.policies import HaltingPolicy
from inference.tick_history import TickHistory, start_history

COMPACTION_COST_TICKS = 0.5  # what it costs, in ticks of the rows that do it; measured on batches of 256


@dataclass(frozen=True)
class BestTickTracker:
    """For every row the tick whose answer the machine itself trusts most, so far."""

    score: Float[Tensor, " A"]
    tick: Int[Tensor, " A"]

    @classmethod
    def from_output(cls, output: TickOutput, history: TickHistory) -> "BestTickTracker":
        return cls(compute_answer_score(output, history), history.ticks)

    def update(self, output: TickOutput, history: TickHistory) -> "BestTickTracker":
        score = compute_answer_score(output, history)
        better = (score > self.score) | self.score.isneginf()  # before anything counts, the newest
        return BestTickTracker(torch.where(better, score, self.score), torch.where(better, history.ticks, self.tick))

    def select_rows(self, rows: Int[Tensor, " R"]) -> "BestTickTracker":
        return BestTickTracker(self.score[rows], self.tick[rows])

    def append_empty_rows(self, count: int) -> "BestTickTracker":
        """The same with so many more rows, which have not said anything yet."""
        nothing = self.score.new_full((count,), -torch.inf)
        return BestTickTracker(torch.cat((self.score, nothing)), torch.cat((self.tick, self.tick.new_zeros(count))))


def compute_answer_score(output: TickOutput, history: TickHistory) -> Float[Tensor, " A"]:
    """How good it is to answer now; at no price before all is heard."""
    score, listening = output.certainty.mean(1), history.input_ticks
    return score if listening is None else score.masked_fill(listening >= history.ticks, -torch.inf)


@dataclass
class ActiveBatch:
    """Rows that think together. Who is done leaves an empty seat in the state and in the features."""

    rows: Int[Tensor, " A"]  # who still thinks, numbered as in the input
    slots: Int[Tensor, " A"]  # where they are in the state and in the features; in order
    num_slots: int  # seats
    state: Any
    encoded: Any
    budget: int  # the tick at which everybody is done
    idle_slot_ticks: int = 0  # ticks that go by at empty seats while nobody comes
    history: TickHistory | None = None  # None before the first tick
    best_ticks: BestTickTracker | None = None

    def record_tick(self, state: Any, output: TickOutput, policy: HaltingPolicy) -> tuple[TickHistory, BestTickTracker]:
        """A tick is over.

        Args:
            state: after it.
            output: what these rows said.
            policy: what will look at the history.
        """
        self.state = state
        if self.history is None or self.best_ticks is None:
            self.history = start_history(output, policy.needs_choices, self.encoded.input_ticks, policy.signals)
            self.best_ticks = BestTickTracker.from_output(output, self.history)
        else:
            self.history = self.history.append(output, min(policy.lookback, self.budget))
            self.best_ticks = self.best_ticks.update(output, self.history)
        return self.history, self.best_ticks

    def retire(self, halt_mask: Bool[Tensor, " A"]) -> None:
        """Some rows leave."""
        self._select_rows((~halt_mask).nonzero().squeeze(1))

    def admit(self, incoming: "ActiveBatch") -> None:
        """Others, who have not begun to think, take empty seats, in the memory of this state and of these features."""
        assert self.history and self.best_ticks, "they have thought"
        count = len(incoming.rows)
        seats = self._get_free_mask().nonzero().squeeze(1)[:count]
        self.state = self.state.write_rows_(incoming.state, seats)
        self.encoded = self.encoded.write_rows_(incoming.encoded, seats)
        self.history, self.best_ticks = self.history.append_empty_rows(count), self.best_ticks.append_empty_rows(count)
        self.rows, self.slots = torch.cat((self.rows, incoming.rows)), torch.cat((self.slots, seats))
        self._select_rows(self.slots.argsort())

    def compact(self) -> None:
        """Leave no seat empty, in the memory of these features, once it is worth it."""
        self.idle_slot_ticks += self.num_slots - len(self.slots)
        if not self.idle_slot_ticks or self.idle_slot_ticks < COMPACTION_COST_TICKS * len(self.slots):
            return
        order = compute_compaction_order(self._get_free_mask())
        self._select_rows(torch.searchsorted(self.slots, order))
        self.slots, self.num_slots, self.idle_slot_ticks = torch.arange(len(order), device=order.device), len(order), 0
        assert self.history, "they have thought"
        room = self.budget - int(self.history.ticks.min())
        self.state, self.encoded = self.state.select_rows(order, room), self.encoded.compact_rows_(order)

    def _get_free_mask(self) -> Bool[Tensor, " W"]:
        return torch.ones(self.num_slots, dtype=torch.bool, device=self.slots.device).index_fill_(0, self.slots, False)

    def _select_rows(self, indices: Int[Tensor, " R"]) -> None:
        assert self.history and self.best_ticks, "they have thought"
        self.rows, self.slots = self.rows[indices], self.slots[indices]
        self.history, self.best_ticks = self.history.select_rows(indices), self.best_ticks.select_rows(indices)


def compute_compaction_order(free_mask: Bool[Tensor, " W"]) -> Int[Tensor, " A"]:
    """The seats that are taken, the last ones in the places of the empty ones: few rows have to be moved."""
    taken = (~free_mask).nonzero().squeeze(1)
    order = torch.arange(len(taken), device=free_mask.device)
    order[free_mask[: len(order)]] = taken[taken >= len(order)]
    return order

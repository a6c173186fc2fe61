"""Active batch of the continuous-batching engine.

A finished row frees its slot. Free slots still cost compute at every tick, so they are either refilled with new rows
(`ActiveBatch.admit`) or, when there are no new rows, removed by compaction (`ActiveBatch.compact`).

Compaction copies the surviving rows, which itself costs about `COMPACTION_COST_TICKS` ticks. It runs once the idle
slot-ticks accumulated so far reach that cost. This is the break-even rule of the ski-rental problem: without knowledge
of when the other rows finish, no deterministic strategy has a better worst case.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ctm import TickOutput
from ctm.models.base import EncodedInput, ModelState
from inference.halting.policies import HaltingPolicy
from inference.tick_history import TickHistory, start_history

COMPACTION_COST_TICKS = 0.5  # cost of one compaction, in ticks of the remaining rows; measured on batches of 256


@dataclass(frozen=True)
class BestTickTracker:
    """Running arg-max over ticks: the tick with the highest mean certainty of every row.

    Attributes:
        score: Highest score so far, shape (A,); -inf before the first tick at which an answer counts.
        tick: Tick of that score, from 1, shape (A,).
    """

    score: Float[Tensor, " A"]
    tick: Int[Tensor, " A"]

    @classmethod
    def from_output(cls, output: TickOutput, history: TickHistory) -> "BestTickTracker":
        """Start a tracker with the output of the first tick."""
        return cls(compute_answer_score(output, history), history.ticks)

    def update(self, output: TickOutput, history: TickHistory) -> "BestTickTracker":
        """Return the tracker after one more tick."""
        score = compute_answer_score(output, history)
        better = (score > self.score) | self.score.isneginf()  # the newest tick as long as no answer counts
        return BestTickTracker(torch.where(better, score, self.score), torch.where(better, history.ticks, self.tick))

    def select_rows(self, rows: Int[Tensor, " R"]) -> "BestTickTracker":
        """Return the tracker of some rows."""
        return BestTickTracker(self.score[rows], self.tick[rows])

    def append_empty_rows(self, count: int) -> "BestTickTracker":
        """Return the tracker with `count` more rows, which have no score yet."""
        no_score = self.score.new_full((count,), -torch.inf)
        return BestTickTracker(torch.cat((self.score, no_score)), torch.cat((self.tick, self.tick.new_zeros(count))))


def compute_answer_score(output: TickOutput, history: TickHistory) -> Float[Tensor, " A"]:
    """Return the mean certainty of every row; -inf at ticks before an answer counts."""
    score = output.certainty.mean(1)
    input_ticks = history.input_ticks
    return score if input_ticks is None else score.masked_fill(input_ticks >= history.ticks, -torch.inf)


@dataclass
class ActiveBatch:
    """Rows that run at the same time, each at its own tick.

    A finished row leaves a free slot in the state and in the encoded input.

    Attributes:
        rows: Input row indices of the unfinished rows, shape (A,).
        slots: Slot of each of these rows in the state and in the encoded input, ascending, shape (A,).
        num_slots: Number of slots, occupied or free.
        state: Model state of all slots.
        encoded: Encoded input of all slots.
        budget: The tick at which every row ends.
        idle_slot_ticks: Slot-ticks spent on free slots since the last compaction while no rows are admitted.
        history: Outputs so far of the unfinished rows; None before the first tick.
        best_ticks: Their best ticks so far; None before the first tick.
    """

    rows: Int[Tensor, " A"]
    slots: Int[Tensor, " A"]
    num_slots: int
    state: ModelState
    encoded: EncodedInput
    budget: int
    idle_slot_ticks: int = 0
    history: TickHistory | None = None
    best_ticks: BestTickTracker | None = None

    def record_tick(
        self, state: ModelState, output: TickOutput, policy: HaltingPolicy
    ) -> tuple[TickHistory, BestTickTracker]:
        """Store the state and the outputs of a tick, in place.

        Args:
            state: Model state after the tick.
            output: Outputs of the unfinished rows.
            policy: The halting policy that reads the history; it determines what is kept and for how long.

        Returns:
            The history and the best ticks of the unfinished rows.
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
        """Remove finished rows and free their slots, in place."""
        self._select_rows((~halt_mask).nonzero().squeeze(1))

    def admit(self, incoming: "ActiveBatch") -> None:
        """Insert new rows into free slots, in place.

        Overwrites the free slots of `self.state` and `self.encoded`. May only be called after the first tick.

        Args:
            incoming: Rows before their first tick, at most as many as there are free slots.
        """
        assert self.history and self.best_ticks, "no tick has run"
        count = len(incoming.rows)
        slots = self._get_free_mask().nonzero().squeeze(1)[:count]
        self.state = self.state.write_rows_(incoming.state, slots)
        self.encoded = self.encoded.write_rows_(incoming.encoded, slots)
        self.history = self.history.append_empty_rows(count)
        self.best_ticks = self.best_ticks.append_empty_rows(count)
        self.rows = torch.cat((self.rows, incoming.rows))
        self.slots = torch.cat((self.slots, slots))
        self._select_rows(self.slots.argsort())

    def compact(self) -> None:
        """Remove the free slots, in place, if they have cost as much as the compaction does.

        Reuses the memory of `self.encoded`.
        """
        self.idle_slot_ticks += self.num_slots - len(self.slots)
        if not self.idle_slot_ticks or self.idle_slot_ticks < COMPACTION_COST_TICKS * len(self.slots):
            return
        order = compute_compaction_order(self._get_free_mask())
        self._select_rows(torch.searchsorted(self.slots, order))
        self.slots = torch.arange(len(order), device=order.device)
        self.num_slots = len(order)
        self.idle_slot_ticks = 0
        assert self.history, "no tick has run"
        max_ticks = self.budget - int(self.history.ticks.min())
        self.state = self.state.select_rows(order, max_ticks)
        self.encoded = self.encoded.compact_rows_(order)

    def _get_free_mask(self) -> Bool[Tensor, " W"]:
        """Return the free slots, shape (W,)."""
        return torch.ones(self.num_slots, dtype=torch.bool, device=self.slots.device).index_fill_(0, self.slots, False)

    def _select_rows(self, indices: Int[Tensor, " R"]) -> None:
        """Keep only some of the unfinished rows, in place; their slots do not change."""
        assert self.history and self.best_ticks, "no tick has run"
        self.rows = self.rows[indices]
        self.slots = self.slots[indices]
        self.history = self.history.select_rows(indices)
        self.best_ticks = self.best_ticks.select_rows(indices)


def compute_compaction_order(free_mask: Bool[Tensor, " W"]) -> Int[Tensor, " A"]:
    """Return the occupied slots in their order after compaction.

    The last occupied slots move into the free ones, so that as few rows as possible are copied.

    Args:
        free_mask: Free slots, shape (W,).

    Returns:
        For each new slot the old slot of its row, shape (A,).
    """
    occupied = (~free_mask).nonzero().squeeze(1)
    order = torch.arange(len(occupied), device=free_mask.device)
    order[free_mask[: len(order)]] = occupied[occupied >= len(order)]
    return order

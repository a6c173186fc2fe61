"""Inference engine with continuous batching and early exit.

One loop yields ticks (`Engine.stream`); `Engine.run` consumes it, and so does the user interface. Rows that halt leave
the batch, so halting saves time.

A row that never halts is answered, when the tick budget is exhausted, with its most certain tick and not with the last
one: later ticks can be worse ("overthinking"). Nor with the tick of lowest energy, because the energy is low, too,
where more ticks would not help.

A small batch takes nearly as long as a somewhat larger one. If the input has more rows than there are slots, new rows
are therefore admitted into the slots of finished rows, and every row is at its own tick.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Literal, no_type_check

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ctm import TickModel, TickOutput
from ctm.models.base import ModelState
from inference.active_batch import ActiveBatch
from inference.halting.policies import HaltingPolicy
from inference.tick_history import TickHistory

HaltMasks = list[tuple[str, Bool[Tensor, " A"]]]  # names of policies, and the rows that each halts
OutputLog = list[tuple[Int[Tensor, " _"], Int[Tensor, " _"], TickOutput]]  # rows, their tick indices, their outputs

BUDGET = "budget"
MAX_BATCH_SLOTS = 256
# Minimum fraction of free slots before new rows are admitted: each admission runs the encoder once.
ADMIT_MIN_FREE_FRACTION = 1 / 8


@dataclass(frozen=True)
class TickEvent:
    """One tick of the running batch. Axis: A unfinished rows.

    Attributes:
        rows: Input row indices, shape (A,).
        tick_index: Tick of each row, from 1, shape (A,).
        output: Outputs of these rows.
        state: Model state of all slots, free ones included. Its memory may be reused by rows admitted before the next
            tick.
        slots: Slot of each row in the state, shape (A,).
        halt_mask: Rows that end at this tick, shape (A,).
        halt_reasons: For each row that ends: the policy that halted it, or "budget".
        best_tick: For each row the tick so far, from 1, that would answer if no policy fired, shape (A,).
        attention_map_shape: Shape of the positions that attention covers.
        budget: The tick at which every row ends.
    """

    rows: Int[Tensor, " A"]
    tick_index: Int[Tensor, " A"]
    output: TickOutput
    state: ModelState
    slots: Int[Tensor, " A"]
    halt_mask: Bool[Tensor, " A"]
    halt_reasons: list[str]
    best_tick: Int[Tensor, " A"]
    attention_map_shape: tuple[int, ...]
    budget: int


@dataclass(frozen=True)
class EngineResult:
    """Answers and halting decisions of all B input rows.

    Attributes:
        answer: Logits at the answer tick, shape (B, K).
        certainty: Certainty of every position, shape (B, P).
        energy: Energy, shape (B,); None without an energy head.
        ticks: Ticks run, shape (B,).
        answer_tick: Tick whose answer was taken, from 1, shape (B,); differs from `ticks` if the budget was exhausted.
        halted_by: For each row the policy that halted it, or "budget".
    """

    answer: Float[Tensor, "B K"]
    certainty: Float[Tensor, "B P"]
    energy: Float[Tensor, " B"] | None
    ticks: Int[Tensor, " B"]
    answer_tick: Int[Tensor, " B"]
    halted_by: list[str]

    def select_row(self, index: int) -> "EngineResult":
        """Return the result of one row, as a batch of one."""
        row = slice(index, index + 1)
        energy = None if self.energy is None else self.energy[row]
        return EngineResult(
            self.answer[row], self.certainty[row], energy, self.ticks[row], self.answer_tick[row], self.halted_by[row]
        )


@dataclass(frozen=True)
class Engine:
    """Model and the halting policy that ends its unroll.

    Args:
        model: The model, in eval mode.
        policy: The halting policy.
        fallback: Which tick answers when the budget is exhausted: "best" is the most certain one. CTC answers always
            use the last tick under policies such as `said=10`.
        max_batch_slots: Maximum number of rows that run at the same time; an input may have more.
        silenced_neurons: Neurons whose activation is held at 0, to see what they contribute.

    Raises:
        ValueError: `max_batch_slots` is below 1, or the policy needs an energy head and the model has none.
    """

    model: TickModel
    policy: HaltingPolicy
    fallback: Literal["best", "last"] = "best"
    max_batch_slots: int = MAX_BATCH_SLOTS
    silenced_neurons: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.max_batch_slots < 1:
            raise ValueError(f"max_batch_slots must be at least 1: got {self.max_batch_slots}.")
        if self.policy.needs_energy and not self.model.config.energy_head_enabled:
            raise ValueError(f"The policy {self.policy} needs an energy head, and this checkpoint has none.")

    @no_type_check  # the wrapper of the type checker would hide from inference_mode that this is a generator
    @torch.inference_mode()
    def stream(self, inputs: Tensor, cancelled_rows: Collection[int] = ()) -> Iterator[TickEvent]:
        """Yield every tick until all rows have halted.

        Args:
            inputs: Inputs, rows first.
            cancelled_rows: Rows that leave the batch without an answer. The caller may add rows between two ticks.

        Yields:
            One event per tick of the running batch.
        """
        num_encoded = 0
        while num_encoded < len(inputs):
            batch = self._encode_next(inputs, num_encoded, self.max_batch_slots)
            num_encoded += len(batch.rows)
            while True:
                yield (tick := self._run_tick(batch))
                ended = mask_ended_rows(tick, cancelled_rows)
                if ended is not None:
                    batch.retire(ended)
                    if not len(batch.rows):
                        break
                num_free = self.max_batch_slots - len(batch.rows)
                if num_encoded == len(inputs) or not batch.encoded.supports_row_insertion:
                    batch.compact()
                elif num_free >= self.max_batch_slots * ADMIT_MIN_FREE_FRACTION:
                    batch.admit(incoming := self._encode_next(inputs, num_encoded, num_free))
                    num_encoded += len(incoming.rows)

    def _encode_next(self, inputs: Tensor, start: int, max_rows: int) -> ActiveBatch:
        """Encode the next rows of the input, at most `max_rows`."""
        encoded = self.model.encode(inputs[start : start + max_rows])
        if self.silenced_neurons:
            encoded = self.model.silence_neurons(encoded, self.silenced_neurons)
        slots = torch.arange(encoded.batch_size, device=inputs.device)
        state = self.model.initial_state(encoded, encoded.ticks)
        return ActiveBatch(slots + start, slots, encoded.batch_size, state, encoded, encoded.ticks)

    def _run_tick(self, batch: ActiveBatch) -> TickEvent:
        """Run one tick of all slots and evaluate the halting policy."""
        state, output = self.model.tick(batch.state, batch.encoded)
        if len(batch.slots) < batch.num_slots:
            output = select_output_rows(output, batch.slots)
        history, best = batch.record_tick(state, output, self.policy)
        halt_mask, halt_masks = self._check_halting(history, batch.budget)
        halt_reasons = get_halt_reasons(halt_mask, halt_masks) if bool(halt_mask.any()) else []
        return TickEvent(
            batch.rows,
            history.ticks,
            output,
            state,
            batch.slots,
            halt_mask,
            halt_reasons,
            best.tick,
            batch.encoded.attention_map_shape,
            batch.budget,
        )

    def _check_halting(self, history: TickHistory, budget: int) -> tuple[Bool[Tensor, " A"], HaltMasks]:
        """Return the rows that end at this tick, and for each policy the rows that it halts."""
        halt_mask = history.ticks >= budget
        halt_masks = [(name, history.mask_ready(rows)) for name, rows in self.policy.compute_halt_masks(history)]
        for _, rows in halt_masks:
            halt_mask = halt_mask | rows
        return halt_mask, halt_masks

    @torch.inference_mode()
    def run(self, inputs: Tensor, on_tick: Callable[[TickEvent], None] | None = None) -> EngineResult:
        """Run a batch until every row has halted.

        Args:
            inputs: Inputs, rows first.
            on_tick: Called with every tick.

        Returns:
            Answers and halting decisions, in the order of the input.

        Raises:
            ValueError: The batch has no rows.
        """
        if not len(inputs):
            raise ValueError("The batch has no rows.")
        collector = ResultCollector(self, len(inputs), inputs.device)
        for tick in self.stream(inputs):
            if on_tick is not None:
                on_tick(tick)
            collector.add(tick)
        return collector.build_result()

    def select_answer_tick(self, tick: TickEvent, indices: Int[Tensor, " R"]) -> Int[Tensor, " R"]:
        """Return the answer ticks of rows that end at a tick.

        Args:
            tick: The tick.
            indices: Indices of the rows among the unfinished ones.
        """
        current_tick = tick.tick_index[indices]
        if self.fallback == "last" or self.policy.answers_at_end or BUDGET not in tick.halt_reasons:
            return current_tick
        is_exhausted = torch.tensor([reason == BUDGET for reason in tick.halt_reasons], device=indices.device)
        return torch.where(is_exhausted, tick.best_tick[indices], current_tick)


class ResultCollector:
    """Collects the ticks of `Engine.stream` into the result of the run.

    Args:
        engine: The engine that streams.
        num_rows: Number of input rows B.
        device: Device of the inputs.
    """

    def __init__(self, engine: Engine, num_rows: int, device: torch.device) -> None:
        self.engine = engine
        self._log: OutputLog = []
        self._ticks = torch.zeros(num_rows, dtype=torch.long, device=device)
        self._answer_tick = self._ticks.clone()
        self._halted_by = [BUDGET] * num_rows

    def add(self, tick: TickEvent) -> None:
        """Add the next tick."""
        self._log.append((tick.rows, tick.tick_index, tick.output))
        if not tick.halt_reasons:
            return
        indices = tick.halt_mask.nonzero().squeeze(1)
        rows = tick.rows[indices]
        self._ticks[rows] = tick.tick_index[indices]
        self._answer_tick[rows] = self.engine.select_answer_tick(tick, indices)
        for row, reason in zip(rows.tolist(), tick.halt_reasons, strict=True):
            self._halted_by[row] = reason

    def build_result(self) -> EngineResult:
        """Return answers and halting decisions, in the order of the input, once all rows have halted.

        The values of a cancelled row have no meaning; its `ticks` are 0.
        """
        output = gather_answers(self._log, self._answer_tick)
        return EngineResult(
            output.answer, output.certainty, output.energy, self._ticks, self._answer_tick, self._halted_by
        )


def mask_ended_rows(tick: TickEvent, cancelled_rows: Collection[int]) -> Bool[Tensor, " A"] | None:
    """Return the rows that leave the batch after a tick, because they halt or are cancelled; None if there are none."""
    if not cancelled_rows:
        return tick.halt_mask if tick.halt_reasons else None
    ended = tick.halt_mask | torch.isin(tick.rows, torch.tensor(sorted(cancelled_rows), device=tick.rows.device))
    return ended if bool(ended.any()) else None


def get_halt_reasons(halt_mask: Bool[Tensor, " A"], halt_masks: HaltMasks) -> list[str]:
    """Return for each row that ends the first policy that halts it, or the budget."""
    indices = halt_mask.nonzero().squeeze(1)
    reasons = [BUDGET] * len(indices)
    for name, rows in reversed(halt_masks):  # backwards: the first policy is written last
        reasons = [name if fires else reason for fires, reason in zip(rows[indices].tolist(), reasons, strict=True)]
    return reasons


def gather_answers(log: OutputLog, answer_tick: Int[Tensor, " B"]) -> TickOutput:
    """Collect the outputs of every row at its answer tick.

    Args:
        log: Rows, their tick indices and their outputs, one entry per tick of the running batch.
        answer_tick: Answer tick of every input row, from 1, shape (B,).
    """
    _, _, first = log[0]
    count = len(answer_tick)
    answer = first.answer.new_empty(count, first.answer.size(1))
    certainty = first.certainty.new_empty(count, first.certainty.size(1))
    energy = None if first.energy is None else first.energy.new_empty(count)
    for rows, tick_index, output in log:
        indices = (answer_tick[rows] == tick_index).nonzero().squeeze(1)
        if not len(indices):
            continue
        target_rows = rows[indices]
        answer[target_rows] = output.answer[indices]
        certainty[target_rows] = output.certainty[indices]
        if energy is not None and output.energy is not None:
            energy[target_rows] = output.energy[indices]
    return TickOutput(answer, certainty, energy)


def select_output_rows(output: TickOutput, slots: Int[Tensor, " A"]) -> TickOutput:
    """Return the outputs of some slots."""
    energy = None if output.energy is None else output.energy.index_select(0, slots)
    return TickOutput(output.answer.index_select(0, slots), output.certainty.index_select(0, slots), energy)

"""Thinking that stops: one loop that streams ticks; rows that halt leave the batch, so that halting saves time.

`run` consumes `stream`, and so does the screen. A row that never halts gets, when the budget runs out, the answer of the most
certain tick it visited, not that of the last: over-thinking is real. (Nor that of the lowest energy, which is low, too, where
there is nothing to hope for.)

Few rows take nearly as long as some more. So where there are more rows than seats, newcomers take the seats of those who are
done, and every row has a tick of its own.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, no_type_check

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ctm import TickModel, TickOutput
from inference.active_batch import ActiveBatch
from inference.halting.policies import HaltingPolicy
from inference.tick_history import TickHistory

HaltMasks = list[tuple[str, Bool[Tensor, " A"]]]  # rules by their names, and the rows that each would end
OutputLog = list[
    tuple[Int[Tensor, " _"], Int[Tensor, " _"], TickOutput]
]  # which rows, at which of their ticks, and what

BUDGET = "budget"
MAX_BATCH_SLOTS = 256
ADMIT_MIN_FREE_FRACTION = (
    1 / 8
)  # of the seats are empty before newcomers come in: each time costs a look at their inputs


@dataclass(frozen=True)
class TickEvent:
    """One tick of rows that think together, each at a tick of its own. Rows are numbered as in the input; only rows that were
    still thinking are told, but the state has those of empty seats, too."""

    rows: Int[Tensor, " A"]
    tick_index: Int[Tensor, " A"]  # which tick it is for these rows, from 1
    output: TickOutput  # of these rows
    state: Any  # of all seats; newcomers may take its memory before the next tick
    slots: Int[Tensor, " A"]  # where these rows are in the state
    halt_mask: Bool[Tensor, " A"]  # which of these rows end here
    halt_reasons: list[str]  # for each row that ends here: the rule that ended it, or "budget"
    best_tick: Int[Tensor, " A"]  # the tick so far, from 1, that would answer for these rows if no rule fired
    attention_map_shape: tuple[int, ...]  # shape of the map that attention looks at
    budget: int  # the tick at which every row ends


@dataclass(frozen=True)
class EngineResult:
    """What was decided about every input row."""

    answer: Float[Tensor, "B K"]  # logits
    certainty: Float[Tensor, "B P"]
    energy: Float[Tensor, " B"] | None
    ticks: Int[Tensor, " B"]  # ticks spent
    answer_tick: Int[Tensor, " B"]  # the tick whose answer was taken; differs from `ticks` when the budget ran out
    halted_by: list[str]

    def select_row(self, index: int) -> "EngineResult":
        """What was decided about one of the rows, as a batch of one."""
        at = slice(index, index + 1)
        energy = None if self.energy is None else self.energy[at]
        return EngineResult(
            self.answer[at], self.certainty[at], energy, self.ticks[at], self.answer_tick[at], self.halted_by[at]
        )


@dataclass(frozen=True)
class Engine:
    """A machine and the rule that ends its thoughts.

    Args:
        machine: in eval mode.
        policy: when to stop.
        min_ticks: no thought ends earlier.
        max_ticks: every thought ends here; the ticks that the input takes, mostly the config's `iterations`, when not given.
        fallback: which visited tick answers when the budget runs out; "best" is the most certain one. Of an answer that is said
            over the ticks it must be the last one, as it is without asking under rules such as `said=10`.
        seats: most rows that think at once; an input may have more.
    """

    model: TickModel
    policy: HaltingPolicy
    min_ticks: int = 1
    max_ticks: int | None = None
    fallback: Literal["best", "last"] = "best"
    max_batch_slots: int = MAX_BATCH_SLOTS

    def __post_init__(self):
        most = self.model.config.iterations if self.max_ticks is None else self.max_ticks
        if not 1 <= self.min_ticks <= most:
            raise ValueError(
                f"min_ticks must lie between 1 and max_ticks: got min_ticks={self.min_ticks}, max_ticks={most}."
            )
        if self.max_batch_slots < 1:
            raise ValueError(f"seats must be at least 1: got {self.max_batch_slots}.")
        if self.policy.needs_energy and not self.model.config.energy_head_enabled:
            raise ValueError(f"The policy {self.policy} needs an energy head, and this checkpoint has none.")

    @no_type_check  # wrapped for checking, it would no longer be a generator to inference_mode
    @torch.inference_mode()
    def stream(self, inputs: Tensor) -> Iterator[TickEvent]:
        """Think tick by tick until every row has halted."""
        came = 0
        while came < len(inputs):
            group = self._encode_next(inputs, came, self.max_batch_slots)
            came += len(group.rows)
            while True:
                yield (tick := self._run_tick(group))
                if tick.halt_reasons:
                    group.retire(tick.halt_mask)
                    if not len(group.rows):
                        break
                empty = self.max_batch_slots - len(group.rows)
                if came == len(inputs) or not group.encoded.supports_row_insertion:
                    group.compact()
                elif empty >= self.max_batch_slots * ADMIT_MIN_FREE_FRACTION:
                    group.admit(newcomers := self._encode_next(inputs, came, empty))
                    came += len(newcomers.rows)

    def _encode_next(self, inputs: Tensor, start: int, max_rows: int) -> ActiveBatch:
        """Those who come next, at most so many."""
        features = self.model.encode(inputs[start : start + max_rows])
        budget = features.ticks if self.max_ticks is None else self.max_ticks
        taken = torch.arange(features.batch_size, device=inputs.device)
        return ActiveBatch(
            taken + start, taken, features.batch_size, self.model.initial_state(features, budget), features, budget
        )

    def _run_tick(self, batch: ActiveBatch) -> TickEvent:
        state, output = self.model.tick(batch.state, batch.encoded)
        if len(batch.slots) < batch.num_slots:
            output = select_output_rows(output, batch.slots)
        history, best = batch.record_tick(state, output, self.policy)
        halted, fired = self._check_halting(history, batch.budget)
        causes = get_halt_reasons(halted, fired) if bool(halted.any()) else []
        return TickEvent(
            batch.rows,
            history.ticks,
            output,
            state,
            batch.slots,
            halted,
            causes,
            best.tick,
            batch.encoded.attention_map_shape,
            batch.budget,
        )

    def _check_halting(self, history: TickHistory, budget: int) -> tuple[Bool[Tensor, " A"], HaltMasks]:
        """Which rows end at this tick, and which of them each rule ends."""
        ended = history.ticks >= budget
        fired = [(name, history.mask_ready(rows)) for name, rows in self.policy.compute_halt_masks(history)]
        if self.min_ticks > 1:
            fired = [(name, rows & (history.ticks >= self.min_ticks)) for name, rows in fired]
        for _, rows in fired:
            ended = ended | rows
        return ended, fired

    @torch.inference_mode()
    def run(self, inputs: Tensor, on_tick: Callable[[TickEvent], None] | None = None) -> EngineResult:
        """Think about a batch; `watch` sees every tick.

        Raises:
            ValueError: there are no rows.
        """
        if not len(inputs):
            raise ValueError("There is nothing to think about: the batch has no rows.")
        said: OutputLog = []
        ticks = torch.zeros(len(inputs), dtype=torch.long, device=inputs.device)
        answer_tick, halted_by = ticks.clone(), [BUDGET] * len(inputs)
        for tick in self.stream(inputs):
            if on_tick is not None:
                on_tick(tick)
            said.append((tick.rows, tick.tick_index, tick.output))
            if not tick.halt_reasons:
                continue
            ended = tick.halt_mask.nonzero().squeeze(1)
            rows = tick.rows[ended]
            ticks[rows] = tick.tick_index[ended]
            answer_tick[rows] = self._select_answer_tick(tick, ended)
            for row, cause in zip(rows.tolist(), tick.halt_reasons, strict=True):
                halted_by[row] = cause
        output = gather_answers(said, answer_tick)
        return EngineResult(output.answer, output.certainty, output.energy, ticks, answer_tick, halted_by)

    def _select_answer_tick(self, tick: TickEvent, indices: Int[Tensor, " R"]) -> Int[Tensor, " R"]:
        """The ticks that answer for rows that end at this one."""
        now = tick.tick_index[indices]
        if self.fallback == "last" or self.policy.answers_at_end or BUDGET not in tick.halt_reasons:
            return now
        spent = torch.tensor([cause == BUDGET for cause in tick.halt_reasons], device=indices.device)
        return torch.where(spent, tick.best_tick[indices], now)


def get_halt_reasons(halt_mask: Bool[Tensor, " A"], halt_masks: HaltMasks) -> list[str]:
    """For each row that ends here: the first rule that fires, or the budget."""
    ended = halt_mask.nonzero().squeeze(1)
    names = [BUDGET] * len(ended)
    for name, rows in reversed(halt_masks):
        fires = zip(rows[ended].tolist(), names, strict=True)
        names = [name if hit else before for hit, before in fires]
    return names


def gather_answers(log: OutputLog, answer_tick: Int[Tensor, " B"]) -> TickOutput:
    """What every row said at its own tick, from what those that were still thinking said at every tick."""
    (*_, first), count = log[0], len(answer_tick)
    answer, certainty = (values.new_empty(count, values.size(1)) for values in (first.answer, first.certainty))
    energy = None if first.energy is None else first.energy.new_empty(count)
    for rows, numbers, output in log:
        here = (answer_tick[rows] == numbers).nonzero().squeeze(1)
        if not len(here):
            continue
        whose = rows[here]
        answer[whose], certainty[whose] = output.answer[here], output.certainty[here]
        if energy is not None and output.energy is not None:
            energy[whose] = output.energy[here]
    return TickOutput(answer, certainty, energy)


def select_output_rows(output: TickOutput, slots: Int[Tensor, " A"]) -> TickOutput:
    energy = None if output.energy is None else output.energy.index_select(0, slots)
    return TickOutput(output.answer.index_select(0, slots), output.certainty.index_select(0, slots), energy)

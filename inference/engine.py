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

from ctm import Output, Thinker
from inference.active_batch import Group
from inference.halting.policies import Policy
from inference.tick_history import History

Fired = list[tuple[str, Bool[Tensor, " A"]]]  # rules by their names, and the rows that each would end
Said = list[tuple[Int[Tensor, " _"], Int[Tensor, " _"], Output]]  # which rows, at which of their ticks, and what

BUDGET = "budget"
SEATS = 256
ENOUGH = 1 / 8  # of the seats are empty before newcomers come in: each time costs a look at their inputs


@dataclass(frozen=True)
class Tick:
    """One tick of rows that think together, each at a tick of its own. Rows are numbered as in the input; only rows that were
    still thinking are told, but the state has those of empty seats, too."""

    rows: Int[Tensor, " A"]
    numbers: Int[Tensor, " A"]  # which tick it is for these rows, from 1
    output: Output  # of these rows
    state: Any  # of all seats; newcomers may take its memory before the next tick
    seats: Int[Tensor, " A"]  # where these rows are in the state
    halted: Bool[Tensor, " A"]  # which of these rows end here
    causes: list[str]  # for each row that ends here: the rule that ended it, or "budget"
    best_tick: Int[Tensor, " A"]  # the tick so far, from 1, that would answer for these rows if no rule fired
    places: tuple[int, ...]  # shape of the map that attention looks at
    budget: int  # the tick at which every row ends


@dataclass(frozen=True)
class Verdict:
    """What was decided about every input row."""

    answer: Float[Tensor, "B K"]  # logits
    certainty: Float[Tensor, "B P"]
    energy: Float[Tensor, " B"] | None
    ticks: Int[Tensor, " B"]  # ticks spent
    answer_tick: Int[Tensor, " B"]  # the tick whose answer was taken; differs from `ticks` when the budget ran out
    halted_by: list[str]

    def row(self, index: int) -> "Verdict":
        """What was decided about one of the rows, as a batch of one."""
        at = slice(index, index + 1)
        energy = None if self.energy is None else self.energy[at]
        return Verdict(
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

    machine: Thinker
    policy: Policy
    min_ticks: int = 1
    max_ticks: int | None = None
    fallback: Literal["best", "last"] = "best"
    seats: int = SEATS

    def __post_init__(self):
        most = self.machine.config.iterations if self.max_ticks is None else self.max_ticks
        if not 1 <= self.min_ticks <= most:
            raise ValueError(
                f"min_ticks must lie between 1 and max_ticks: got min_ticks={self.min_ticks}, max_ticks={most}."
            )
        if self.seats < 1:
            raise ValueError(f"seats must be at least 1: got {self.seats}.")
        if self.policy.needs_energy and not self.machine.config.energy_head_enabled:
            raise ValueError(f"The policy {self.policy} needs an energy head, and this checkpoint has none.")

    @no_type_check  # wrapped for checking, it would no longer be a generator to inference_mode
    @torch.inference_mode()
    def stream(self, inputs: Tensor) -> Iterator[Tick]:
        """Think tick by tick until every row has halted."""
        came = 0
        while came < len(inputs):
            group = self._come(inputs, came, self.seats)
            came += len(group.rows)
            while True:
                yield (tick := self._tick(group))
                if tick.causes:
                    group.leave(tick.halted)
                    if not len(group.rows):
                        break
                empty = self.seats - len(group.rows)
                if came == len(inputs) or not group.features.has_seats:
                    group.close_up()
                elif empty >= self.seats * ENOUGH:
                    group.welcome(newcomers := self._come(inputs, came, empty))
                    came += len(newcomers.rows)

    def _come(self, inputs: Tensor, start: int, seats: int) -> Group:
        """Those who come next, at most so many."""
        features = self.machine.encode(inputs[start : start + seats])
        budget = features.ticks if self.max_ticks is None else self.max_ticks
        taken = torch.arange(features.batch, device=inputs.device)
        return Group(taken + start, taken, features.batch, self.machine.begin(features, budget), features, budget)

    def _tick(self, group: Group) -> Tick:
        state, output = self.machine.tick(group.state, group.features)
        if len(group.seats) < group.width:
            output = taken(output, group.seats)
        history, best = group.hear(state, output, self.policy)
        halted, fired = self._judge(history, group.budget)
        causes = causes_of(halted, fired) if bool(halted.any()) else []
        return Tick(
            group.rows,
            history.ticks,
            output,
            state,
            group.seats,
            halted,
            causes,
            best.tick,
            group.features.places,
            group.budget,
        )

    def _judge(self, history: History, budget: int) -> tuple[Bool[Tensor, " A"], Fired]:
        """Which rows end at this tick, and which of them each rule ends."""
        ended = history.ticks >= budget
        fired = [(name, history.allows(rows)) for name, rows in self.policy.causes(history)]
        if self.min_ticks > 1:
            fired = [(name, rows & (history.ticks >= self.min_ticks)) for name, rows in fired]
        for _, rows in fired:
            ended = ended | rows
        return ended, fired

    @torch.inference_mode()
    def run(self, inputs: Tensor, watch: Callable[[Tick], None] | None = None) -> Verdict:
        """Think about a batch; `watch` sees every tick.

        Raises:
            ValueError: there are no rows.
        """
        if not len(inputs):
            raise ValueError("There is nothing to think about: the batch has no rows.")
        said: Said = []
        ticks = torch.zeros(len(inputs), dtype=torch.long, device=inputs.device)
        answer_tick, halted_by = ticks.clone(), [BUDGET] * len(inputs)
        for tick in self.stream(inputs):
            if watch is not None:
                watch(tick)
            said.append((tick.rows, tick.numbers, tick.output))
            if not tick.causes:
                continue
            ended = tick.halted.nonzero().squeeze(1)
            rows = tick.rows[ended]
            ticks[rows] = tick.numbers[ended]
            answer_tick[rows] = self._answering(tick, ended)
            for row, cause in zip(rows.tolist(), tick.causes, strict=True):
                halted_by[row] = cause
        output = taken_at(said, answer_tick)
        return Verdict(output.answer, output.certainty, output.energy, ticks, answer_tick, halted_by)

    def _answering(self, tick: Tick, ended: Int[Tensor, " R"]) -> Int[Tensor, " R"]:
        """The ticks that answer for rows that end at this one."""
        now = tick.numbers[ended]
        if self.fallback == "last" or self.policy.says or BUDGET not in tick.causes:
            return now
        spent = torch.tensor([cause == BUDGET for cause in tick.causes], device=ended.device)
        return torch.where(spent, tick.best_tick[ended], now)


def causes_of(halted: Bool[Tensor, " A"], fired: Fired) -> list[str]:
    """For each row that ends here: the first rule that fires, or the budget."""
    ended = halted.nonzero().squeeze(1)
    names = [BUDGET] * len(ended)
    for name, rows in reversed(fired):
        fires = zip(rows[ended].tolist(), names, strict=True)
        names = [name if hit else before for hit, before in fires]
    return names


def taken_at(said: Said, answer_tick: Int[Tensor, " B"]) -> Output:
    """What every row said at its own tick, from what those that were still thinking said at every tick."""
    (*_, first), count = said[0], len(answer_tick)
    answer, certainty = (values.new_empty(count, values.size(1)) for values in (first.answer, first.certainty))
    energy = None if first.energy is None else first.energy.new_empty(count)
    for rows, numbers, output in said:
        here = (answer_tick[rows] == numbers).nonzero().squeeze(1)
        if not len(here):
            continue
        whose = rows[here]
        answer[whose], certainty[whose] = output.answer[here], output.certainty[here]
        if energy is not None and output.energy is not None:
            energy[whose] = output.energy[here]
    return Output(answer, certainty, energy)


def taken(output: Output, seats: Int[Tensor, " A"]) -> Output:
    energy = None if output.energy is None else output.energy.index_select(0, seats)
    return Output(output.answer.index_select(0, seats), output.certainty.index_select(0, seats), energy)

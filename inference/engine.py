"""Thinking that stops: one loop that streams ticks; rows that halt leave the batch, so that halting saves time.

`run` consumes `stream`, and so does the screen. A row that never halts gets, when the budget runs out, the answer of the tick
with the lowest energy it visited (without an energy head: of the most certain one), not the last: over-thinking is real.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, no_type_check

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ctm import ContinuousThoughtMachine, Features, Output, State
from inference.history import History, first
from inference.policies import Policy

BUDGET = "budget"
CROWDED = 0.5  # halted rows are carried along until fewer than this share still thinks: moving rows costs time too


@dataclass(frozen=True)
class Tick:
    """One tick of a stream. Rows are numbered as in the input; only rows that were still thinking are told."""

    number: int  # from 1
    rows: Int[Tensor, " A"]
    output: Output  # of these rows
    halted: Bool[Tensor, " A"]  # which of these rows end here
    causes: list[str]  # for each row that ends here: the rule that ended it, or "budget"
    carried: State  # of these rows and of halted ones that have not left yet
    scene: Features  # likewise
    here: Int[Tensor, " A"] | None  # where these rows are among the carried; None where they are all

    @cached_property
    def state(self) -> State:
        """The state of these rows; copied only when asked for."""
        return self.carried if self.here is None else self.carried.take(self.here, 0)


@dataclass(frozen=True)
class Verdict:
    """What was decided about every input row."""

    answer: Float[Tensor, "B K"]  # logits
    certainty: Float[Tensor, "B P"]
    energy: Float[Tensor, " B"] | None
    ticks: Int[Tensor, " B"]  # ticks spent
    answer_tick: Int[Tensor, " B"]  # the tick whose answer was taken; differs from `ticks` when the budget ran out
    halted_by: list[str]


@dataclass(frozen=True)
class Engine:
    """A machine and the rule that ends its thoughts.

    Args:
        machine: in eval mode.
        policy: when to stop.
        min_ticks: no thought ends earlier.
        max_ticks: every thought ends here; the config's `iterations` when not given.
        fallback: which visited tick answers when the budget runs out; "best" is the lowest energy, or without an energy
            head the highest certainty.
    """

    machine: ContinuousThoughtMachine
    policy: Policy
    min_ticks: int = 1
    max_ticks: int | None = None
    fallback: Literal["best", "last"] = "best"

    def __post_init__(self):
        if not 1 <= self.min_ticks <= self.budget:
            raise ValueError(
                f"min_ticks must lie between 1 and max_ticks: got min_ticks={self.min_ticks}, max_ticks={self.budget}."
            )
        if self.policy.needs_energy and not self.machine.config.energy_head_enabled:
            raise ValueError(f"The policy {self.policy} needs an energy head, and this checkpoint has none.")

    @property
    def budget(self) -> int:
        return self.machine.config.iterations if self.max_ticks is None else self.max_ticks

    @no_type_check  # wrapped for checking, it would no longer be a generator to inference_mode
    @torch.inference_mode()
    def stream(self, inputs: Tensor) -> Iterator[Tick]:
        """Think tick by tick until every row has halted."""
        machine = self.machine
        features = machine.encode(inputs)
        state = machine.begin(features, self.budget)
        rows = torch.arange(len(inputs), device=inputs.device)
        thinking = torch.ones_like(rows, dtype=torch.bool)
        history = None
        for number in range(1, self.budget + 1):
            state, output = machine.tick(state, features)
            history = first(output) if history is None else history.add(output)
            halted, causes = self._judge(history, number)
            here = thinking.nonzero().squeeze(1)
            whole = len(here) == len(rows)
            yield Tick(
                number,
                rows if whole else rows[here],
                output if whole else take(output, here),
                halted[here],
                [causes[row] for row in here[halted[here]].tolist()],
                state,
                features,
                None if whole else here,
            )
            thinking = thinking & ~halted
            left = int(thinking.sum())
            if not left:
                return
            if left < CROWDED * len(rows):
                here = thinking.nonzero().squeeze(1)
                rows, history, features = rows[here], history.take(here), features.take(here)
                state, thinking = state.take(here, self.budget - number), thinking[here]

    def _judge(self, history: History, number: int) -> tuple[Bool[Tensor, " A"], list[str]]:
        """Which rows end at this tick, and for each row the rule that would be named."""
        count = len(history.certainty)
        reasons = [BUDGET] * count
        halted = torch.zeros(count, dtype=torch.bool, device=history.certainty.device)
        if number >= self.min_ticks:
            for name, rows in reversed(self.policy.causes(history)):  # the first rule that fires is named
                for row in rows.nonzero().squeeze(1).tolist():
                    reasons[row] = name
                halted = halted | rows
        return halted | (number == self.budget), reasons

    def run(self, inputs: Tensor, watch: Callable[[Tick], None] | None = None) -> Verdict:
        """Think about a batch; `watch` sees every tick."""
        best: _Best | None = None
        ticks = torch.zeros(len(inputs), dtype=torch.long, device=inputs.device)
        halted_by = [BUDGET] * len(inputs)
        for tick in self.stream(inputs):
            if watch is not None:
                watch(tick)
            best = _Best.of(tick) if best is None else best
            best.consider(tick, always=self.fallback == "last")
            ended = tick.rows[tick.halted]
            ticks[ended] = tick.number
            for row, cause in zip(ended.tolist(), tick.causes, strict=True):
                halted_by[row] = cause
        assert best is not None, "a stream has at least one tick"
        return Verdict(best.answer, best.certainty, best.energy, ticks, best.tick, halted_by)


@dataclass
class _Best:
    """For every row the tick whose answer will be taken: where a rule ended it, else the best visited."""

    answer: Float[Tensor, "B K"]
    certainty: Float[Tensor, "B P"]
    energy: Float[Tensor, " B"] | None
    tick: Int[Tensor, " B"]
    score: Float[Tensor, " B"]

    @classmethod
    def of(cls, first_tick: Tick) -> "_Best":
        output = first_tick.output
        energy = None if output.energy is None else output.energy.clone()
        score = torch.full_like(first_tick.rows, float("-inf"), dtype=output.certainty.dtype)
        return cls(output.answer.clone(), output.certainty.clone(), energy, torch.ones_like(first_tick.rows), score)

    def consider(self, tick: Tick, always: bool) -> None:
        output, rows = tick.output, tick.rows
        score = output.certainty.mean(1) if output.energy is None else -output.energy
        by_rule = torch.zeros_like(tick.halted)
        by_rule[tick.halted] = torch.tensor(
            [cause != BUDGET for cause in tick.causes], dtype=torch.bool, device=rows.device
        )
        better = (score > self.score[rows]) | by_rule | always
        chosen = rows[better]
        self.score[chosen], self.tick[chosen] = score[better], tick.number
        self.answer[chosen], self.certainty[chosen] = output.answer[better], output.certainty[better]
        if self.energy is not None and output.energy is not None:
            self.energy[chosen] = output.energy[better]


def take(output: Output, rows: Int[Tensor, " R"]) -> Output:
    energy = None if output.energy is None else output.energy[rows]
    return Output(output.answer[rows], output.certainty[rows], energy)

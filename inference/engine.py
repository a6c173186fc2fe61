"""Thinking that stops: one loop that streams ticks; rows that halt leave the batch, so that halting saves time.

Whoever leaves leaves an empty seat, which costs its share of every tick until the others close up; closing up costs time, too.
So they do it once the empty seats have cost about as much as closing up will: without knowing when the others will leave, no
way of waiting is sure to lose less against one that does (the ski-rental problem).

`run` consumes `stream`, and so does the screen. A row that never halts gets, when the budget runs out, the answer of the most
certain tick it visited, not that of the last: over-thinking is real. (Nor that of the lowest energy, which is low, too, where
there is nothing to hope for.)
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, no_type_check

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ctm import Output, Thinker
from inference.history import History, first
from inference.policies import Policy

Fired = list[tuple[str, Bool[Tensor, " A"]]]  # rules by their names, and the rows that each would end
Said = list[tuple[Int[Tensor, " _"], Output]]  # of every tick: whose rows said what

BUDGET = "budget"
CLOSING_UP = 0.5  # what it costs, in ticks of the rows that do it; measured on batches of 256


@dataclass(frozen=True)
class Tick:
    """One tick of a stream. Rows are numbered as in the input; only rows that were still thinking are told, but the state has
    those of empty seats, too."""

    number: int  # from 1
    rows: Int[Tensor, " A"]
    output: Output  # of these rows
    state: Any  # of all seats
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
        fallback: which visited tick answers when the budget runs out; "best" is the most certain one, but the last one for
            answers that are said over the ticks.
    """

    machine: Thinker
    policy: Policy
    min_ticks: int = 1
    max_ticks: int | None = None
    fallback: Literal["best", "last"] = "best"

    def __post_init__(self):
        most = self.machine.config.iterations if self.max_ticks is None else self.max_ticks
        if not 1 <= self.min_ticks <= most:
            raise ValueError(
                f"min_ticks must lie between 1 and max_ticks: got min_ticks={self.min_ticks}, max_ticks={most}."
            )
        if self.policy.needs_energy and not self.machine.config.energy_head_enabled:
            raise ValueError(f"The policy {self.policy} needs an energy head, and this checkpoint has none.")

    @no_type_check  # wrapped for checking, it would no longer be a generator to inference_mode
    @torch.inference_mode()
    def stream(self, inputs: Tensor) -> Iterator[Tick]:
        """Think tick by tick until every row has halted."""
        machine = self.machine
        features = machine.encode(inputs)
        budget = features.ticks if self.max_ticks is None else self.max_ticks
        state = machine.begin(features, budget)
        rows = seats = torch.arange(len(inputs), device=inputs.device)
        width, idle = len(rows), 0  # seats, and ticks that went by at empty ones since rows closed up
        history, best = None, None
        for number in range(1, budget + 1):
            state, output = machine.tick(state, features)
            if len(seats) < width:
                output = taken(output, seats)
            if history is None:
                history = first(output, self.policy.needs_choices, features.listening, self.policy.signals)
                best = Best.of(output, history.listening)
            else:
                history = history.add(output, self.policy.looks_back)
                best = best.or_now(output, number, history.listening)
            halted, fired = self._judge(history, number, budget)
            ends = bool(halted.any())
            causes = causes_of(history, halted, fired) if ends else []
            yield Tick(number, rows, output, state, seats, halted, causes, best.tick, features.places, budget)
            if ends:
                staying = (~halted).nonzero().squeeze(1)
                if not len(staying):
                    return
                rows, seats, history, best = rows[staying], seats[staying], history.take(staying), best.take(staying)
            idle += width - len(seats)
            if idle and idle >= CLOSING_UP * len(seats):
                order = close_up(torch.ones(width, dtype=torch.bool, device=seats.device).index_fill_(0, seats, False))
                state, features = state.take(order, budget - number), features.take_(order)
                moved = torch.searchsorted(seats, order)
                rows, history, best = rows[moved], history.take(moved), best.take(moved)
                seats, width, idle = torch.arange(len(rows), device=rows.device), len(rows), 0

    def _judge(self, history: History, number: int, budget: int) -> tuple[Bool[Tensor, " A"], Fired]:
        """Which rows end at this tick, and what each rule says of them."""
        fired = self.policy.causes(history) if number >= self.min_ticks else []
        if number == budget or not fired:
            return torch.full_like(history.certainty[:, -1, 0], number == budget, dtype=torch.bool), fired
        ended = fired[0][1] if len(fired) == 1 else torch.stack([rows for _, rows in fired]).any(0)
        return history.allows(ended), fired

    @torch.inference_mode()
    def run(self, inputs: Tensor, watch: Callable[[Tick], None] | None = None) -> Verdict:
        """Think about a batch; `watch` sees every tick."""
        said: Said = []
        ticks = torch.zeros(len(inputs), dtype=torch.long, device=inputs.device)
        answer_tick, halted_by = ticks.clone(), [BUDGET] * len(inputs)
        for tick in self.stream(inputs):
            if watch is not None:
                watch(tick)
            said.append((tick.rows, tick.output))
            if not tick.causes:
                continue
            ended = tick.halted.nonzero().squeeze(1)
            rows = tick.rows[ended]
            ticks[rows] = tick.number
            answer_tick[rows] = self._answering(tick, ended)
            for row, cause in zip(rows.tolist(), tick.causes, strict=True):
                halted_by[row] = cause
        output = taken_at(said, answer_tick)
        return Verdict(output.answer, output.certainty, output.energy, ticks, answer_tick, halted_by)

    def _answering(self, tick: Tick, ended: Int[Tensor, " R"]) -> Int[Tensor, " R"]:
        """The ticks that answer for rows that end at this one."""
        now = torch.full_like(ended, tick.number)
        if self.fallback == "last" or self.policy.says or BUDGET not in tick.causes:
            return now
        spent = torch.tensor([cause == BUDGET for cause in tick.causes], device=ended.device)
        return torch.where(spent, tick.best_tick[ended], now)


def causes_of(history: History, halted: Bool[Tensor, " A"], fired: Fired) -> list[str]:
    """For each row that ends here: the first rule that fires, or the budget."""
    ended = halted.nonzero().squeeze(1)
    names = [BUDGET] * len(ended)
    for name, rows in reversed(fired):
        fires = history.allows(rows)[ended].tolist()
        names = [name if hit else before for hit, before in zip(fires, names, strict=True)]
    return names


def taken_at(said: Said, answer_tick: Int[Tensor, " B"]) -> Output:
    """What every row said at its own tick, from what those that were still thinking said at every tick."""
    first = said[0][1]  # of all rows
    answer, certainty = torch.empty_like(first.answer), torch.empty_like(first.certainty)
    energy = None if first.energy is None else torch.empty_like(first.energy)
    for number, (rows, output) in enumerate(said, 1):
        here = (answer_tick[rows] == number).nonzero().squeeze(1)
        if not len(here):
            continue
        whose = rows[here]
        answer[whose], certainty[whose] = output.answer[here], output.certainty[here]
        if energy is not None and output.energy is not None:
            energy[whose] = output.energy[here]
    return Output(answer, certainty, energy)


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


def score_now(output: Output, number: int, listening: Int[Tensor, " A"] | None) -> Float[Tensor, " A"]:
    """How good it is to answer now; at no price before all is heard."""
    score = output.certainty.mean(1)
    return score if listening is None else score.masked_fill(listening >= number, -torch.inf)


def close_up(empty: Bool[Tensor, " W"]) -> Int[Tensor, " A"]:
    """The seats that are taken, the last ones in the places of the empty ones: few rows have to be moved."""
    taken = (~empty).nonzero().squeeze(1)
    order = torch.arange(len(taken), device=empty.device)
    order[empty[: len(order)]] = taken[taken >= len(order)]
    return order


def taken(output: Output, seats: Int[Tensor, " A"]) -> Output:
    energy = None if output.energy is None else output.energy.index_select(0, seats)
    return Output(output.answer.index_select(0, seats), output.certainty.index_select(0, seats), energy)

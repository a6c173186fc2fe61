"""The engine against the full unroll: same ticks, same answers, for every policy."""

import pytest
import torch

from ctm import ContinuousThoughtMachine, CTMConfig, TickOutput
from ctm.modules.readout import ANSWER_SIGNALS
from inference import Engine, parse
from inference.active_batch import compute_compaction_order
from inference.engine import BUDGET
from inference.halting.thresholds import replay
from inference.tick_history import TickHistory, start_history

POLICIES = [
    "margin>0.3",
    "probability>0.5",
    "change<0.05|energy<-2",
    "ticks=1",
    "ticks=5",
    "ticks=12",
    "ticks=40",
    "certainty>0.4",
    "certainty.min>0.15",
    "energy<0",
    "energy<-3",
    "converged<0.3x1",
    "converged<0.5x3",
    "same=3",
    "energy<-1|converged<0.1x1",
    "certainty>0.1&same=2",
    "(energy<0|same=3)&certainty.min>0.02",
    "energy<-2|ticks=7",
]


def make_model(**changes) -> ContinuousThoughtMachine:
    """Build a model with large random weights: its rows differ, so that policies fire at many different ticks."""
    values = {
        "iterations": 12,
        "d_model": 20,
        "d_input": 8,
        "heads": 0,
        "n_synch_out": 10,
        "n_synch_action": 0,
        "synapse_depth": 1,
        "memory_length": 4,
        "memory_hidden_dims": 3,
        "backbone_type": "none",
        "out_dims": 12,
        "prediction_reshaper": [4, 3],
        "energy_head_enabled": True,
        "energy_hidden_dim": 8,
    }
    model = ContinuousThoughtMachine(CTMConfig.parse(values | changes), in_features=6)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "start" not in name:
                fan_in = weight.shape[0] if name.endswith("w1") else weight.shape[-1]
                weight.copy_(torch.randn(weight.shape, generator=generator) * 2 / fan_in**0.5)
        model.decay_params_out.fill_(1.0)
    return model.eval()


ATTENTION_CONFIG = {"heads": 2, "n_synch_action": 9}


def make_inputs(count: int = 37, positions: int = 0) -> torch.Tensor:
    shape = (count, 6, positions) if positions else (count, 6)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def unroll(model, x) -> tuple[TickHistory, list[TickOutput]]:
    with torch.inference_mode():
        features = model.encode(x)
        state, history, outputs = model.initial_state(features), None, []
        for _ in range(model.config.iterations):
            state, output = model.tick(state, features)
            history = (
                start_history(output, signals=frozenset(ANSWER_SIGNALS)) if history is None else history.append(output)
            )
            outputs.append(output)
    return history, outputs


def halt_row_by_row(policy, history: TickHistory, row: int, budget: int) -> tuple[int, bool]:
    """Evaluate a policy on the history of one sample, tick by tick."""
    mine = history.select_rows(torch.tensor([row]))
    for tick in range(1, budget + 1):
        if bool(policy.should_halt(mine.truncate(tick))):
            return tick, True
    return budget, False


@pytest.mark.parametrize("rule", POLICIES)
@pytest.mark.parametrize(
    "attends, num_slots",
    [(False, 99), (True, 99), (True, 8), (False, 5), (True, 1)],
)
def test_engine_equals_replaying_the_full_unroll_sample_by_sample(rule, attends, num_slots):
    policy = parse(rule)
    model, x = (make_model(**ATTENTION_CONFIG), make_inputs(positions=5)) if attends else (make_model(), make_inputs())
    model, x = model.double(), x.double()  # batches of other sizes round otherwise, which lively weights make much of
    history, outputs = unroll(model, x)
    result = Engine(model, policy, max_batch_slots=num_slots).run(x)
    for row in range(len(x)):
        tick, by_policy = halt_row_by_row(policy, history, row, 12)
        answer_tick = tick if by_policy else int(history.certainty[row].mean(1).argmax()) + 1
        assert result.ticks[row] == tick
        assert result.answer_tick[row] == answer_tick
        assert (result.halted_by[row] == "budget") != by_policy
        torch.testing.assert_close(result.answer[row], outputs[answer_tick - 1].answer[row], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(result.energy[row], outputs[answer_tick - 1].energy[row], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("rule", POLICIES)
def test_replay_of_curves_does_what_the_engine_does(rule):
    model, x = make_model(), make_inputs()
    history, _ = unroll(model, x)
    replayed = replay(parse(rule), history, torch.ones(len(x), 12, dtype=torch.bool))
    result = Engine(model, parse(rule)).run(x)
    assert replayed.ticks.tolist() == result.ticks.tolist()
    assert replayed.answer_tick.tolist() == result.answer_tick.tolist()
    assert replayed.halted_by == result.halted_by


def test_policies_of_this_file_halt_at_different_ticks():
    """Check that the tests above could not pass on an engine that never halts a row."""
    model, x = make_model(), make_inputs()
    spread = {rule: len(set(Engine(model, parse(rule)).run(x).ticks.tolist())) for rule in POLICIES}
    assert sum(count > 2 for count in spread.values()) >= 6, spread


def test_halted_rows_are_retired_from_the_batch():
    model, x = make_model(), make_inputs(64)
    sizes, widths = [], []

    def watch(tick):
        assert len(tick.slots) == len(tick.rows) == len(tick.output.answer) == len(tick.best_tick)
        sizes.append(len(tick.rows))
        widths.append(tick.state.activations.size(1))

    ticks = Engine(model, parse("energy<-2")).run(x, watch).ticks
    assert sizes == [int((ticks >= tick).sum()) for tick in range(1, len(sizes) + 1)]
    assert sizes[0] == widths[0] == 64 and sizes[-1] < 32
    idle = sum(width - size for size, width in zip(sizes, widths, strict=True))
    assert widths[-1] < 48 and 0 < idle < 0.4 * sum(sizes), "the batch is compacted from time to time"


@pytest.mark.parametrize("seed", range(5))
def test_compaction_moves_only_the_rows_that_must_move(seed):
    halted = torch.rand(31, generator=torch.Generator().manual_seed(seed)) < 0.2 * (seed + 1) - 0.1
    order = compute_compaction_order(halted)
    assert sorted(order.tolist()) == [row for row in range(31) if not halted[row]]
    moved = [place for place, row in enumerate(order.tolist()) if place != row]
    assert len(moved) == int(halted[: len(order)].sum())


SINGLE_POSITION_CONFIG = {"prediction_reshaper": [-1]}
PER_CLASS_POLICY = f"energy<[{','.join(['-3', '-2', '-2.5'] * 4)}]|same=7"


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("said=3", {}),
        ("same=4|converged<0.3x2", {}),
        ("change<0.01", {}),
        ("margin>0.5", {}),
        (PER_CLASS_POLICY, SINGLE_POSITION_CONFIG),
    ],
)
def test_admitted_rows_do_not_see_the_history_of_other_rows(rule, changes):
    model, x = make_model(**ATTENTION_CONFIG, **changes).double(), make_inputs(60, positions=5).double()
    alone, among = (Engine(model, parse(rule), max_batch_slots=num_slots).run(x) for num_slots in (99, 6))
    assert len(set(alone.ticks.tolist())) > 2, "rows are admitted at different ticks"
    assert among.ticks.tolist() == alone.ticks.tolist() and among.halted_by == alone.halted_by
    assert torch.allclose(among.answer, alone.answer)


def test_admitted_rows_use_the_slots_of_retired_rows():
    model, x = make_model(**ATTENTION_CONFIG), make_inputs(200, positions=5)
    engine, alone = Engine(model, parse("energy<-2"), max_batch_slots=16), Engine(model, parse("energy<-2"))
    seen = list(engine.stream(x))
    assert max(tick.state.activations.size(1) for tick in seen) == 16
    most, apart = int(alone.run(x).ticks.sum()), sum(len(list(alone.stream(rows))) for rows in x.split(16))
    assert len(seen) < 0.7 * apart and 16 * len(seen) < 1.25 * most, "few slots are free"
    assert max(len(set(tick.tick_index.tolist())) for tick in seen) > 3, "every row is at a tick of its own"


@pytest.mark.parametrize("num_slots", [99, 8])
def test_retained_tick_events_are_not_overwritten(num_slots):
    """Rows move within the engine's own memory; events must not change. Only the state may be reused by admitted rows."""
    model, x = make_model(**ATTENTION_CONFIG), make_inputs(positions=5)

    def get_tensors(tick) -> list[torch.Tensor]:
        state = [tick.state.activations, tick.state.pre_activation_history.window] if num_slots > len(x) else []
        return [tick.rows, tick.tick_index, tick.slots, tick.output.answer, tick.output.energy, tick.best_tick, *state]

    kept = [
        (tick, [values.clone() for values in get_tensors(tick)])
        for tick in Engine(model, parse("energy<-2|same=3"), max_batch_slots=num_slots).stream(x)
    ]
    assert len(kept) > 5
    for tick, copy in kept:
        assert all(torch.equal(now, then) for now, then in zip(get_tensors(tick), copy, strict=True))


@pytest.mark.parametrize("num_slots", [99, 8])
def test_stream_yields_every_row_until_it_halts_and_never_again(num_slots):
    model, x = make_model(), make_inputs()
    seen, ended = torch.zeros(len(x), dtype=torch.long), {}
    for tick in Engine(model, parse("energy<-3|same=4"), max_batch_slots=num_slots).stream(x):
        assert not set(tick.rows.tolist()) & set(ended)
        seen[tick.rows] += 1
        assert torch.equal(tick.tick_index, seen[tick.rows])
        for row, cause in zip(tick.rows[tick.halt_mask].tolist(), tick.halt_reasons, strict=True):
            ended[row] = (int(seen[row]), cause)
    assert sorted(ended) == list(range(len(x)))
    assert [ended[row][0] for row in range(len(x))] == seen.tolist()


def test_budget_answers_with_the_most_certain_tick_and_last_on_request():
    model, x = make_model(), make_inputs()
    history, outputs = unroll(model, x)
    best = Engine(model, parse("energy<-99")).run(x)
    assert best.answer_tick.tolist() == (history.certainty.mean(2).argmax(1) + 1).tolist()
    assert set(best.answer_tick.tolist()) != {12}
    last = Engine(model, parse("energy<-99"), fallback="last").run(x)
    assert set(last.answer_tick.tolist()) == {12}
    torch.testing.assert_close(last.answer, outputs[-1].answer)


def test_ctc_emissions_are_complete_at_the_last_tick():
    model, x = make_model(), make_inputs()
    history, _ = unroll(model, x)
    result = Engine(model, parse("said=12|energy<-99")).run(x)
    assert set(result.halted_by) == {BUDGET} and set(result.answer_tick.tolist()) == {12}
    replayed = replay(parse("said=12"), history, torch.ones(len(x), 12, dtype=torch.bool))
    assert set(replayed.answer_tick.tolist()) == {12}


def test_without_energy_head_the_budget_answers_with_the_most_certain_tick():
    model, x = make_model(energy_head_enabled=False), make_inputs()
    history, _ = unroll(model, x)
    result = Engine(model, parse("certainty>0.999")).run(x)
    assert result.energy is None
    assert result.answer_tick.tolist() == (history.certainty.mean(2).argmax(1) + 1).tolist()


def test_an_energy_policy_without_an_energy_head_is_rejected():
    with pytest.raises(ValueError, match="needs an energy head"):
        Engine(make_model(energy_head_enabled=False), parse("certainty>0.5|energy<0"))


def test_an_engine_without_slots_is_rejected():
    with pytest.raises(ValueError, match="max_batch_slots must be at least 1: got 0"):
        Engine(make_model(), parse("same=2"), max_batch_slots=0)


def test_the_policy_that_fired_first_is_named():
    result = Engine(make_model(), parse("ticks=3|energy<99")).run(make_inputs(4))
    assert result.ticks.tolist() == [1] * 4
    assert result.halted_by == ["energy<99"] * 4

"""Tests of the engine against the full unroll: same ticks and answers for every policy."""

from functools import cache

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
    """Sample inputs: one vector per row, or a sequence of `positions` vectors."""
    shape = (count, 6, positions) if positions else (count, 6)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def unroll(model, x) -> tuple[TickHistory, list[TickOutput]]:
    """Run all ticks; return the history with all signals, and the output of every tick."""
    outputs = []
    with torch.inference_mode():
        encoded = model.encode(x)
        state = model.initial_state(encoded)
        for _ in range(model.config.iterations):
            state, output = model.tick(state, encoded)
            outputs.append(output)
        history = start_history(outputs[0], signals=frozenset(ANSWER_SIGNALS))
        for output in outputs[1:]:
            history = history.append(output)
    return history, outputs


def halt_row_by_row(policy, history: TickHistory, row: int, budget: int) -> tuple[int, bool]:
    """Evaluate a policy on the history of one sample, tick by tick.

    Returns:
        The last tick, and whether the policy halted the sample.
    """
    row_history = history.select_rows(torch.tensor([row]))
    for tick in range(1, budget + 1):
        if bool(policy.should_halt(row_history.truncate(tick))):
            return tick, True
    return budget, False


@cache
def unroll_in_double_precision(has_attention: bool) -> tuple:
    """Return a model, its inputs, and their history and outputs.

    Rounding depends on the batch size, and large weights amplify it: double precision.
    """
    model = make_model(**ATTENTION_CONFIG if has_attention else {}).double()
    x = make_inputs(positions=5 if has_attention else 0).double()
    return model, x, *unroll(model, x)


@cache
def halt_all_rows(policy_text: str, has_attention: bool) -> list[tuple[int, bool]]:
    """Evaluate a policy on every sample; see `halt_row_by_row`."""
    _, x, history, _ = unroll_in_double_precision(has_attention)
    return [halt_row_by_row(parse(policy_text), history, row, 12) for row in range(len(x))]


@pytest.mark.parametrize("policy_text", POLICIES)
@pytest.mark.parametrize(
    "has_attention, num_slots",
    [(False, 99), (True, 99), (True, 8), (False, 5), (True, 1)],
)
def test_engine_equals_replaying_the_full_unroll_sample_by_sample(policy_text, has_attention, num_slots):
    model, x, history, outputs = unroll_in_double_precision(has_attention)
    result = Engine(model, parse(policy_text), max_batch_slots=num_slots).run(x)
    for row, (tick, is_halted_by_policy) in enumerate(halt_all_rows(policy_text, has_attention)):
        answer_tick = tick if is_halted_by_policy else int(history.certainty[row].mean(1).argmax()) + 1
        assert result.ticks[row] == tick
        assert result.answer_tick[row] == answer_tick
        assert (result.halted_by[row] == "budget") != is_halted_by_policy
        torch.testing.assert_close(result.answer[row], outputs[answer_tick - 1].answer[row], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(result.energy[row], outputs[answer_tick - 1].energy[row], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("policy", POLICIES)
def test_replay_gives_the_result_of_the_engine(policy):
    model = make_model()
    x = make_inputs()
    history, _ = unroll(model, x)
    policy_replay = replay(parse(policy), history, torch.ones(len(x), 12, dtype=torch.bool))
    result = Engine(model, parse(policy)).run(x)
    assert policy_replay.ticks.tolist() == result.ticks.tolist()
    assert policy_replay.answer_tick.tolist() == result.answer_tick.tolist()
    assert policy_replay.halted_by == result.halted_by


def test_policies_of_this_file_halt_at_different_ticks():
    """Check that the tests above could not pass on an engine that never halts a row."""
    model = make_model()
    x = make_inputs()
    num_halting_ticks = {policy: len(set(Engine(model, parse(policy)).run(x).ticks.tolist())) for policy in POLICIES}
    assert sum(count > 2 for count in num_halting_ticks.values()) >= 6, num_halting_ticks


def test_halted_rows_are_retired_from_the_batch():
    model = make_model()
    x = make_inputs(64)
    num_rows = []
    num_slots = []

    def record_sizes(tick):
        assert len(tick.slots) == len(tick.rows) == len(tick.output.answer) == len(tick.best_tick)
        num_rows.append(len(tick.rows))
        num_slots.append(tick.state.activations.size(1))

    ticks = Engine(model, parse("energy<-2")).run(x, record_sizes).ticks
    assert num_rows == [int((ticks >= tick).sum()) for tick in range(1, len(num_rows) + 1)]
    assert num_rows[0] == num_slots[0] == 64 and num_rows[-1] < 32
    idle_slot_ticks = sum(slots - rows for rows, slots in zip(num_rows, num_slots, strict=True))
    assert num_slots[-1] < 48 and 0 < idle_slot_ticks < 0.4 * sum(num_rows), "the batch is compacted repeatedly"


@pytest.mark.parametrize("seed", range(5))
def test_compaction_moves_only_the_rows_that_must_move(seed):
    halt_mask = torch.rand(31, generator=torch.Generator().manual_seed(seed)) < 0.2 * (seed + 1) - 0.1
    order = compute_compaction_order(halt_mask)
    assert sorted(order.tolist()) == [row for row in range(31) if not halt_mask[row]]
    changed_slots = [slot for slot, row in enumerate(order.tolist()) if slot != row]
    assert len(changed_slots) == int(halt_mask[: len(order)].sum())


SINGLE_POSITION_CONFIG = {"prediction_reshaper": [-1]}
PER_CLASS_POLICY = f"energy<[{','.join(['-3', '-2', '-2.5'] * 4)}]|same=7"


@pytest.mark.parametrize(
    ("policy", "changes"),
    [
        ("said=3", {}),
        ("same=4|converged<0.3x2", {}),
        ("change<0.01", {}),
        ("margin>0.5", {}),
        (PER_CLASS_POLICY, SINGLE_POSITION_CONFIG),
    ],
)
def test_admitted_rows_do_not_use_the_history_of_other_rows(policy, changes):
    model = make_model(**ATTENTION_CONFIG, **changes).double()
    x = make_inputs(60, positions=5).double()
    expected, result = (Engine(model, parse(policy), max_batch_slots=num_slots).run(x) for num_slots in (99, 6))
    assert len(set(expected.ticks.tolist())) > 2, "rows are admitted at different ticks"
    assert result.ticks.tolist() == expected.ticks.tolist() and result.halted_by == expected.halted_by
    assert torch.allclose(result.answer, expected.answer)


def test_admitted_rows_use_the_slots_of_retired_rows():
    model = make_model(**ATTENTION_CONFIG)
    x = make_inputs(200, positions=5)
    engine = Engine(model, parse("energy<-2"), max_batch_slots=16)
    unlimited_engine = Engine(model, parse("energy<-2"))
    events = list(engine.stream(x))
    assert max(event.state.activations.size(1) for event in events) == 16
    total_row_ticks = int(unlimited_engine.run(x).ticks.sum())
    num_ticks_of_separate_batches = sum(len(list(unlimited_engine.stream(rows))) for rows in x.split(16))
    assert len(events) < 0.7 * num_ticks_of_separate_batches and 16 * len(events) < 1.25 * total_row_ticks, (
        "few slots are free"
    )
    assert max(len(set(event.tick_index.tolist())) for event in events) > 3, "every row is at its own tick"


@pytest.mark.parametrize("num_slots", [99, 8])
def test_retained_tick_events_are_not_overwritten(num_slots):
    """Rows move within the engine's own memory; events must not change. Only the state may be reused by admitted rows."""
    model = make_model(**ATTENTION_CONFIG)
    x = make_inputs(positions=5)

    def get_tensors(event) -> list[torch.Tensor]:
        state = [event.state.activations, event.state.pre_activation_history.window] if num_slots > len(x) else []
        output = event.output
        return [event.rows, event.tick_index, event.slots, output.answer, output.energy, event.best_tick, *state]

    events_and_copies = [
        (event, [values.clone() for values in get_tensors(event)])
        for event in Engine(model, parse("energy<-2|same=3"), max_batch_slots=num_slots).stream(x)
    ]
    assert len(events_and_copies) > 5
    for event, copies in events_and_copies:
        assert all(torch.equal(values, copy) for values, copy in zip(get_tensors(event), copies, strict=True))


@pytest.mark.parametrize("num_slots", [99, 8])
def test_stream_yields_every_row_until_it_halts_and_never_again(num_slots):
    model = make_model()
    x = make_inputs()
    tick_counts = torch.zeros(len(x), dtype=torch.long)
    halts = {}  # row -> tick, halt reason
    for event in Engine(model, parse("energy<-3|same=4"), max_batch_slots=num_slots).stream(x):
        assert not set(event.rows.tolist()) & set(halts)
        tick_counts[event.rows] += 1
        assert torch.equal(event.tick_index, tick_counts[event.rows])
        for row, halt_reason in zip(event.rows[event.halt_mask].tolist(), event.halt_reasons, strict=True):
            halts[row] = (int(tick_counts[row]), halt_reason)
    assert sorted(halts) == list(range(len(x)))
    assert [halts[row][0] for row in range(len(x))] == tick_counts.tolist()


def test_budget_answers_with_the_most_certain_tick_and_last_on_request():
    model = make_model()
    x = make_inputs()
    history, outputs = unroll(model, x)
    best = Engine(model, parse("energy<-99")).run(x)
    assert best.answer_tick.tolist() == (history.certainty.mean(2).argmax(1) + 1).tolist()
    assert set(best.answer_tick.tolist()) != {12}
    last = Engine(model, parse("energy<-99"), fallback="last").run(x)
    assert set(last.answer_tick.tolist()) == {12}
    torch.testing.assert_close(last.answer, outputs[-1].answer)


def test_ctc_emissions_are_complete_at_the_last_tick():
    model = make_model()
    x = make_inputs()
    history, _ = unroll(model, x)
    result = Engine(model, parse("said=12|energy<-99")).run(x)
    assert set(result.halted_by) == {BUDGET} and set(result.answer_tick.tolist()) == {12}
    policy_replay = replay(parse("said=12"), history, torch.ones(len(x), 12, dtype=torch.bool))
    assert set(policy_replay.answer_tick.tolist()) == {12}


def test_without_energy_head_the_budget_answers_with_the_most_certain_tick():
    model = make_model(energy_head_enabled=False)
    x = make_inputs()
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

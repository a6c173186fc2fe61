"""Tests of the recorder: it stores what the user interface shows, within a memory limit."""

import numpy as np
import pytest
import torch

from ctm.modules.readout import ANSWER_SIGNALS
from inference import Engine, Recorder, parse
from inference.halting.policies import FixedTicks
from tests.inference.test_engine import ATTENTION_CONFIG, make_inputs, make_model, unroll


def record_run(model, x, policy: str = "ticks=7", **options) -> Recorder:
    """Run the engine with a recorder."""
    recorder = Recorder(max_ticks=12, **options)
    Engine(model, parse(policy)).run(x, on_tick=recorder)
    return recorder


def test_a_recording_holds_the_outputs_and_states_of_the_model():
    model = make_model(**ATTENTION_CONFIG)
    x = make_inputs(1, positions=5)
    recorder = record_run(model, x)
    history, outputs = unroll(model, x)
    assert len(recorder.logits) == 7 and recorder.attention_map_shape == (5,)
    np.testing.assert_allclose(recorder.energy, history.energy[0, :7], atol=1e-5)
    np.testing.assert_allclose(np.stack(recorder.certainty), history.certainty[0, :7], atol=1e-5)
    np.testing.assert_allclose(
        np.stack(recorder.logits).reshape(7, -1), torch.stack([output.answer[0] for output in outputs[:7]]), atol=1e-5
    )
    shapes = {name: recorder.get_channel(name).shape for name in recorder.channels}
    assert shapes == {
        "pre_activations": (7, 20),
        "post_activations": (7, 20),
        "sync_out": (7, 10),
        "sync_action": (7, 9),
        "attention": (7, 2, 5),
    }
    np.testing.assert_allclose(recorder.get_channel("attention").sum(2), 1, atol=1e-5)


def test_the_requested_row_is_followed_while_others_retire():
    model = make_model()
    x = make_inputs()
    expected = [record_run(model, x[row : row + 1], "energy<-2") for row in range(4)]
    for row in range(4):
        recorder = record_run(model, x, "energy<-2", row=row)
        np.testing.assert_allclose(recorder.energy, expected[row].energy, atol=1e-5)


def test_a_model_without_attention_or_energy_has_no_such_channels():
    recorder = record_run(make_model(energy_head_enabled=False), make_inputs(1), "ticks=3")
    assert (
        recorder.energy == []
        and recorder.get_channel("attention") is None
        and recorder.get_channel("sync_action") is None
    )


@pytest.mark.parametrize("max_bytes", [5_000, 20_000])
def test_memory_is_limited_by_an_even_selection_and_attention_is_complete_or_absent(max_bytes):
    model = make_model(d_model=400, n_synch_out=300, **ATTENTION_CONFIG)
    x = make_inputs(1, positions=40)
    recorder = record_run(model, x, "ticks=12", max_bytes=max_bytes)
    num_bytes = sum(part.nbytes for parts in recorder.channels.values() for part in parts)
    assert 0 < num_bytes <= max_bytes
    indices = recorder.channel_indices["post_activations"]
    assert 1 < len(indices) < 400 and indices[0] == 0 and indices[-1] == 399
    assert recorder.get_channel("attention") is None or recorder.get_channel("attention").shape[2] == 40


def test_a_recording_gives_the_history_that_the_policy_used():
    model = make_model(**ATTENTION_CONFIG)
    x = make_inputs(1, positions=5)
    histories = []

    class RecordingPolicy(FixedTicks):
        def should_halt(self, history):
            histories.append(history)
            return super().should_halt(history)

        needs_choices = True
        lookback = 99
        signals = frozenset(ANSWER_SIGNALS)

    recorder = Recorder(max_ticks=12)
    Engine(model, RecordingPolicy(7)).run(x, on_tick=recorder)
    history = recorder.build_history(frozenset(ANSWER_SIGNALS))
    expected = histories[-1]
    assert torch.equal(history.choices, expected.choices) and torch.equal(history.ticks, expected.ticks)
    torch.testing.assert_close(history.certainty, expected.certainty)
    torch.testing.assert_close(history.energy, expected.energy)
    assert history.signals.keys() == expected.signals.keys()
    for name, values in history.signals.items():
        torch.testing.assert_close(values, expected.signals[name], msg=name)

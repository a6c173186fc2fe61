"""The recorder keeps what the screen shows, and never more than its budget."""

import numpy as np
import pytest
import torch

from inference import Engine, Recorder, parse
from tests.inference.test_engine import ATTENDING, inputs, machine, unroll


def recorded(made, x, rule: str = "ticks=7", **options) -> Recorder:
    recorder = Recorder(max_ticks=12, **options)
    Engine(made, parse(rule)).run(x, on_tick=recorder)
    return recorder


def test_a_recording_is_what_the_machine_said_and_did():
    made, x = machine(**ATTENDING), inputs(1, places=5)
    recorder = recorded(made, x)
    history, outputs = unroll(made, x)
    assert len(recorder.logits) == 7 and recorder.attention_map_shape == (5,)
    np.testing.assert_allclose(recorder.energy, history.energy[0, :7], atol=1e-5)
    np.testing.assert_allclose(np.stack(recorder.certainty), history.certainty[0, :7], atol=1e-5)
    np.testing.assert_allclose(
        np.stack(recorder.logits).reshape(7, -1), torch.stack([o.answer[0] for o in outputs[:7]]), atol=1e-5
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


def test_the_row_asked_for_is_followed_while_others_leave():
    made, x = machine(), inputs()
    alone = [recorded(made, x[row : row + 1], "energy<-2") for row in range(4)]
    for row in range(4):
        among = recorded(made, x, "energy<-2", row=row)
        np.testing.assert_allclose(among.energy, alone[row].energy, atol=1e-5)


def test_a_machine_without_attention_or_energy_has_no_such_channels():
    recorder = recorded(machine(energy_head_enabled=False), inputs(1), "ticks=3")
    assert (
        recorder.energy == []
        and recorder.get_channel("attention") is None
        and recorder.get_channel("sync_action") is None
    )


@pytest.mark.parametrize("max_bytes", [5_000, 20_000])
def test_memory_is_bounded_by_an_even_selection_and_attention_is_whole_or_absent(max_bytes):
    made, x = machine(d_model=400, n_synch_out=300, **ATTENDING), inputs(1, places=40)
    recorder = recorded(made, x, "ticks=12", max_bytes=max_bytes)
    held = sum(part.nbytes for parts in recorder.channels.values() for part in parts)
    assert 0 < held <= max_bytes
    kept = recorder.channel_indices["post_activations"]
    assert 1 < len(kept) < 400 and kept[0] == 0 and kept[-1] == 399
    assert recorder.get_channel("attention") is None or recorder.get_channel("attention").shape[2] == 40

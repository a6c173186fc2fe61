"""Test input schedules: rows of different length give the same results in one batch as alone."""

import pytest
import torch
from torch.testing import assert_close

from ctm.config import MAX_TICKS, SCHEDULED_BACKBONE
from ctm.modules.input_schedule import EMPTY_CODE, IMAGE_CODE, NUM_CODES, PLUS, pack_frames
from inference import Engine, parse
from inference.halting.thresholds import replay
from inference.tick_history import start_history
from tests.ctm.conftest import build_tiny_model, sample_frames

SCHEDULE_CONFIG = {
    "backbone_type": SCHEDULED_BACKBONE,
    "iterations_per_digit": 2,
    "iterations_per_question_part": 3,
    "iterations_for_answering": 4,
    "energy_head_enabled": True,
    "iterations": 1,
}
FRAME_COUNTS = [(1, 1), (3, 3), (2, 5), (3, 1), (1, 3), (2, 1)]  # pictures and parts of the question
INPUT_TICKS = [2 * shown + 3 * asked for shown, asked in FRAME_COUNTS]


def make_frames(sizes=FRAME_COUNTS):
    return sample_frames(sizes, torch.Generator().manual_seed(0))


def unroll(model, inputs):
    """Return state and output of every tick."""
    with torch.no_grad():
        features = model.encode(inputs)
        state, said = model.initial_state(features), []
        for _ in range(features.ticks):
            state, output = model.tick(state, features)
            said.append((state, output))
    return said


def test_rows_get_their_images_then_their_question_then_nothing():
    features = build_tiny_model(**SCHEDULE_CONFIG).encode(
        pack_frames(torch.zeros(1, 2, 1, 32, 32), [[7, PLUS, 4]], min_frames=9)
    )
    assert (
        features.ticks == 2 * 2 + 3 * 3 + 4
        and features.input_ticks.tolist() == [13]
        and features.attention_map_shape == (8, 8)
    )
    assert features.observation.codes[:, 0].tolist() == [
        code % NUM_CODES for code in [IMAGE_CODE] * 4 + [7] * 3 + [PLUS] * 3 + [4] * 3 + [EMPTY_CODE] * 4
    ]
    mixed = build_tiny_model(**SCHEDULE_CONFIG).encode(make_frames())
    assert mixed.input_ticks.tolist() == INPUT_TICKS and mixed.ticks == max(INPUT_TICKS) + 4


def test_other_rows_in_the_batch_do_not_change_a_row():
    """Compare a row alone with the same row beside longer ones and with additional empty frames."""
    machine, inputs = build_tiny_model(**SCHEDULE_CONFIG), make_frames()
    together = unroll(machine, inputs)
    for row in range(len(inputs)):
        alone = unroll(machine, inputs[row : row + 1])
        assert len(alone) == INPUT_TICKS[row] + 4
        for (state, output), (states, outputs) in zip(alone, together[: len(alone)], strict=True):
            assert_close(output.answer[0], outputs.answer[row], rtol=1e-4, atol=2e-5)
            assert_close(state.attention[0], states.attention[row], rtol=1e-4, atol=1e-5)
    looks = torch.stack([state.attention.sum(2).mean(1) for state, _ in together])  # 1 where a row looks, else 0
    ticks = torch.arange(len(together)).unsqueeze(1)
    assert_close(looks, (ticks < torch.tensor([2 * shown for shown, _ in FRAME_COUNTS])).float())


@pytest.mark.parametrize("rule", ["ticks=1", "energy<0.2", "same=2", "certainty>0.2", "energy<-99"])
def test_the_engine_answers_each_row_after_its_input_ticks_and_as_the_full_unroll(rule):
    machine, inputs, history = build_tiny_model(**SCHEDULE_CONFIG), make_frames(FRAME_COUNTS * 3), None
    outputs = [output for _, output in unroll(machine, inputs)]
    for output in outputs:
        listening = torch.tensor(INPUT_TICKS * 3)
        history = start_history(output, input_ticks=listening) if history is None else history.append(output)
    played = replay(parse(rule), history, torch.ones(len(inputs), len(outputs), dtype=torch.bool))
    verdict = Engine(machine, parse(rule)).run(inputs)
    assert verdict.ticks.tolist() == played.ticks.tolist() and verdict.halted_by == played.halted_by
    assert verdict.answer_tick.tolist() == played.answer_tick.tolist()
    assert (verdict.answer_tick > listening).all()
    said = torch.stack([outputs[tick - 1].answer[row] for row, tick in enumerate(played.answer_tick.tolist())])
    assert_close(verdict.answer, said, rtol=1e-4, atol=2e-5)
    if rule == "ticks=1":
        assert verdict.ticks.tolist() == [heard + 1 for heard in INPUT_TICKS * 3]
    if rule == "energy<-99":
        assert set(verdict.halted_by) == {"budget"} and len(set(verdict.answer_tick.tolist())) > 3


def test_rows_with_an_input_schedule_run_in_parts_when_slots_are_few():
    machine, inputs = build_tiny_model(**SCHEDULE_CONFIG), make_frames(FRAME_COUNTS * 3)
    whole, parts = (
        Engine(machine, parse("same=2"), max_batch_slots=seats).run(inputs) for seats in (99, len(FRAME_COUNTS))
    )
    assert parts.ticks.tolist() == whole.ticks.tolist() and len(set(whole.ticks.tolist())) > 2
    assert_close(parts.answer, whole.answer, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("dropout", [0.0, 1e-12])
def test_training_gives_the_same_outputs_and_every_image_a_gradient(dropout):
    """Compare training and evaluation with batch norms in eval mode.

    A dropout probability of 1e-12 drops nothing.
    """
    machine, inputs = build_tiny_model(**SCHEDULE_CONFIG, dropout=dropout), make_frames().requires_grad_()
    machine.train()
    machine.backbone_digit.eval()
    thought = machine(inputs)
    expected = torch.stack([output.answer for _, output in unroll(machine.eval(), inputs)], 2)
    assert_close(thought.answers, expected, rtol=1e-4, atol=2e-5)
    assert thought.input_ticks.tolist() == INPUT_TICKS
    thought.answers[..., -1].square().sum().backward()
    taught = inputs.grad[..., 1:].abs().sum(2) > 0
    assert torch.equal(taught, inputs[..., 0] == IMAGE_CODE)
    assert all(parameter.grad is not None for name, parameter in machine.named_parameters() if "energy" not in name)


def test_a_question_without_images_is_answered():
    (_, said), *_, (state, _) = unroll(
        build_tiny_model(**SCHEDULE_CONFIG), pack_frames(torch.zeros(2, 0, 1, 32, 32), [[1, PLUS, 2]] * 2)
    )
    assert state.attention is None and torch.equal(said.answer[0], said.answer[1])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (torch.zeros(2, 3, 32), "got [2, 3, 32]"),
        (torch.zeros(2, 0, 1025), "got [2, 0, 1025]"),
        (pack_frames(torch.zeros(1, 1, 1, 32, 32), [[50]]), "indices (0 to 49)"),
        (torch.full((1, 2, 1025), torch.nan), "got other codes"),
        (pack_frames(torch.zeros(1, 0, 1, 32, 32), [[1, IMAGE_CODE]]), "another order"),
        (pack_frames(torch.zeros(1, 0, 1, 32, 32), [[EMPTY_CODE, 1]]), "another order"),
        (pack_frames(torch.zeros(1, 0, 1, 32, 32), [[1] * 700]), f"at most {MAX_TICKS:,}"),
    ],
)
def test_other_frames_are_rejected_in_a_sentence(wrong, words):
    with pytest.raises(ValueError) as caught:
        build_tiny_model(**SCHEDULE_CONFIG).encode(wrong)
    assert words in str(caught.value)

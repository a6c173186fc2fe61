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
FRAME_COUNTS = [(1, 1), (3, 3), (2, 5), (3, 1), (1, 3), (2, 1)]  # images and question tokens of each row
INPUT_TICKS = [2 * num_images + 3 * num_tokens for num_images, num_tokens in FRAME_COUNTS]


def make_frames(sizes=FRAME_COUNTS):
    return sample_frames(sizes, torch.Generator().manual_seed(0))


def unroll(model, inputs):
    """Return state and output of every tick."""
    ticks = []
    with torch.no_grad():
        encoded = model.encode(inputs)
        state = model.initial_state(encoded)
        for _ in range(encoded.ticks):
            state, output = model.tick(state, encoded)
            ticks.append((state, output))
    return ticks


def test_rows_get_their_images_then_their_question_then_nothing():
    encoded = build_tiny_model(**SCHEDULE_CONFIG).encode(
        pack_frames(torch.zeros(1, 2, 1, 32, 32), [[7, PLUS, 4]], min_frames=9)
    )
    assert (
        encoded.ticks == 2 * 2 + 3 * 3 + 4
        and encoded.input_ticks.tolist() == [13]
        and encoded.attention_map_shape == (8, 8)
    )
    assert encoded.observation.codes[:, 0].tolist() == [
        code % NUM_CODES for code in [IMAGE_CODE] * 4 + [7] * 3 + [PLUS] * 3 + [4] * 3 + [EMPTY_CODE] * 4
    ]
    encoded_batch = build_tiny_model(**SCHEDULE_CONFIG).encode(make_frames())
    assert encoded_batch.input_ticks.tolist() == INPUT_TICKS and encoded_batch.ticks == max(INPUT_TICKS) + 4


def test_other_rows_in_the_batch_do_not_change_a_row():
    """Compare a row alone with the same row beside longer ones and with additional empty frames."""
    model = build_tiny_model(**SCHEDULE_CONFIG)
    inputs = make_frames()
    batch_ticks = unroll(model, inputs)
    for row in range(len(inputs)):
        row_ticks = unroll(model, inputs[row : row + 1])
        assert len(row_ticks) == INPUT_TICKS[row] + 4
        for (state, output), (batch_state, batch_output) in zip(row_ticks, batch_ticks[: len(row_ticks)], strict=True):
            assert_close(output.answer[0], batch_output.answer[row], rtol=1e-4, atol=2e-5)
            assert_close(state.attention[0], batch_state.attention[row], rtol=1e-4, atol=1e-5)
    attends = torch.stack([state.attention.sum(2).mean(1) for state, _ in batch_ticks])  # 1 where a row attends, else 0
    ticks = torch.arange(len(batch_ticks)).unsqueeze(1)
    image_ticks = torch.tensor([2 * num_images for num_images, _ in FRAME_COUNTS])
    assert_close(attends, (ticks < image_ticks).float())


@pytest.mark.parametrize("policy", ["ticks=1", "energy<0.2", "same=2", "certainty>0.2", "energy<-99"])
def test_the_engine_answers_each_row_after_its_input_ticks_and_as_the_full_unroll(policy):
    model = build_tiny_model(**SCHEDULE_CONFIG)
    inputs = make_frames(FRAME_COUNTS * 3)
    input_ticks = torch.tensor(INPUT_TICKS * 3)
    outputs = [output for _, output in unroll(model, inputs)]
    history = start_history(outputs[0], input_ticks=input_ticks)
    for output in outputs[1:]:
        history = history.append(output)
    expected = replay(parse(policy), history, torch.ones(len(inputs), len(outputs), dtype=torch.bool))
    result = Engine(model, parse(policy)).run(inputs)
    assert result.ticks.tolist() == expected.ticks.tolist() and result.halted_by == expected.halted_by
    assert result.answer_tick.tolist() == expected.answer_tick.tolist()
    assert (result.answer_tick > input_ticks).all()
    answers = torch.stack([outputs[tick - 1].answer[row] for row, tick in enumerate(expected.answer_tick.tolist())])
    assert_close(result.answer, answers, rtol=1e-4, atol=2e-5)
    if policy == "ticks=1":
        assert result.ticks.tolist() == [ticks + 1 for ticks in INPUT_TICKS * 3]
    if policy == "energy<-99":
        assert set(result.halted_by) == {"budget"} and len(set(result.answer_tick.tolist())) > 3


def test_rows_with_an_input_schedule_run_in_parts_when_slots_are_few():
    model = build_tiny_model(**SCHEDULE_CONFIG)
    inputs = make_frames(FRAME_COUNTS * 3)
    expected, result = (
        Engine(model, parse("same=2"), max_batch_slots=num_slots).run(inputs) for num_slots in (99, len(FRAME_COUNTS))
    )
    assert result.ticks.tolist() == expected.ticks.tolist() and len(set(expected.ticks.tolist())) > 2
    assert_close(result.answer, expected.answer, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("dropout", [0.0, 1e-12])
def test_training_gives_the_same_outputs_and_every_image_a_gradient(dropout):
    """Compare training and evaluation with batch norms in eval mode.

    A dropout probability of 1e-12 drops nothing.
    """
    model = build_tiny_model(**SCHEDULE_CONFIG, dropout=dropout)
    inputs = make_frames().requires_grad_()
    model.train()
    model.backbone_digit.eval()
    unrolled = model(inputs)
    expected = torch.stack([output.answer for _, output in unroll(model.eval(), inputs)], 2)
    assert_close(unrolled.answers, expected, rtol=1e-4, atol=2e-5)
    assert unrolled.input_ticks.tolist() == INPUT_TICKS
    unrolled.answers[..., -1].square().sum().backward()
    has_gradient = inputs.grad[..., 1:].abs().sum(2) > 0
    assert torch.equal(has_gradient, inputs[..., 0] == IMAGE_CODE)
    assert all(parameter.grad is not None for name, parameter in model.named_parameters() if "energy" not in name)


def test_a_question_without_images_is_answered():
    inputs = pack_frames(torch.zeros(2, 0, 1, 32, 32), [[1, PLUS, 2]] * 2)
    ticks = unroll(build_tiny_model(**SCHEDULE_CONFIG), inputs)
    first_output = ticks[0][1]
    last_state = ticks[-1][0]
    assert last_state.attention is None and torch.equal(first_output.answer[0], first_output.answer[1])


@pytest.mark.parametrize(
    ("frames", "message"),
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
def test_invalid_frames_are_rejected_in_one_sentence(frames, message):
    with pytest.raises(ValueError) as exc_info:
        build_tiny_model(**SCHEDULE_CONFIG).encode(frames)
    assert message in str(exc_info.value)

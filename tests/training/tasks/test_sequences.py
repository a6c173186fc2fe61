"""Tests of the sequence tasks: every target equals the result of a simple computation."""

import re
from collections import Counter
from itertools import pairwise, product
from random import Random

import pytest
import torch

from ctm.modules.input_schedule import EMPTY_CODE, IMAGE_CODE, MINUS, PLUS
from training.data.motion import reflect_at_walls
from training.losses import IGNORE_INDEX
from training.tasks import make_task
from training.tasks.arithmetic import BLANK_TOKEN, assign_sequence_splits
from training.tasks.brackets import SYMBOLS, compute_stack, count_completions, sample_balanced_sequence
from training.tasks.chain import PAD_TOKEN, compute_values
from training.tasks.digits import load_images
from training.tasks.qamnist import resize_and_normalise
from training.tasks.samples import Batch, DistributionShift
from training.tasks.splits import CALIBRATION, LONGER, TEST, TRAIN, VALIDATION, is_in_split, make_generator, name_part

SEQUENCE_TASKS = ("arithmetic", "brackets", "chain", "parity", "tracking", "qamnist", "sorting")


def is_balanced(text: str) -> bool:
    """Return whether the repeated removal of adjacent pairs leaves nothing."""
    while (shorter := text.replace("()", "").replace("[]", "")) != text:
        text = shorter
    return not text


@pytest.mark.parametrize("split", ["train", "test", "deeper"])
def test_half_of_bracket_rows_are_balanced_and_the_last_target_is_the_label(split):
    batch = make_task({"kind": "brackets"}).sample(split, 100, make_generator(split))
    texts = ["".join(SYMBOLS[symbol] for symbol in row if symbol < 4) for row in batch.inputs.tolist()]
    assert sum(map(is_balanced, texts)) == 50
    for text, target, depth in zip(texts, batch.targets.tolist(), batch.difficulty.tolist(), strict=True):
        assert (target[-1] == 0) is is_balanced(text)
        assert (5 <= depth <= 6) if split == "deeper" else (1 <= depth <= 4)
        assert target[len(text) :] == [target[len(text) - 1]] * (16 - len(text)), "the padding repeats the last label"


def test_top_of_the_stack_is_the_bracket_that_may_be_closed_next():
    for row in product(range(4), repeat=5):
        tops, depths = compute_stack(row)
        for length, (top, depth) in enumerate(zip(tops, depths, strict=True), 1):
            prefix = "".join(SYMBOLS[symbol] for symbol in row[:length])
            if top == 3:
                assert not any(is_balanced(prefix + "".join(suffix)) for suffix in product(")]", repeat=length))
            else:
                closing = {1: ")", 2: "]"}.get(top, "")
                assert (depth == 0) is (top == 0) is is_balanced(prefix)
                assert any(
                    is_balanced(prefix + closing + "".join(suffix))
                    for suffix in product(")]", repeat=max(0, depth - 1))
                )


def test_shapes_of_balanced_rows_are_sampled_uniformly():
    assert count_completions(12, 0, 0, 6) == 132, "the Catalan number of six pairs"
    assert count_completions(12, 0, 1, 6) == sum(count_completions(12, 0, depth, depth) for depth in range(1, 7))
    rng = Random(0)
    samples = [tuple(symbol < 2 for symbol in sample_balanced_sequence(3, 1, 3, rng)) for _ in range(600)]
    counts = [samples.count(shape) for shape in set(samples)]
    assert len(counts) == 5 and min(counts) > 70  # 120 are expected; 70 or fewer have a probability of about 1e-6


def test_chain_targets_are_computed_from_left_to_right():
    task = make_task({"kind": "chain"})
    for split in ("train", "longer"):
        batch = task.sample(split, 60, make_generator(split))
        for row, target, operations in zip(
            batch.inputs.tolist(), batch.targets.tolist(), batch.difficulty.tolist(), strict=True
        ):
            value, values = row[0], [row[0]]
            for operator, digit in zip(row[1::2], row[2::2], strict=True):
                if operator < 13:
                    value = eval(f"{value}{'+-*'[operator - 10]}{digit}") % 10
                values.append(value)
            assert target == values
            assert (operations > 6) is (split == "longer")
    sentence = task.format_answer(task.parse_input("3+4*2-1"), [3, 7, 4, 3]).sentence
    assert sentence == "3 + 4 * 2 - 1 = 3 (mod 10, from left to right)"


def test_random_start_moves_training_chains_alone_and_keeps_their_values():
    settings = {"kind": "chain", "max_operations": 2, "ood_max_operations": 4}
    task = make_task(settings | {"random_offset": True})
    batch = task.sample("train", 600, make_generator("offset"))
    starts, leading_chains = set(), 0
    rows = (batch.inputs.tolist(), batch.targets.tolist(), batch.difficulty.tolist())
    for row, target, operations in zip(*rows, strict=True):
        chains = split_into_chains(row)
        start, tokens = chains[-1]
        assert len(tokens) == 2 * operations + 1
        starts.add((operations, start // 2))
        leading_chains += len(chains) > 1
        expected = [0] * 5
        for first, chain_tokens in chains:
            chain = torch.tensor([chain_tokens + [PAD_TOKEN] * (9 - len(chain_tokens))])
            assert is_in_split("train", "chain", chain).all()  # the content decides, not the place
            values = compute_values(chain)[0].tolist()
            expected[first // 2 :] = values[: 5 - first // 2]
        assert target == expected
        if len(chains) > 1:
            assert chains[0][0] + len(chains[0][1]) + 1 == start  # no operator between two chains, and no gap
    assert starts == {(operations, offset) for operations in (1, 2) for offset in range(5 - operations)}
    assert 100 < leading_chains < 500
    for split in ("validation", "test", "longer"):
        moved, unmoved = (
            make_task(values).sample(split, 40, make_generator(split))
            for values in (settings | {"random_offset": True}, settings)
        )
        assert torch.equal(moved.inputs, unmoved.inputs)


def test_random_start_moves_short_numbers_to_the_left_and_leaves_held_out_splits_alone():
    settings = {"kind": "arithmetic"}
    task = make_task(settings | {"random_offset": True})
    batch = task.sample("train", 900, make_generator("offset"))
    splits = assign_sequence_splits(task.settings)
    counts = Counter()
    rows = (batch.inputs.unflatten(1, (4, 3)).tolist(), batch.targets.tolist(), batch.difficulty.tolist())
    for terms, target, difficulty in zip(*rows, strict=True):
        offset = terms[0].count(BLANK_TOKEN)
        counts[offset] += 1
        assert all(digits[3 - offset :] == [BLANK_TOKEN] * offset for digits in terms)
        numbers = [int("".join(map(str, digits[: 3 - offset]))) for digits in terms]
        step = numbers[1] - numbers[0]
        assert [after - before for before, after in pairwise(numbers)] == [step] * 3
        assert target == [int(digit) for digit in f"{(numbers[-1] + step) * 10**offset:03}"]
        assert difficulty == abs(step)
        assert splits[numbers[0], step] == "train"  # the content decides, not the place
    assert counts[0] > counts[1] > counts[2] > 50
    for split in ("validation", "test", "extrapolation"):
        moved, unmoved = (
            make_task(values).sample(split, 40, make_generator(split)).inputs
            for values in (settings | {"random_offset": True}, settings)
        )
        assert torch.equal(moved, unmoved)
    single = make_task(
        settings | {"digits": 1, "trained_difference": 1, "largest_difference": 2, "random_offset": True}
    )
    assert (single.sample("train", 50, make_generator("one")).inputs < 10).all()


def split_into_chains(tokens: list[int]) -> list[tuple[int, list[int]]]:
    """Return the first place and the tokens of every chain of an input."""
    chains: list[tuple[int, list[int]]] = []
    for place, token in enumerate(tokens):
        if token == PAD_TOKEN:
            continue
        if not chains or chains[-1][0] + len(chains[-1][1]) != place:
            chains.append((place, []))
        chains[-1][1].append(token)
    return chains


def test_chains_longer_than_training_are_read_only_if_their_places_are_trained():
    longer = "1+2+3+4+5+6+7+8"
    with pytest.raises(ValueError, match="at most 6 operations, got 7"):
        make_task({"kind": "chain"}).parse_input(longer)
    task = make_task({"kind": "chain", "random_offset": True})
    task_input = task.parse_input(longer)
    assert task_input.true_choices[-1] == 6
    assert task_input.shift == DistributionShift("The chain has 7 operations; the model was trained up to 6.", "longer")
    assert task.parse_input("1+2").shift is None
    assert "up to 8 operations" in task.input_hint
    assert task.reported_splits == ("test", "longer")
    with pytest.raises(ValueError, match="at most 8 operations, got 9"):
        task.parse_input(longer + "+9+0")


def test_parts_of_longer_chains_are_as_long_as_the_split_and_share_no_sample():
    task = make_task({"kind": "chain", "max_operations": 1, "ood_max_operations": 2, "random_offset": True})
    assert task.halting_splits == (LONGER,)
    parts = (LONGER, name_part(LONGER, VALIDATION), name_part(LONGER, CALIBRATION))
    batches = [task.sample(part, 400, make_generator(part)) for part in parts]
    rows = [{*map(tuple, batch.inputs.tolist())} for batch in batches]
    assert min(map(len, rows)) > 100
    assert not (rows[0] & rows[1] or rows[0] & rows[2] or rows[1] & rows[2])
    assert all(set(batch.difficulty.tolist()) == {2} for batch in batches)


def test_only_inputs_that_the_page_reads_prepare_the_halting():
    assert {kind: make_task({"kind": kind}).halting_splits for kind in SEQUENCE_TASKS} == dict.fromkeys(
        SEQUENCE_TASKS, ()
    )


def test_reflect_at_walls_equals_a_simulation_cell_by_cell():
    for start, speed in product(range(6), range(-2, 3)):
        cell, direction, path = start, 1 if speed > 0 else -1, []
        for _ in range(20):
            path.append(cell)
            for _ in range(abs(speed)):
                direction = direction if 0 <= cell + direction <= 5 else -direction
                cell += direction
        assert reflect_at_walls(start + speed * torch.arange(20), 6).tolist() == path


def test_visible_frames_determine_the_tracking_target():
    """All starts and velocities that match the visible frames give the same target."""
    task = make_task({"kind": "tracking", "side": 7, "max_horizon": 4, "ood_horizon": 6})
    batch = task.sample(TRAIN, 40, make_generator("one"))
    paths = [
        [reflect_at_walls(torch.tensor(start + speed * step), 7).item() for step in range(12)]
        for start in range(7)
        for speed in range(-2, 3)
    ]
    for (*cells, horizon_code), target in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        visible = [None if cell == 49 else divmod(cell, 7) for cell in cells]
        for axis in (0, 1):
            matching_paths = [
                path
                for path in paths
                if all(
                    coordinates is None or path[frame] == coordinates[axis] for frame, coordinates in enumerate(visible)
                )
            ]
            assert {path[5 + horizon_code - 50] for path in matching_paths} == {target[axis]}


def test_quadrant_target_is_the_quadrant_of_the_position():
    cells, quadrants = (
        make_task({"kind": "tracking", "target": target}).sample(TEST, 50, make_generator("same"))
        for target in ("position", "quadrant")
    )
    assert torch.equal(cells.inputs, quadrants.inputs)
    assert torch.equal((cells.targets >= 8).long() @ torch.tensor([2, 1]), quadrants.targets[:, 0])


FRAMES = {"kind": "tracking", "side": 8, "max_horizon": 3, "ood_horizon": 5, "horizon_encoding": "frames"}
HIDDEN, PAD = 64, 65


@pytest.mark.parametrize("split", ["test", "further"])
def test_frame_encoding_asks_the_questions_of_the_symbol_encoding(split):
    frames, symbols = (
        make_task(settings).sample(split, 60, make_generator("encodings"))
        for settings in (FRAMES, FRAMES | {"horizon_encoding": "symbol"})
    )
    ahead = symbols.inputs[:, -1] - HIDDEN - 1
    assert torch.equal(frames.targets, symbols.targets) and torch.equal(frames.difficulty, symbols.difficulty)
    assert torch.equal(frames.inputs[:, :6], symbols.inputs[:, :6])
    expected = [[HIDDEN] * horizon + [PAD] * (5 - horizon) for horizon in ahead.tolist()]
    assert frames.inputs[:, 6:].tolist() == expected
    assert set(ahead.tolist()) == (set(range(4)) if split == "test" else {4, 5})


def test_frame_encoding_trains_every_place_and_moves_training_paths_alone():
    task = make_task(FRAMES)
    batch = task.sample(TRAIN, 400, make_generator("places"))
    places = set()
    for tokens, states, target in zip(
        batch.inputs.tolist(), batch.states.tolist(), batch.targets.tolist(), strict=True
    ):
        is_frame = [token != PAD for token in tokens]
        start, length = is_frame.index(True), sum(is_frame)
        assert is_frame == [False] * start + [True] * length + [False] * (11 - start - length)
        assert states[start + length - 1] == 8 * target[0] + target[1], "the state of the asked frame is the answer"
        for token, state in zip(tokens, states, strict=True):
            assert state == (IGNORE_INDEX if token == PAD else token if token != HIDDEN else state)
        num_visible = [sum(token < HIDDEN for token in tokens[: place + 1]) for place in range(11)]
        for place in range(start, start + length):
            assert (states[place] == IGNORE_INDEX) == (tokens[place] == HIDDEN and num_visible[place] < 2)
        places.add((start, length))
    assert places == {(start, length) for length in range(6, 10) for start in range(12 - length)}
    targets = task.compute_auxiliary_targets(batch)
    assert task.num_states == 64 and torch.equal(targets.states, batch.states)
    ends = [max(place for place, token in enumerate(tokens) if token != PAD) for tokens in batch.inputs.tolist()]
    assert targets.places.tolist() == [[*range(end + 1), *[IGNORE_INDEX] * (10 - end)] for end in ends]


def test_a_dot_is_asked_for_further_ahead_than_in_training_only_with_the_frame_encoding():
    cells = "1,1 2,2 - 4,4 5,5 6,6"
    with pytest.raises(ValueError, match=r"how many frames to predict ahead, \+0 to \+3"):
        make_task(FRAMES | {"horizon_encoding": "symbol"}).parse_input(f"{cells} +4")
    task = make_task(FRAMES)
    task_input = task.parse_input(f"{cells} +4")
    assert task_input.inputs.tolist() == [[9, 18, HIDDEN, 36, 45, 54, *[HIDDEN] * 4, PAD]]
    assert task_input.true_choices == (4, 4)
    assert task_input.display["items"] == [*cells.split(), "+1", "+2", "+3", "+4"]
    sentence = "The question asks 4 frames ahead; the model was trained up to 3."
    assert task_input.shift == DistributionShift(sentence, "further")
    assert task.parse_input(f"{cells} +3").shift is None
    assert task.parse_input("1,1 2,2 3,3 4,4 5,5 0,0 +5").shift.split is None, "no motion comes before further"
    assert "up to 5" in task.input_hint and task.input_editor["ahead"] == 5
    assert task.reported_splits == ("test", "further")
    with pytest.raises(ValueError, match=r"\+0 to \+5"):
        task.parse_input(f"{cells} +6")
    for split in (TRAIN, TEST, "further"):
        batch = task.sample(split, 20, make_generator("texts"))
        for row in range(20):
            sample = Batch(batch.inputs[row : row + 1], batch.targets[row : row + 1], batch.difficulty[row : row + 1])
            read = task.parse_input(task.format_sample(sample))
            assert read.true_choices == tuple(sample.targets[0].tolist())


def test_qamnist_target_is_the_computed_answer_of_the_question():
    task = make_task({"kind": "qamnist", "operations": 2})
    images, labels = load_images(TEST)
    digit_by_pixels = {
        row.numpy().tobytes(): label
        for row, label in zip(resize_and_normalise(images).flatten(1), labels.tolist(), strict=True)
    }
    batch, longer = (task.sample(split, 40, make_generator("reckon")) for split in (TEST, "longer"))
    assert set(batch.difficulty.tolist()) == {1, 2} and set(longer.difficulty.tolist()) == {3, 4}
    samples = [
        sample
        for part in (batch, longer)
        for sample in zip(part.inputs, part.targets.tolist(), part.states.tolist(), strict=True)
    ]
    for frames, (target,), states in samples:
        codes = frames[:, 0].long().tolist()
        digits = [digit_by_pixels[frame[1:].numpy().tobytes()] for frame in frames if frame[0] == IMAGE_CODE]
        question = [code for code in codes if code not in (IMAGE_CODE, EMPTY_CODE)]
        value = digits[question[0]]
        expected_states = [*(10 + digit for digit in digits), value]
        expected_operands = [*(IGNORE_INDEX for _ in digits), 20 + value]
        for operator, index in zip(question[1::2], question[2::2], strict=True):
            value += {PLUS: 1, MINUS: -1}[operator] * digits[index]
            expected_states += [IGNORE_INDEX, value % 10]
            expected_operands += [IGNORE_INDEX, 20 + digits[index]]
        assert value % 10 == target
        assert states == [
            state
            for part in (expected_states, expected_operands)
            for state in part + [IGNORE_INDEX] * (len(frames) - len(part))
        ]
        assert codes == sorted(codes, key=lambda code: (code != IMAGE_CODE) + (code == EMPTY_CODE))
    task_input = task.parse_input("3 7 5 : 1 + 3 - 2")
    assert task_input.context == "3 + 5 - 7" and task_input.inputs.shape[1:] == batch.inputs.shape[1:]
    input_digits = [
        digit_by_pixels[frame[1:].numpy().tobytes()] for frame in task_input.inputs[0] if frame[0] == IMAGE_CODE
    ]
    assert input_digits == [3, 7, 5]
    assert all(a["until"] + 1 == b["from"] for a, b in pairwise(task_input.display["phases"]))


def test_probe_reads_the_states_of_a_frame_while_the_next_frame_is_shown():
    task = make_task({"kind": "qamnist", "digits": 2, "operations": 1, "per_digit": 4, "per_part": 2, "answering": 3})
    batch = task.sample(TRAIN, 40, make_generator("probe"))
    targets = task.compute_auxiliary_targets(batch)
    assert task.num_states == 30 and targets.places is None and torch.equal(targets.states, batch.states)
    has_two_digits = batch.inputs[:, 1, 0] == IMAGE_CODE
    has_operation = batch.difficulty == 1
    assert {(True, True), (False, True), (False, False)} <= set(
        zip(has_two_digits.tolist(), has_operation.tolist(), strict=True)
    )
    for row, ticks in enumerate(targets.probe_ticks.tolist()):
        num_digits = 1 + int(has_two_digits[row])
        ends = [4 * (index + 1) for index in range(num_digits)]
        ends += [ends[-1] + 2 * (index + 1) for index in range(3 if has_operation[row] else 1)]
        assert ticks[: len(ends)] == [end + 1 for end in ends], "the second tick of two"
        recalled = ticks[len(ticks) // 2 :]
        assert recalled[: len(ends)] == ends, "the first tick of two"


def test_a_stage_of_a_curriculum_has_short_questions_for_the_same_model():
    task = make_task({"kind": "qamnist", "digits": 3, "operations": 4})
    stage = make_task({"kind": "qamnist", "digits": 3, "operations": 4, "curriculum_operations": 2})
    assert stage.get_spec() == task.get_spec()
    for split, operations in ((TRAIN, {0, 1, 2}), (VALIDATION, {1, 2}), ("longer", {5, 6, 7, 8})):
        batch = stage.sample(split, 60, make_generator("stage"))
        assert set(batch.difficulty.tolist()) == operations
        if split != "longer":
            assert batch.inputs.shape == (60, 12, 1025)
    with pytest.raises(ValueError, match=r"task\.curriculum_operations must not be above task\.operations: got 5, 4\."):
        make_task({"kind": "qamnist", "operations": 4, "curriculum_operations": 5})


def test_only_training_questions_may_have_no_operation():
    task = make_task({"kind": "qamnist", "operations": 2})
    shares = {
        split: (task.sample(split, 400, make_generator("plain", split)).difficulty == 0).float().mean().item()
        for split in ("train", "validation", "calibration", "test")
    }
    assert 0.15 < shares.pop("train") < 0.35
    assert not any(shares.values())


def test_samples_without_a_row_of_the_split_are_repeated():
    """A sample may have no row of the split; the mask of zero rows is still boolean."""
    assert is_in_split(TEST, "sorting", torch.empty(0, 10)).dtype == torch.bool
    task = make_task({"kind": "sorting"})
    assert task.generate_input(11) == "-0.29 -1.60 -0.82 0.71 1.58 0.86 0.39 -0.19 -1.64 1.21"


def test_generated_numbers_have_no_negative_zero(monkeypatch):
    task = make_task({"kind": "sorting", "count": 3})
    batch = Batch(
        torch.tensor([[-0.004, 0.5, -1.2]]), torch.zeros(1, 3, dtype=torch.long), torch.zeros(1, dtype=torch.long)
    )
    monkeypatch.setattr(type(task), "sample", lambda *_: batch)
    assert task.generate_input(0) == "0.00 0.50 -1.20"


@pytest.mark.parametrize(
    "choices, label, sentence",
    [
        ([1, 0, 2], "-1 2 7", "In order: -1 2 7"),
        ([1, 0], "2 of 3 numbers", "It output only 2 of the 3 numbers: -1 2"),
        ([1, 1, 2], "some numbers twice", "It output some numbers more than once: -1 -1 7"),
        ([], "0 of 3 numbers", "It output none of the numbers"),
    ],
)
def test_sorting_answer_has_the_numbers_that_were_output(choices, label, sentence):
    task = make_task({"kind": "sorting", "count": 3})
    answer = task.format_answer(task.parse_input("2 -1 7"), choices)
    assert (answer.label, answer.sentence) == (label, sentence)


@pytest.mark.parametrize("kind", SEQUENCE_TASKS)
def test_generated_inputs_are_distinct_reproducible_and_parsed_with_any_spacing(kind):
    task = make_task({"kind": kind})
    texts = [task.generate_input(seed) for seed in range(4)]
    assert len(set(texts)) == 4 and texts == [task.generate_input(seed) for seed in range(4)]
    for text in texts:
        assert task.parse_input(text).inputs.equal(task.parse_input(re.sub(" +", "  ", text)).inputs)

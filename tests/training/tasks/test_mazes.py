"""Mazes: what is drawn has one way, what is read is what was drawn, and walking tells the truth."""

import io
from itertools import product

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
import torch
from PIL import Image

from training.auxiliary_losses import AuxiliaryTargets
from training.data.maze import COLOURS, GOAL, MOVES, PATH, START, WAIT, WALL, Maze, compute_canonical_bytes
from training.data.maze_reader.reader import parse_maze
from training.losses import IGNORE_INDEX
from training.paths import EXAMPLES_DIR
from training.tasks import make_task
from training.tasks.samples import IncompleteInputError
from training.tasks.splits import TEST, TRAIN, VALIDATION, assign_split, make_generator

UP, DOWN, LEFT, RIGHT = range(4)


def make_maze_task(**settings):
    return make_task({"kind": "mazes", "side": 11, "route": 30} | settings)


def sample_mazes(split: str = TRAIN, count: int = 40, **settings) -> list[tuple[Maze, list[int], int]]:
    """Mazes of a batch, their targets and lengths, read back from the tensors."""
    batch = make_maze_task(**settings).sample(split, count, make_generator(split, count))
    mazes = [parse_maze(picture.permute(1, 2, 0).numpy()) for picture in batch.inputs]
    return list(zip(mazes, batch.targets.tolist(), batch.difficulty.tolist(), strict=True))


def parse_grid(*rows: str) -> np.ndarray:
    return np.array([["#.SG".index(mark) for mark in row] for row in rows], np.uint8)


CORNER = parse_grid("#####", "#S#.#", "#.#.#", "#..G#", "#####")  # down, down, right, right


def test_the_target_is_the_way_that_a_search_finds_and_then_waiting():
    for side in (7, 15):
        for maze, target, length in sample_mazes(side=side):
            assert target == maze.find_shortest_moves() + [WAIT] * (30 - length)
            assert length == maze.steps_to_goal[maze.start] > 0


def test_a_maze_has_walls_around_it_and_one_way_between_any_two_places():
    for maze, *_ in sample_mazes(count=20):
        assert (maze.grid[[0, -1]] == WALL).all() and (maze.grid[:, [0, -1]] == WALL).all()
        places = len(maze.steps_to_goal)
        assert places == (maze.grid != WALL).sum() == 2 * 25 - 1, (
            "all is connected, and a tree of 25 cells has 24 openings"
        )
        assert maze.start[0] % 2 == maze.start[1] % 2 == maze.goal[0] % 2 == maze.goal[1] % 2 == 1


def test_inputs_are_the_published_colours():
    inputs = make_maze_task().sample(TRAIN, 8, make_generator("colours")).inputs
    assert inputs.dtype == torch.float32 and inputs.shape == (8, 3, 11, 11)
    pixels = inputs.permute(0, 2, 3, 1).reshape(-1, 3)
    assert set(map(tuple, pixels.tolist())) == {(0, 0, 0), (1, 1, 1), (1, 0, 0), (0, 1, 0)}
    assert (inputs == torch.tensor([1.0, 0, 0]).view(3, 1, 1)).all(1).sum() == 8
    wide = make_maze_task(expand_range=True).sample(TRAIN, 8, make_generator("colours")).inputs
    assert torch.equal(wide, inputs * 2 - 1)


def test_every_mirror_image_of_a_maze_is_the_same_content_and_its_way_is_mirrored_too():
    for maze, target, length in sample_mazes(count=12):
        views = [np.rot90(side, turns).copy() for side in (maze.grid, maze.grid.T) for turns in range(4)]
        assert {compute_canonical_bytes(view) for view in views} == {compute_canonical_bytes(maze.grid)}
        assert assign_split(compute_canonical_bytes(maze.grid)) == TRAIN
        flipped = [{LEFT: RIGHT, RIGHT: LEFT}.get(move, move) for move in target[:length]]
        assert Maze(np.fliplr(maze.grid)).find_shortest_moves() == flipped
        turned = [{UP: LEFT, LEFT: DOWN, DOWN: RIGHT, RIGHT: UP}[move] for move in target[:length]]
        assert Maze(np.rot90(maze.grid)).find_shortest_moves() == turned


def test_no_maze_of_one_split_is_a_mirror_image_of_one_of_another():
    contents = {
        split: {compute_canonical_bytes(maze.grid) for maze, *_ in sample_mazes(split, 300)}
        for split in make_maze_task().splits
    }
    for a in contents:
        assert all(not contents[a] & contents[b] for b in contents if b != a)


def test_ways_that_are_too_long_are_not_drawn():
    assert max(length for *_, length in sample_mazes(route=6, count=60)) == 6


def test_a_split_without_enough_mazes_is_named():
    with pytest.raises(ValueError, match=r"too few for a nowhere split; raise task\.side or task\.route"):
        make_maze_task(side=7, route=2).sample("nowhere", 100, make_generator(0))


@pytest.mark.parametrize(
    "moves, route, by_wall",
    [
        ([DOWN, DOWN, RIGHT, RIGHT, WAIT], [(1, 1), (2, 1), (3, 1), (3, 2), (3, 3)], False),
        ([DOWN, WAIT, DOWN, RIGHT, RIGHT, UP, UP], [(1, 1), (2, 1), (3, 1), (3, 2), (3, 3)], False),
        ([DOWN, RIGHT, DOWN], [(1, 1), (2, 1)], True),
        ([UP], [(1, 1)], True),
        ([WAIT, WAIT], [(1, 1)], False),
        ([DOWN, UP, DOWN], [(1, 1), (2, 1), (1, 1), (2, 1)], False),
    ],
)
def test_walking(moves, route, by_wall):
    assert Maze(CORNER).walk(moves) == (route, by_wall)


def test_walking_off_the_picture_is_walking_into_a_wall():
    assert Maze(parse_grid("S.G", "...", "...", "...", "...")).walk([UP, RIGHT]) == ([(0, 0)], True)


@pytest.mark.parametrize(
    "moves, sentence",
    [
        ([DOWN, DOWN, RIGHT, RIGHT, WAIT, WAIT], "Solved: it reaches the goal in 4 steps"),
        ([DOWN, UP, DOWN, DOWN, RIGHT, RIGHT], "Solved: it reaches the goal in 6 steps (the shortest path has 4)"),
        ([DOWN, LEFT], "Not solved: after 1 step the path hits a wall, 3 steps short of the goal"),
        ([UP], "Not solved: after 0 steps the path hits a wall, 4 steps short of the goal"),
        ([DOWN, WAIT, WAIT], "Not solved: the path stops after 1 step, 3 steps short of the goal"),
        ([DOWN, DOWN], "All 2 steps of the answer are correct; the goal is 2 steps further"),
    ],
)
def test_an_answer_describes_where_it_leads(moves, sentence):
    made = make_maze_task()
    read = made.parse_input(COLOURS[CORNER])
    answer = made.format_answer(read, moves)
    assert answer.sentence == sentence
    assert answer.value["reaches_goal"] == sentence.startswith("Solved") and answer.label
    assert answer.route[0] == (1, 1) and answer.value["steps"] == len(answer.route) - 1


def test_what_is_read_is_what_was_drawn_at_any_size_and_even_as_jpeg():
    for maze, *_ in sample_mazes(count=3):
        pixels = (COLOURS[maze.grid] * 255).astype(np.uint8)
        for scale in (1, 2, 5, 8, 13):
            large = pixels.repeat(scale, 0).repeat(scale, 1)
            assert np.array_equal(parse_maze(large / np.float32(255)).grid, maze.grid), scale
        for quality in (30, 75):
            blurred = io.BytesIO()
            Image.fromarray(pixels.repeat(8, 0).repeat(8, 1)).save(blurred, "JPEG", quality=quality)
            assert np.array_equal(parse_maze(np.asarray(Image.open(blurred), np.float32) / 255).grid, maze.grid), (
                quality
            )


def test_a_solution_drawn_in_blue_is_path():
    pixels = COLOURS[CORNER].copy()
    pixels[2:4, 1] = pixels[3, 2] = (0, 0, 1)
    assert np.array_equal(parse_maze(pixels).grid, CORNER)


def replace_cell(row: int, column: int, kind: int) -> np.ndarray:
    other = CORNER.copy()
    other[row, column] = kind
    return COLOURS[other]


@pytest.mark.parametrize(
    "pixels, says",
    [
        (replace_cell(1, 1, PATH), "5 x 5 positions has no red start"),
        (replace_cell(2, 1, START), "has 2 red positions instead of one start"),
        (replace_cell(3, 3, PATH), "has no green goal"),
        (replace_cell(1, 3, GOAL), "has 2 green positions instead of one goal"),
        (replace_cell(3, 2, WALL), "goal cannot be reached"),
        (np.full((20, 20, 3), 0.5), "one colour"),
        (np.random.default_rng(0).random((64, 64, 3)), "No maze is recognised"),
        (np.zeros((30, 30)), "needs colours"),
        (np.ones((3, 40, 3)), "5 to 199 positions per side; this picture has 40 x 3 pixels"),
        (np.ones((211, 211, 3)) * (np.indices((211, 211)).sum(0) % 2)[..., None], "No maze"),
        (np.ones((2_001, 10, 3)), "10 x 2001 pixels"),
    ],
)
def test_what_is_no_maze_gets_one_sentence(pixels, says):
    with pytest.raises(ValueError, match=says) as caught:
        make_maze_task().parse_input(pixels.astype(np.float32))
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_start_and_goal_may_be_placed_by_hand_where_a_picture_has_none():
    plain = np.where(CORNER == WALL, WALL, PATH)
    task = make_maze_task()
    with pytest.raises(IncompleteInputError) as caught:
        task.parse_input(COLOURS[plain])
    display = caught.value.display
    assert np.array_equal(display["pixels"], COLOURS[plain]) and "start" not in display
    task_input = task.parse_input(COLOURS[plain], start=(1, 1), goal=(3, 3))
    assert np.array_equal(task_input.context.grid, CORNER)
    assert (task_input.display["start"], task_input.display["goal"]) == ([1, 1], [3, 3])
    assert np.array_equal(task_input.display["pixels"], COLOURS[CORNER])


def test_a_maze_of_another_size_is_read_and_the_hint_names_the_trained_size():
    made = make_maze_task()
    assert made.parse_input(COLOURS[CORNER]).inputs.shape == (1, 3, 5, 5)
    assert "11 x 11" in made.input_hint


def test_sides_are_odd():
    with pytest.raises(ValueError, match=r"must be odd.*got 10"):
        make_maze_task(side=10)


def test_the_bundled_examples_are_those_that_the_task_generates():
    steps_by_name = {"maze-15-0.png": 10, "maze-15-1.png": 22, "maze-15-2.png": 42}
    for path in sorted(EXAMPLES_DIR.glob("maze-*.png")):
        side, seed = map(int, path.stem.split("-")[1:])
        made = make_maze_task(side=side, route={11: 30, 15: 50, 39: 100, 99: 300}[side])
        generated = made.generate_input(seed, steps_by_name.get(path.name))
        assert np.array_equal(np.asarray(Image.open(path).convert("RGB")), generated), path.name
        assert path in made.get_examples()
        assert assign_split(compute_canonical_bytes(made.parse_input(generated / 255).context.grid)) == TEST


def test_a_file_of_mazes_is_solved_and_ways_that_are_too_long_are_cut_off(tmp_path):
    batch = make_maze_task().sample(VALIDATION, 5, make_generator("file"))
    rows = []
    for picture in batch.inputs:
        content = io.BytesIO()
        Image.fromarray((picture.permute(1, 2, 0).numpy() * 255).astype(np.uint8)).save(content, "PNG")
        rows.append({"bytes": content.getvalue(), "path": None})
    path = tmp_path / "mazes.parquet"
    parquet.write_table(pyarrow.table({"image": rows, "solution_path": [[0]] * 5}), path)
    read = make_maze_task().load_file(path)
    assert torch.equal(read.inputs, batch.inputs) and torch.equal(read.targets, batch.targets)
    assert torch.equal(make_maze_task(route=4).load_file(path).targets, batch.targets[:, :4])


def test_moves_are_numbered_as_published():
    assert MOVES == ((-1, 0), (1, 0), (0, -1), (0, 1), (0, 0)) and make_maze_task().get_labels() == [
        "up",
        "down",
        "left",
        "right",
        "wait",
    ]


@pytest.mark.parametrize("settings", [{}, {"route": 6}, {"expand_range": True}])
def test_auxiliary_targets_walk_from_the_start_to_the_goal(settings):
    task = make_maze_task(**settings)
    batch = task.sample(TRAIN, 30, make_generator("targets"))
    targets = task.compute_auxiliary_targets(batch)
    assert task.num_states == 11 * 11
    assert targets.image_shape == (11, 11)
    for picture, moves, places, states in zip(
        batch.inputs, batch.targets.tolist(), targets.places.tolist(), targets.states.tolist(), strict=True
    ):
        pixels = picture.permute(1, 2, 0).numpy()
        maze = parse_maze((pixels + 1) / 2 if task.settings.expand_range else pixels)
        position = cell = maze.start
        for index, (move, place, state) in enumerate(zip(moves, places, states, strict=True)):
            if move == WAIT:
                assert place == state == IGNORE_INDEX
                continue
            assert place == cell[0] * 11 + cell[1]
            position = (position[0] + MOVES[move][0], position[1] + MOVES[move][1])
            assert maze.is_open(position)
            if index % 2:
                assert position[0] % 2 and position[1] % 2, "two moves lead to a cell"
                cell = position
            assert state == cell[0] * 11 + cell[1]
        assert position == maze.goal


@pytest.mark.parametrize("settings", [{}, {"expand_range": True}])
def test_the_class_of_a_cell_is_the_move_that_leads_towards_the_goal(settings):
    task = make_maze_task(**settings)
    batch = task.sample(TRAIN, 20, make_generator("classes"))
    classes = task.compute_place_classes(batch).unflatten(1, (11, 11))
    assert task.num_place_classes == 4
    for picture, own in zip(batch.inputs, classes.tolist(), strict=True):
        pixels = picture.permute(1, 2, 0).numpy()
        maze = parse_maze((pixels + 1) / 2 if task.settings.expand_range else pixels)
        for row, column in product(range(11), repeat=2):
            if not (row % 2 and column % 2) or (row, column) == maze.goal:
                assert own[row][column] == IGNORE_INDEX
                continue
            move = MOVES[own[row][column]]
            neighbour = (row + move[0], column + move[1])
            assert maze.steps_to_goal[neighbour] == maze.steps_to_goal[row, column] - 1


@pytest.mark.parametrize(("side", "features"), [(15, 8), (39, 20), (15, 15), (11, 6)])
def test_a_pixel_is_attended_at_the_feature_that_a_backbone_of_this_stride_centres_on_it(side, features):
    pixels = torch.arange(side * side).unsqueeze(0)
    targets = AuxiliaryTargets(pixels, pixels, (side, side))
    stride = 2 if features < side else 1
    expected = [(pixel // side // stride) * features + pixel % side // stride for pixel in range(side * side)]
    assert targets.locate_features(features**2)[0].tolist() == expected
    hidden = AuxiliaryTargets(pixels, torch.full_like(pixels, IGNORE_INDEX), (side, side))
    assert (hidden.locate_features(features**2) == IGNORE_INDEX).all()


@pytest.mark.parametrize("even_lengths", [False, True])
def test_a_stage_of_a_curriculum_has_short_routes_for_the_same_model(even_lengths):
    stage = make_maze_task(curriculum_route=8, even_lengths=even_lengths)
    assert stage.get_spec() == make_maze_task().get_spec()
    for split in (TRAIN, VALIDATION):
        batch = stage.sample(split, 40, make_generator("stage"))
        shorter = make_maze_task(route=8, even_lengths=even_lengths).sample(split, 40, make_generator("stage"))
        assert torch.equal(batch.inputs, shorter.inputs)
        assert torch.equal(batch.targets[:, :8], shorter.targets)
        assert (batch.targets[:, 8:] == WAIT).all()
        assert batch.difficulty.max() <= 8


@pytest.mark.parametrize("even_lengths", [False, True])
def test_a_maze_with_a_longer_route_than_an_answer_asks_for_the_first_moves(even_lengths):
    task = make_maze_task(route=12, longest_route=30, even_lengths=even_lengths)
    assert task.get_spec() == make_maze_task(route=12).get_spec()
    for split in (TRAIN, TEST):
        batch = task.sample(split, 60, make_generator("longest"))
        longer = make_maze_task(route=30, even_lengths=even_lengths).sample(split, 60, make_generator("longest"))
        assert torch.equal(batch.inputs, longer.inputs) and torch.equal(batch.difficulty, longer.difficulty)
        assert torch.equal(batch.targets, longer.targets[:, :12])
        assert 12 < batch.difficulty.max() <= 30
    targets = task.compute_auxiliary_targets(batch)
    assert targets.states.shape == (60, 12)
    assert torch.equal(targets.lengths, batch.difficulty.clamp(max=12))


def test_a_maze_differs_from_training_if_its_route_is_longer_than_any():
    maze = make_maze_task(side=15, route=50).generate_input(0, difficulty=24)
    for settings in ({"route": 12, "longest_route": 24}, {"route": 24}):
        assert make_maze_task(side=15, **settings).parse_input(maze / 255).shift is None
    for settings in ({"route": 12, "longest_route": 22}, {"route": 22}):
        shift = make_maze_task(side=15, **settings).parse_input(maze / 255).shift
        assert shift.sentence == "The shortest path has 24 steps; the model was trained on paths of at most 22."


def test_the_longest_route_of_a_maze_is_not_shorter_than_an_answer():
    with pytest.raises(ValueError, match=r"task\.longest_route must not be below task\.route: got 28, 30\."):
        make_maze_task(longest_route=28)


def test_a_route_beyond_the_answer_is_refused():
    with pytest.raises(ValueError, match=r"task\.curriculum_route must not be above task\.route: got 31, 30\."):
        make_maze_task(curriculum_route=31)

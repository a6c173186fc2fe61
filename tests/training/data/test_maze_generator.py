"""Tests of the maze generator and of the sampler against loops over single mazes, with the same random numbers."""

import numpy as np
import pytest
import torch

from training.data.maze import GOAL, PATH, START, WALL, Maze, compute_canonical_bytes
from training.data.maze_generator import build_grids, carve_layouts, compute_depths, root_at, trace_moves
from training.data.maze_sampler import MAX_ENDPOINT_ATTEMPTS, sample_mazes
from training.tasks import make_task
from training.tasks.splits import TEST, TRAIN, assign_split, make_generator


def carve_one(num_cells, random_numbers):
    """Return the parents of one spanning tree, from the recursive backtracker with an explicit stack."""
    numbers = iter(random_numbers)
    root = (int(next(numbers) * num_cells), int(next(numbers) * num_cells))
    parents, stack = {root: root}, [root]
    while stack:
        row, column = stack[-1]
        neighbours = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
        free = [cell for cell in neighbours if cell not in parents and all(0 <= n < num_cells for n in cell)]
        if not free:
            stack.pop()
            continue
        cell = free[int(next(numbers) * len(free))]
        parents[cell] = stack[-1]
        stack.append(cell)
    return parents


def build_maze(parents, num_cells, start, goal):
    grid = np.full((2 * num_cells + 1, 2 * num_cells + 1), WALL, np.uint8)
    for cell, parent in parents.items():
        grid[2 * cell[0] + 1, 2 * cell[1] + 1] = PATH
        grid[cell[0] + parent[0] + 1, cell[1] + parent[1] + 1] = PATH
    for (row, column), kind in ((start, START), (goal, GOAL)):
        grid[2 * row + 1, 2 * column + 1] = kind
    return Maze(grid)


@pytest.mark.parametrize("num_cells", [2, 5, 9])
def test_layouts_are_those_of_the_recursive_backtracker(num_cells):
    numbers = torch.rand(20, num_cells**2 + 1, generator=make_generator(num_cells)).double().numpy()
    parents = carve_layouts(num_cells, numbers)
    grids = build_grids(parents, num_cells)
    for row in range(20):
        expected = carve_one(num_cells, numbers[row].tolist())
        for cell, parent in expected.items():
            assert divmod(parents[row, cell[0] * num_cells + cell[1]], num_cells) == parent
        maze = build_maze(expected, num_cells, (0, 0), (num_cells - 1, num_cells - 1))
        assert np.array_equal(grids[row] != WALL, maze.grid != WALL)


def test_distances_and_moves_are_those_of_a_search():
    parents = carve_layouts(6, torch.rand(30, 37, generator=make_generator("routes")).double().numpy())
    starts = torch.randint(36, (30,), generator=make_generator("starts")).numpy()
    goals = (starts + torch.randint(1, 36, (30,), generator=make_generator("goals")).numpy()) % 36
    from_start = root_at(parents, starts)
    depths, routes = compute_depths(from_start), trace_moves(from_start, goals, 6)
    grids = build_grids(parents, 6)
    for row in range(30):
        for cell, kind in ((starts[row], START), (goals[row], GOAL)):
            grids[row][2 * (cell // 6) + 1, 2 * (cell % 6) + 1] = kind
        expected = Maze(grids[row]).find_shortest_moves()
        assert routes[row] == expected and 2 * depths[row, goals[row]] == len(expected)


def sample_one(num_cells, max_moves, split, generator):
    """Return one maze of a split and its route, from the definition of the sampler."""
    while True:
        parents = carve_one(num_cells, torch.rand(num_cells**2 + 1, generator=generator).tolist())
        pairs = torch.randint(num_cells**2, (MAX_ENDPOINT_ATTEMPTS, 2), generator=generator)
        for start, goal in pairs.tolist():
            if start == goal:
                continue
            maze = build_maze(parents, num_cells, divmod(start, num_cells), divmod(goal, num_cells))
            is_short = maze.steps_to_goal[maze.start] <= max_moves
            if is_short and assign_split(compute_canonical_bytes(maze.grid)) == split:
                return maze


@pytest.mark.parametrize("split, num_cells, max_moves", [(TRAIN, 5, 30), (TEST, 5, 30), (TEST, 3, 4)])
def test_samples_are_those_of_one_maze_after_the_other(split, num_cells, max_moves):
    """Test samples are often rejected with all pairs of a layout, and the next maze begins behind its numbers."""
    generators = [make_generator(split, number) for number in range(3)]
    expected_generators = [make_generator(split, number) for number in range(3)]
    batches = sample_mazes(num_cells, max_moves, lambda content: assign_split(content) == split, 15, generators)
    for batch, generator, expected_generator in zip(batches, generators, expected_generators, strict=True):
        for maze, moves in batch:
            expected = sample_one(num_cells, max_moves, split, expected_generator)
            assert np.array_equal(maze.grid, expected.grid) and moves == expected.find_shortest_moves()
        assert torch.equal(generator.get_state(), expected_generator.get_state())


def test_route_lengths_of_training_mazes_are_even_and_other_splits_stay():
    even, plain = (make_task({"kind": "mazes", "even_lengths": value}) for value in (True, False))
    lengths = torch.cat([even.sample(TRAIN, 500, make_generator(number)).difficulty for number in range(2)])
    counts = torch.bincount(lengths, minlength=51)
    assert counts.sum() == counts[2::2].sum() == 1_000
    assert counts[2::2].min() >= 15 and counts[2::2].max() <= 75  # 40 expected, standard deviation 6.2
    assert torch.equal(*(task.sample(TEST, 20, make_generator("same")).inputs for task in (even, plain)))
    batch = even.sample(TRAIN, 20, make_generator("walk"))
    for image, target, length in zip(batch.inputs, batch.targets.tolist(), batch.difficulty.tolist(), strict=True):
        grid = np.where((image == 1).all(0), PATH, WALL).astype(np.uint8)
        grid[(image[0] == 1).numpy() & (image[1] == 0).numpy()] = START
        grid[(image[1] == 1).numpy() & (image[0] == 0).numpy()] = GOAL
        assert Maze(grid).find_shortest_moves() == target[:length]
        assert assign_split(compute_canonical_bytes(grid)) == TRAIN


def test_the_largest_of_two_draws_prefers_long_routes():
    settings = {"kind": "mazes", "side": 11, "route": 20, "even_lengths": True}
    once, twice = (
        make_task(settings | {"length_draws": draws}).sample(TRAIN, 400, make_generator("draws")) for draws in (1, 2)
    )
    assert once.difficulty.max() == twice.difficulty.max() == 20
    # of ten lengths, the longest has 1 chance in 10, or 19 in 100
    shares = [(batch.difficulty == 20).float().mean().item() for batch in (once, twice)]
    assert 0.05 < shares[0] < 0.15 < shares[1] < 0.26
    plain = make_task(settings).sample(TRAIN, 5, make_generator("draws"))
    assert torch.equal(
        plain.inputs, make_task(settings | {"length_draws": 1}).sample(TRAIN, 5, make_generator("draws")).inputs
    )
    with pytest.raises(ValueError, match=r"task\.length_draws needs task\.even_lengths=true: got 2 and false\."):
        make_task({"kind": "mazes", "length_draws": 2})


def test_lengths_that_no_maze_has_are_drawn_again():
    task = make_task({"kind": "mazes", "side": 7, "route": 40, "even_lengths": True})
    lengths = task.sample(TRAIN, 200, make_generator("short")).difficulty
    assert lengths.max() <= 16 and len(lengths.unique()) >= 6


@pytest.mark.parametrize("even", [False, True])
def test_batches_that_are_generated_together_equal_single_ones(even):
    task = make_task({"kind": "mazes", "side": 11, "route": 20, "even_lengths": even})
    stream = task.iterate_batches(100, seed=3, rank=1, world_size=2, start=4)
    for index in range(4, 16):  # more than one group of 10
        single = task.sample(TRAIN, 100, make_generator(TRAIN, 3, 0, 2 * index + 1))
        batch = next(stream)
        assert torch.equal(batch.inputs, single.inputs) and torch.equal(batch.targets, single.targets)

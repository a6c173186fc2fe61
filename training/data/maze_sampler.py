"""Sample mazes of a split with their routes, by rejection.

Random numbers of a batch come from the generator of that batch alone, so batches that are sampled together are equal to batches
that are sampled one by one. Together they are faster: see `training.data.maze_generator`.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from training.data.maze import GOAL, START, Maze, compute_all_canonical_bytes
from training.data.maze_generator import build_grids, carve_layouts, compute_depths, root_at, trace_moves

MAX_ENDPOINT_ATTEMPTS = 32  # pairs of start and goal per layout
MAX_LAYOUTS = 1_000  # attempts before a split counts as too small
MAX_LENGTH_ATTEMPTS = 16  # layouts before another route length is drawn

SampledMaze = tuple[Maze, list[int]]
AcceptanceTest = Callable[[bytes], bool]


class TooFewMazesError(Exception):
    """No maze of the split was found in `MAX_LAYOUTS` layouts."""


@dataclass
class _Layouts:
    """Layouts of several batches and the mazes that were made of them.

    Attributes:
        num_cells: Cells per side.
        parents: Parent of every cell, shape (B, C).
        grids: Grids without start and goal.
        mazes: A maze with its route for each layout that gave one.
    """

    num_cells: int
    parents: Int[np.ndarray, "B C"]
    grids: np.ndarray
    mazes: dict[int, SampledMaze] = field(default_factory=dict)

    @classmethod
    def carve(cls, num_cells: int, random_numbers: Float[np.ndarray, "B n"]) -> "_Layouts":
        parents = carve_layouts(num_cells, random_numbers)
        return cls(num_cells, parents, build_grids(parents, num_cells))

    def measure(
        self, rows: Int[np.ndarray, " n"], starts: Int[np.ndarray, " n"]
    ) -> tuple[Int[np.ndarray, "n C"], Int[np.ndarray, "n C"]]:
        """Return the distance in cells from a start to every cell, and the tree with the start as its root."""
        from_start = root_at(self.parents[rows], starts)
        return compute_depths(from_start), from_start

    def add_mazes(
        self,
        rows: Int[np.ndarray, " n"],
        from_start: Int[np.ndarray, "n C"],
        goals: Int[np.ndarray, " n"],
        has_route: Bool[np.ndarray, " n"],
        is_accepted: AcceptanceTest,
    ) -> None:
        """Place starts and goals, and keep the mazes that are accepted.

        Args:
            rows: Layouts to use.
            from_start: Tree of each of them with the start as its root.
            goals: Cell of each goal.
            has_route: Whether start and goal have a route of a wanted length.
            is_accepted: Whether a maze with these canonical bytes is in the split.
        """
        rows, from_start, goals = rows[has_route], from_start[has_route], goals[has_route]
        grids = self.grids[rows]
        starts = (from_start == np.arange(from_start.shape[1])).argmax(1)
        for cells, kind in ((starts, START), (goals, GOAL)):
            row, column = np.divmod(cells, self.num_cells)
            grids[np.arange(len(rows)), 2 * row + 1, 2 * column + 1] = kind
        accepted = np.array([is_accepted(content) for content in compute_all_canonical_bytes(grids)], bool)
        routes = trace_moves(from_start[accepted], goals[accepted], self.num_cells)
        for row_index, grid, moves in zip(rows[accepted].tolist(), grids[accepted], routes, strict=True):
            self.mazes[row_index] = (Maze(grid), moves)


def sample_mazes(
    num_cells: int,
    max_moves: int,
    is_accepted: AcceptanceTest,
    count: int,
    generators: Sequence[torch.Generator],
) -> list[list[SampledMaze]]:
    """Sample mazes with start and goal uniform over the cells, as far as their route is short enough.

    A layout gets up to `MAX_ENDPOINT_ATTEMPTS` pairs of start and goal.

    Args:
        num_cells: Cells per side.
        max_moves: Longest route.
        is_accepted: Whether a maze with these canonical bytes is in the split.
        count: Mazes per batch.
        generators: Generator of each batch.

    Returns:
        The mazes of each batch with their routes.

    Raises:
        TooFewMazesError: Almost no maze is accepted.
    """
    batches: list[list[SampledMaze]] = [[] for _ in generators]
    failures = [0] * len(generators)  # layouts without a maze since the last one with a maze
    while unfinished := [index for index, mazes in enumerate(batches) if len(mazes) < count]:
        num_layouts = [count - len(batches[index]) for index in unfinished]
        attempts = [
            draw_attempts(generators[index], missing, num_cells)
            for index, missing in zip(unfinished, num_layouts, strict=True)
        ]
        random_numbers, endpoints = (np.concatenate(parts) for parts in zip(*attempts, strict=True))
        found = iter(place_endpoints(_Layouts.carve(num_cells, random_numbers), endpoints, max_moves, is_accepted))
        for index, missing in zip(unfinished, num_layouts, strict=True):
            for maze in itertools.islice(found, missing):
                if maze is not None:
                    batches[index].append(maze)
                failures[index] = 0 if maze is not None else failures[index] + 1
                if failures[index] >= MAX_LAYOUTS:
                    raise TooFewMazesError
    return batches


def draw_attempts(
    generator: torch.Generator, count: int, num_cells: int
) -> tuple[Float[np.ndarray, "n m"], Int[np.ndarray, "n 32 2"]]:
    """Return the random numbers of some layouts, and pairs of start and goal for each of them."""
    total = num_cells**2
    attempts = [
        (
            torch.rand(total + 1, generator=generator),
            torch.randint(total, (MAX_ENDPOINT_ATTEMPTS, 2), generator=generator),
        )
        for _ in range(count)
    ]
    random_numbers, endpoints = (torch.stack(parts) for parts in zip(*attempts, strict=True))
    return random_numbers.double().numpy(), endpoints.numpy()


def place_endpoints(
    layouts: _Layouts, endpoints: Int[np.ndarray, "n 32 2"], max_moves: int, is_accepted: AcceptanceTest
) -> list[SampledMaze | None]:
    """Return for each layout the maze of the first pair of start and goal that is accepted; None if no pair is."""

    def check_route_length(distances: np.ndarray, goals: np.ndarray) -> np.ndarray:
        moves = 2 * distances[np.arange(len(goals)), goals]
        return (moves > 0) & (moves <= max_moves)

    for pair in range(MAX_ENDPOINT_ATTEMPTS):
        rows = np.array([row for row in range(len(endpoints)) if row not in layouts.mazes], np.int64)
        if not len(rows):
            break
        starts, goals = endpoints[rows, pair].T
        distances, from_start = layouts.measure(rows, starts)
        layouts.add_mazes(rows, from_start, goals, check_route_length(distances, goals), is_accepted)
    return [layouts.mazes.get(row) for row in range(len(endpoints))]


def sample_mazes_of_even_lengths(
    num_cells: int,
    max_moves: int,
    is_accepted: AcceptanceTest,
    count: int,
    generators: Sequence[torch.Generator],
    length_draws: int = 1,
) -> list[list[SampledMaze]]:
    """Sample mazes whose route lengths are uniform over 2, 4, ..., `max_moves`, or the largest of several uniform draws.

    A length that `MAX_LENGTH_ATTEMPTS` layouts do not have is drawn again, so lengths that are hardly possible are rarer. See
    `sample_mazes` for the other arguments, result and errors.

    Args:
        num_cells: Cells per side.
        max_moves: Longest route.
        is_accepted: Whether a maze with these canonical bytes is in the split.
        count: Mazes per batch.
        generators: Generator of each batch.
        length_draws: Uniform draws of a route length, of which the largest one counts.
    """
    total = num_cells**2
    max_cells = min(max_moves // 2, total - 1)
    batches: list[dict[int, SampledMaze]] = [{} for _ in generators]
    lengths = [draw_lengths(max_cells, count, generator, length_draws) for generator in generators]
    for attempt in range(1, MAX_LAYOUTS + 1):
        slots = [(index, row) for index, mazes in enumerate(batches) for row in range(count) if row not in mazes]
        if not slots:
            return [[mazes[row] for row in range(count)] for mazes in batches]
        random_numbers = np.concatenate(
            [
                torch.rand(count - len(mazes), total + 3, generator=generator).double().numpy()
                for mazes, generator in zip(batches, generators, strict=True)
            ]
        )
        layouts = _Layouts.carve(num_cells, random_numbers[:, : total + 1])
        rows = np.arange(len(slots))
        distances, from_start = layouts.measure(rows, (random_numbers[:, total + 1] * total).astype(np.int64))
        is_candidate = distances == np.array([lengths[index][row] for index, row in slots])[:, None]
        goals = choose_columns(is_candidate, random_numbers[:, total + 2])
        layouts.add_mazes(rows, from_start, goals, is_candidate.any(1), is_accepted)
        for number, maze in layouts.mazes.items():
            index, row = slots[number]
            batches[index][row] = maze
        if attempt % MAX_LENGTH_ATTEMPTS == 0:
            for index, generator in enumerate(generators):
                if len(batches[index]) < count:
                    lengths[index] = draw_lengths(max_cells, count, generator, length_draws)
    raise TooFewMazesError


def draw_lengths(max_cells: int, count: int, generator: torch.Generator, draws: int) -> Int[np.ndarray, " n"]:
    """Return route lengths in cells, each the largest of some uniform draws from 1 to `max_cells`."""
    return torch.randint(1, max_cells + 1, (draws, count), generator=generator).numpy().max(0)


def choose_columns(mask: Bool[np.ndarray, "n C"], fractions: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Return for each row one of the columns of the mask, at a fraction in [0, 1) of their list; 0 if there is none."""
    rank = mask.cumsum(1)
    return (rank > (fractions * rank[:, -1]).astype(np.int64)[:, None]).argmax(1)

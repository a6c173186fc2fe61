"""Samples per second of the samplers of parity and mazes, beside samplers that make one sample after the other.

    python -m benchmarks.sampler_speed [--seconds N] [--json FILE]

The samplers of single rows are those of earlier versions. Both sample training batches of 64 from the same random numbers, in
turns, on one thread, and their batches are compared before anything is timed. Mazes with even route lengths have no earlier
sampler.
"""

import argparse
import datetime
import itertools
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.paths import ROOT, write_figures
from training.data.maze import GOAL, PATH, START, WALL, Maze, compute_canonical_bytes
from training.data.maze_sampler import MAX_ENDPOINT_ATTEMPTS
from training.tasks import Task, make_task
from training.tasks.mazes import Mazes
from training.tasks.parity import MAX_ENUMERATION_LENGTH, PAD_TOKEN, Parity, enumerate_sequences, list_lengths
from training.tasks.samples import Batch
from training.tasks.splits import TRAIN, assign_split, make_generator

BATCH_SIZE = 64
NUM_COMPARED_BATCHES = 3
CASES: dict[str, dict[str, Any]] = {
    "parity, 16 bits": {"kind": "parity", "length": 16},
    "parity, 64 bits": {"kind": "parity", "length": 64},
    "mazes, 15 x 15": {"kind": "mazes", "side": 15, "route": 50},
    "mazes, 15 x 15, even lengths": {"kind": "mazes", "side": 15, "route": 50, "even_lengths": True},
}


def sample_parity_rows(task: Parity, generator: torch.Generator) -> Batch:
    """Sample a batch with one call of the generator for every candidate of a long row."""
    max_length = task.settings.length
    lengths = list_lengths(TRAIN, 1, max_length)
    lengths = lengths[torch.randint(len(lengths), (2, BATCH_SIZE), generator=generator).amax(0)]
    fractions = torch.rand(BATCH_SIZE, generator=generator)
    bits = torch.full((BATCH_SIZE, max_length), PAD_TOKEN)
    for row, length, fraction in zip(bits, lengths.tolist(), fractions.tolist(), strict=True):
        if length <= MAX_ENUMERATION_LENGTH:
            codes = enumerate_sequences(TRAIN, length)
            code = int(codes[int(fraction * len(codes))])
            row[:length] = torch.from_numpy((code >> np.arange(length)) & 1)
            continue
        while True:
            candidate = torch.randint(2, (length,), generator=generator)
            if assign_split(b"parity" + bytes(candidate.tolist())) == TRAIN:
                break
        row[:length] = candidate
    return task._build_batch(bits, lengths)


def carve_single_layout(num_cells: int, random_numbers: Iterator[float]) -> dict[tuple[int, int], tuple[int, int]]:
    """Return the parent of every cell of one layout, from a recursive backtracker with an explicit stack."""
    root = (int(next(random_numbers) * num_cells), int(next(random_numbers) * num_cells))
    parents, stack = {root: root}, [root]
    while stack:
        row, column = stack[-1]
        neighbours = ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1))
        candidates = [
            cell for cell in neighbours if 0 <= cell[0] < num_cells and 0 <= cell[1] < num_cells and cell not in parents
        ]
        if candidates:
            cell = candidates[int(next(random_numbers) * len(candidates))]
            parents[cell] = stack[-1]
            stack.append(cell)
        else:
            stack.pop()
    return parents


def find_single_path(
    parents: dict[tuple[int, int], tuple[int, int]], start: tuple[int, int], goal: tuple[int, int]
) -> list[tuple[int, int]]:
    """Return the cells from start to goal, through their lowest common ancestor."""
    ways = [[start], [goal]]
    for way in ways:
        while parents[way[-1]] != way[-1]:
            way.append(parents[way[-1]])
    while len(ways[0]) > 1 and len(ways[1]) > 1 and ways[0][-2] == ways[1][-2]:
        ways[0].pop()
        ways[1].pop()
    return [*ways[0], *reversed(ways[1][:-1])]


def sample_single_maze(task: Mazes, generator: torch.Generator) -> tuple[Maze, list[int]]:
    """Sample one training maze and its route."""
    num_cells = task.settings.side // 2
    while True:
        random_numbers = torch.rand(num_cells * num_cells + 1, generator=generator).tolist()
        parents = carve_single_layout(num_cells, iter(random_numbers))
        layout = np.full((task.settings.side, task.settings.side), WALL, np.uint8)
        for (row, column), (parent_row, parent_column) in parents.items():
            layout[2 * row + 1, 2 * column + 1] = PATH
            layout[row + parent_row + 1, column + parent_column + 1] = PATH
        endpoints = torch.randint(num_cells * num_cells, (MAX_ENDPOINT_ATTEMPTS, 2), generator=generator)
        for start, goal in endpoints.tolist():
            path = find_single_path(parents, divmod(start, num_cells), divmod(goal, num_cells))
            if not 0 < 2 * (len(path) - 1) <= task.settings.route:
                continue
            grid = layout.copy()
            for (row, column), kind in ((path[0], START), (path[-1], GOAL)):
                grid[2 * row + 1, 2 * column + 1] = kind
            if assign_split(compute_canonical_bytes(grid)) == TRAIN:
                steps = [(after[0] - before[0], after[1] - before[1]) for before, after in itertools.pairwise(path)]
                moves = {(-1, 0): 0, (1, 0): 1, (0, -1): 2, (0, 1): 3}
                return Maze(grid), [moves[step] for step in steps for _ in range(2)]


def iterate_single_samples(task: Task) -> Iterator[Batch]:
    """Yield the training batches of seed 0, made of one sample after the other."""
    for index in itertools.count():
        generator = make_generator(TRAIN, 0, 0, index)
        if isinstance(task, Parity):
            yield sample_parity_rows(task, generator)
        elif isinstance(task, Mazes):
            mazes = [sample_single_maze(task, generator) for _ in range(BATCH_SIZE)]
            yield task._build_batch([maze for maze, _ in mazes], [moves for _, moves in mazes])


def measure_rates(sources: list[Iterator[Batch]], seconds: float) -> list[float]:
    """Return the samples per second of processor time of each source; they take turns of 32 batches."""
    counts, times = [0] * len(sources), [0.0] * len(sources)
    while min(times) < seconds:
        for index, batches in enumerate(sources):
            start_time = time.process_time()
            for _ in range(32):
                counts[index] += len(next(batches).inputs)
            times[index] += time.process_time() - start_time
    return [count / elapsed for count, elapsed in zip(counts, times, strict=True)]


def measure_case(settings: dict[str, Any], seconds: float) -> dict[str, float]:
    """Compare the batches of both samplers, then measure both."""
    task = make_task(settings)
    make_sources: list[Callable[[], Iterator[Batch]]] = [lambda: task.iterate_batches(BATCH_SIZE, 0)]
    if not settings.get("even_lengths"):
        make_sources.append(lambda: iterate_single_samples(task))
        for batch, expected in itertools.islice(
            zip(*(make() for make in make_sources), strict=True), NUM_COMPARED_BATCHES
        ):
            assert torch.equal(batch.inputs, expected.inputs) and torch.equal(batch.targets, expected.targets)
    rates = measure_rates([make() for make in make_sources], seconds)
    return {"samples_per_s": rates[0]} | ({"single_samples_per_s": rates[1]} if len(rates) > 1 else {})


def render_table(figures: dict[str, Any]) -> str:
    """Render the measured rates as a Markdown table."""
    lines = ["| samples | one by one | many at once | ratio |", "|---|---|---|---|"]
    for name, row in figures["cases"].items():
        single = row.get("single_samples_per_s")
        before, ratio = (f"{single:,.0f}", f"{row['samples_per_s'] / single:.1f}") if single else ("-", "-")
        lines.append(f"| {name} | {before} | {row['samples_per_s']:,.0f} | {ratio} |")
    return "\n".join(
        [*lines, "", f"Samples per second of processor time, one thread. `{figures['command']}`, {figures['date']}."]
    )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sampler_speed", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="processor time for each sampler")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks/sampler_speed.json", help="file to write")
    args = parser.parse_args()
    torch.set_num_threads(1)
    figures = {
        "command": "python -m benchmarks.sampler_speed",
        "date": datetime.date.today().isoformat(),
        "processor": platform.processor() or platform.machine(),
        "batch_size": BATCH_SIZE,
        "cases": {name: measure_case(settings, args.seconds) for name, settings in CASES.items()},
    }
    write_figures(args.json, figures)
    print(render_table(figures))


if __name__ == "__main__":
    main()

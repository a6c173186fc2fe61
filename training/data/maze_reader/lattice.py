"""Find the lattice of the walls of a maze in an image, and how far it extends.

A lattice is verified by its crossings: where two dark strips cross, all positions are dark, and where two bright strips cross, all
are bright. The positions between two crossings hold the maze.
"""

from dataclasses import dataclass

import numpy as np

from training.data.maze_reader.colours import find_threshold
from training.data.maze_reader.combs import Axis, propose_axes
from training.data.maze_reader.position_means import compute_means, integrate

MAX_PAIRS = 10
MAX_ASPECT = 1.35  # ratio of the periods of both axes
MISMATCH_PENALTY = 4.0  # crossings that one mismatch outweighs where the extent is chosen
MIN_STRIPS = 3
MAX_STRIPS = 400  # those of margins included
MIN_COVERAGE = 0.2  # of a position by the two colours, below which its brightness does not count
MIN_CONTRAST = 0.1
CLEAR_PURITY = 0.98  # of a lattice that ends the search, with so many crossings
CLEAR_CROSSINGS = 40
SEED_SIDE = 9  # positions of the square from which the search for the extent starts
MAX_EXTENT_STEPS = 6
NUM_EXTENT_SEARCHES = 3

Extent = tuple[tuple[int, int], tuple[int, int]]  # first row and the one past the last, and the same of columns


@dataclass(frozen=True)
class Lattice:
    """The lattice of an image.

    Attributes:
        rows: Strips from top to bottom.
        columns: Strips from left to right.
        row_strips: Start and end of each strip in the range, shape (n, 2).
        column_strips: The same from left to right, shape (m, 2).
        values: Brightness where the strips of both axes meet, shape (n, m).
        plain_values: The same over all pixels, those of a third colour included, shape (n, m).
        coverage: Share of the pixels of each position that have a colour of walls or paths, shape (n, m).
        row_is_dark: Whether each strip in the range is dark.
        column_is_dark: The same from left to right.
        threshold: Brightness that separates dark from bright positions.
        purity: Share of the crossings that are as they must be, 0 to 1.
        contrast: Difference between bright and dark crossings.
    """

    rows: Axis
    columns: Axis
    row_strips: np.ndarray
    column_strips: np.ndarray
    values: np.ndarray
    plain_values: np.ndarray
    coverage: np.ndarray
    row_is_dark: np.ndarray
    column_is_dark: np.ndarray
    threshold: float
    purity: float
    contrast: float

    @property
    def num_crossings(self) -> int:
        """Number of positions whose kind the lattice prescribes."""
        return int((self.row_is_dark[:, None] == self.column_is_dark).sum())


def find_lattice(brightness: np.ndarray, is_two_coloured: np.ndarray) -> Lattice | None:
    """Return the lattice that explains an image best, or None.

    Args:
        brightness: Array of shape (h, w).
        is_two_coloured: Whether each pixel has a colour of walls or paths, shape (h, w).
    """
    columns = propose_axes(brightness, is_two_coloured)
    rows = propose_axes(brightness.T, is_two_coloured.T)
    sums = integrate(np.stack([brightness * is_two_coloured, is_two_coloured, brightness], -1))
    pairs = [
        (row_share * column_share, row_axis, column_axis)
        for row_share, row_axis in rows
        for column_share, column_axis in columns
        if 1 / MAX_ASPECT < row_axis.period / column_axis.period < MAX_ASPECT and row_share > 0 and column_share > 0
    ]
    pairs.sort(key=lambda pair: -pair[0])
    best, best_score = None, 0.0
    for _, row_axis, column_axis in pairs[:MAX_PAIRS]:
        lattice = fit_lattice(sums, row_axis, column_axis)
        score = compute_score(lattice) if lattice else 0.0
        if score > best_score:
            best, best_score = lattice, score
        if best and best.purity > CLEAR_PURITY and best.num_crossings > CLEAR_CROSSINGS:
            break
    return best


def compute_score(lattice: Lattice) -> float:
    """Return the number of crossings that speak for a lattice, those against it weighted higher, less for long strips."""
    wrong = (1 - lattice.purity) * lattice.num_crossings
    shape = lattice.values.shape
    return (lattice.num_crossings - (1 + MISMATCH_PENALTY) * wrong) * min(shape) / max(shape)


def fit_lattice(sums: np.ndarray, rows: Axis, columns: Axis) -> Lattice | None:
    """Return the lattice with two given axes and the extent that fits best, or None if the crossings do not fit.

    Args:
        sums: Sums of the brightness of the pixels that have one of the two colours, of their number, and of all brightness; see `integrate`.
        rows: Lattice from top to bottom.
        columns: Lattice from left to right.
    """
    row_strips, row_is_dark = rows.get_strips(sums.shape[0] - 1)
    column_strips, column_is_dark = columns.get_strips(sums.shape[1] - 1)
    if min(len(row_strips), len(column_strips)) < MIN_STRIPS or max(len(row_strips), len(column_strips)) > MAX_STRIPS:
        return None
    values, coverage, plain_values = np.moveaxis(compute_means(sums, row_strips, column_strips), -1, 0)
    values = values / np.maximum(coverage, 1e-6)
    is_counted = (row_is_dark[:, None] == column_is_dark) & (coverage > MIN_COVERAGE)
    must_be_dark = row_is_dark[:, None] & column_is_dark
    extent: Extent = (0, len(row_strips)), (0, len(column_strips))
    for _ in range(NUM_EXTENT_SEARCHES):  # a threshold without the margins gives a better extent
        inside = slice(*extent[0]), slice(*extent[1])
        if min(values[inside].shape) < MIN_STRIPS or not (coverage[inside] > MIN_COVERAGE).any():
            return None
        threshold = find_threshold(values[inside][coverage[inside] > MIN_COVERAGE])
        is_right = (values < threshold) == must_be_dark
        extent = find_extent(np.where(is_counted, np.where(is_right, 1.0, -MISMATCH_PENALTY), 0.0), extent)
    inside = slice(*extent[0]), slice(*extent[1])
    contrast = compute_contrast(values[inside], is_counted[inside], must_be_dark[inside])
    if min(values[inside].shape) < MIN_STRIPS or contrast < MIN_CONTRAST:
        return None
    return Lattice(
        rows=rows,
        columns=columns,
        row_strips=row_strips[inside[0]],
        column_strips=column_strips[inside[1]],
        values=values[inside],
        plain_values=plain_values[inside],
        coverage=coverage[inside],
        row_is_dark=row_is_dark[inside[0]],
        column_is_dark=column_is_dark[inside[1]],
        threshold=threshold,
        purity=float(is_right[inside][is_counted[inside]].mean()),
        contrast=contrast,
    )


def compute_contrast(values: np.ndarray, is_counted: np.ndarray, must_be_dark: np.ndarray) -> float:
    """Return the difference of brightness between bright and dark crossings; 0 if one kind is missing."""
    dark, bright = values[is_counted & must_be_dark], values[is_counted & ~must_be_dark]
    return float(np.median(bright) - np.median(dark)) if len(dark) and len(bright) else 0.0


def find_extent(reward: np.ndarray, extent: Extent) -> Extent:
    """Return the rectangle with a large sum of rewards, searched along both axes in turn.

    Args:
        reward: Reward of each position, shape (n, m).
        extent: Rectangle from which the search starts. It also starts from the small square with the largest sum,
            because wide margins outweigh a small maze.
    """
    found = [grow_extent(reward, start) for start in (extent, find_best_square(reward))]
    return max(found, key=lambda one: float(reward[slice(*one[0]), slice(*one[1])].sum()))


def grow_extent(reward: np.ndarray, extent: Extent) -> Extent:
    """Return the rectangle that a search along both axes in turn finds from a rectangle."""
    rows, columns = extent
    for _ in range(MAX_EXTENT_STEPS):
        before = rows, columns
        rows = find_best_run(reward[:, slice(*columns)].sum(1))
        columns = find_best_run(reward[slice(*rows)].sum(0))
        if (rows, columns) == before:
            break
    return rows, columns


def find_best_square(reward: np.ndarray) -> Extent:
    """Return the square of `SEED_SIDE` positions a side with the largest sum of rewards."""
    side = min(SEED_SIDE, *reward.shape)
    sums = integrate(reward)
    squares = sums[side:, side:] - sums[side:, :-side] - sums[:-side, side:] + sums[:-side, :-side]
    row, column = divmod(int(squares.argmax()), squares.shape[1])
    return (row, row + side), (column, column + side)


def find_best_run(rewards: np.ndarray) -> tuple[int, int]:
    """Return the start and the end of the run with the largest sum."""
    sums = np.concatenate([[0.0], np.cumsum(rewards)])
    lowest = np.minimum.accumulate(sums)
    end = int((sums - lowest).argmax())
    start = int(np.flatnonzero(sums[: end + 1] == lowest[end])[-1]) if end else 0
    return start, max(end, start + 1)

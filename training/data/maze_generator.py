"""Maze generator: many mazes at once, as arrays.

The generator is the recursive backtracker. Its mazes have exactly one route between two cells, and a maze is as likely as each
of its mirror images. All mazes of a batch advance together, one push or pop of their stacks per step. A layout is a spanning
tree: the index of the parent of every cell, where the root is its own parent; cells are numbered row by row. Axes: B mazes,
C cells.
"""

from functools import cache

import numpy as np
from jaxtyping import Float, Int, UInt8

from training.data.maze import MOVES, PATH, WAIT, WALL


def carve_layouts(num_cells: int, random_numbers: Float[np.ndarray, "B n"]) -> Int[np.ndarray, "B C"]:
    """Generate spanning trees of `num_cells` x `num_cells` cells with the recursive backtracker.

    Args:
        num_cells: Cells per side.
        random_numbers: For each tree C + 1 numbers in [0, 1): two for the root, one for every other cell.

    Returns:
        The parent of every cell.
    """
    batch, total = len(random_numbers), num_cells**2
    neighbours = build_neighbour_table(num_cells)
    rows = np.arange(batch)
    root = (random_numbers[:, 0] * num_cells).astype(np.int64) * num_cells
    root += (random_numbers[:, 1] * num_cells).astype(np.int64)
    parents = np.full((batch, total), -1)
    parents[rows, root] = root
    is_free = np.ones((batch, total + 1), bool)  # the last column stands for cells outside of the maze
    is_free[:, total] = False
    is_free[rows, root] = False
    stack = np.zeros((batch, total), np.int64)
    stack[:, 0] = root
    depth = np.zeros(batch, np.int64)
    next_number = np.full(batch, 2)
    for _ in range(2 * (total - 1)):  # every cell but the root is pushed and popped once
        cell = stack[rows, depth]
        candidates = neighbours[cell]
        rank = is_free[rows[:, None], candidates].cumsum(1)
        count = rank[:, 3]
        pushes = (count > 0).nonzero()[0]
        depth -= count == 0
        choice = (random_numbers[pushes, next_number[pushes]] * count[pushes]).astype(np.int64)
        column = (rank[pushes] > choice[:, None]).argmax(1)
        chosen = candidates[pushes, column]
        parents[pushes, chosen] = cell[pushes]
        is_free[pushes, chosen] = False
        depth[pushes] += 1
        stack[pushes, depth[pushes]] = chosen
        next_number[pushes] += 1
        np.maximum(depth, 0, out=depth)
    return parents


@cache
def build_neighbour_table(num_cells: int) -> Int[np.ndarray, "C 4"]:
    """Return the cells above, below, left and right of every cell; C where there is none."""
    row, column = np.divmod(np.arange(num_cells**2), num_cells)
    offsets = np.array(MOVES[:WAIT])
    rows, columns = row[:, None] + offsets[:, 0], column[:, None] + offsets[:, 1]
    is_inside = (rows >= 0) & (rows < num_cells) & (columns >= 0) & (columns < num_cells)
    return np.where(is_inside, rows * num_cells + columns, num_cells**2)


def build_grids(parents: Int[np.ndarray, "B C"], num_cells: int) -> UInt8[np.ndarray, "B h w"]:
    """Return the grids with cells and the openings between them as PATH and the rest as WALL."""
    side = 2 * num_cells + 1
    grids = np.full((len(parents), side, side), WALL, np.uint8)
    row, column = np.divmod(np.arange(num_cells**2), num_cells)
    grids[:, 2 * row + 1, 2 * column + 1] = PATH
    parent_row, parent_column = np.divmod(parents, num_cells)
    grids[np.arange(len(parents))[:, None], row + parent_row + 1, column + parent_column + 1] = PATH
    return grids


def root_at(parents: Int[np.ndarray, "B C"], starts: Int[np.ndarray, " B"]) -> Int[np.ndarray, "B C"]:
    """Return the trees with another root: the parents on the way from the start to the former root are reversed."""
    parents_from_start = parents.copy()
    rows = np.arange(len(parents))
    previous, cell = starts, starts
    while len(rows):
        parent = parents[rows, cell]
        parents_from_start[rows, cell] = previous
        is_below_root = parent != cell
        rows, previous, cell = rows[is_below_root], cell[is_below_root], parent[is_below_root]
    return parents_from_start


def compute_depths(parents: Int[np.ndarray, "B C"]) -> Int[np.ndarray, "B C"]:
    """Return the number of cells on the way from every cell to its root, without the root."""
    depths = (parents != np.arange(parents.shape[1])).astype(np.int64)
    ancestors = parents
    while True:  # each pass doubles the distance to `ancestors`
        next_depths = depths + np.take_along_axis(depths, ancestors, 1)
        if np.array_equal(next_depths, depths):
            return depths
        depths, ancestors = next_depths, np.take_along_axis(ancestors, ancestors, 1)


def trace_moves(parents: Int[np.ndarray, "B C"], goals: Int[np.ndarray, " B"], num_cells: int) -> list[list[int]]:
    """Return the moves from the root to the goal of every tree, two per cell: into the opening and out of it."""
    move_of_difference = {row * num_cells + column: move for move, (row, column) in enumerate(MOVES[:WAIT])}
    routes = []
    for tree, goal in zip(parents.tolist(), goals.tolist(), strict=True):
        cell, moves = goal, []
        while (parent := tree[cell]) != cell:
            moves += [move_of_difference[cell - parent]] * 2
            cell = parent
        routes.append(moves[::-1])
    return routes

"""Tell a sheet of paper from a figure by its shape."""

import numpy as np
from jaxtyping import Bool, Float

from training.data.foreground.components import Box, label_components

MIN_SHEET_SHARE = 0.08  # of the image, bounding box
MIN_RECTANGULARITY = 0.85  # an ellipse has 0.79
MIN_SOLIDITY = 0.7  # share of the convex hull that is paper


def is_sheet(
    grey: Float[np.ndarray, "h w"],
    part: Bool[np.ndarray, "h w"],
    box: Box,
    difference: float,
    min_rectangularity: float = MIN_RECTANGULARITY,
) -> bool:
    """Return whether a component is a sheet, or a part of one: a large rectangle of one brightness, around a box.

    Args:
        grey: Image.
        part: Pixels of the component.
        box: Box of what stands on the sheet: first row and column, row and column after the last ones.
        difference: Brightness of the component less that of its surroundings.
        min_rectangularity: Smallest share of the smallest rectangle around the component that its convex hull covers.
    """
    middle = float(np.median(grey[part])) - difference / 2
    components = label_components((grey > middle) == (difference > 0))
    index = int(np.bincount(components.labels[part]).argmax()) - 1
    if index < 0:
        return False
    top, left, bottom, right = components.get_box(index)
    if (bottom - top) * (right - left) < MIN_SHEET_SHARE * grey.size:
        return False
    if not (top <= box[0] and left <= box[1] and bottom >= box[2] and right >= box[3]):
        return False
    mask = components.labels[top:bottom, left:right] == index + 1
    first, last = mask.argmax(1), mask.shape[1] - 1 - mask[:, ::-1].argmax(1)
    hull = compute_convex_hull(first, last)
    area = compute_polygon_area(hull)
    if area < min_rectangularity * compute_min_rectangle_area(hull):
        return False
    return bool(mask.sum() > MIN_SOLIDITY * area)


def compute_convex_hull(first: np.ndarray, last: np.ndarray) -> Float[np.ndarray, "n 2"]:
    """Return the corners (row, column) of the convex hull of pixels, in order.

    Args:
        first: First column of every row, shape (rows,).
        last: Last column of every row, shape (rows,).
    """
    rows = range(len(first))
    points = sorted(
        {(row + end, column) for row in rows for end in (0, 1) for column in (int(first[row]), int(last[row]) + 1)}
    )

    def build_chain(ordered: list[tuple[int, int]]) -> list[tuple[int, int]]:
        chain: list[tuple[int, int]] = []
        for row, column in ordered:
            while len(chain) > 1:
                (row0, column0), (row1, column1) = chain[-2:]
                if (row1 - row0) * (column - column0) > (column1 - column0) * (row - row0):
                    break
                chain.pop()
            chain.append((row, column))
        return chain[:-1]

    return np.array(build_chain(points) + build_chain(points[::-1]), float)


def compute_polygon_area(corners: Float[np.ndarray, "n 2"]) -> float:
    """Return the area of a polygon."""
    row, column = corners.T
    return abs(float((row * np.roll(column, -1) - column * np.roll(row, -1)).sum())) / 2


def compute_min_rectangle_area(corners: Float[np.ndarray, "n 2"]) -> float:
    """Return the area of the smallest rectangle around a convex polygon; one of its sides lies on a side of the polygon."""
    sides = np.roll(corners, -1, 0) - corners
    directions = sides / np.hypot(*sides.T)[:, None]
    normals = np.stack([-directions[:, 1], directions[:, 0]], 1)
    return float((np.ptp(corners @ directions.T, 0) * np.ptp(corners @ normals.T, 0)).min())

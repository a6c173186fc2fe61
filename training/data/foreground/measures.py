"""Measure components: whether one is a figure with an edge and a ground around it, a frame, or a line."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from training.data.foreground.components import Box, Components
from training.data.foreground.grounds import Ground
from training.data.foreground.morphology import compute_local_range, find_outline, measure_thickness, smooth

EDGE_MARGIN = 4  # pixels
MAX_SURROUNDINGS = 4_000  # pixels around a component


@dataclass(frozen=True)
class Measures:
    """Properties of a component.

    Attributes:
        contrast: Median contrast.
        relative_contrast: Contrast of the darkest tenth of a dark figure, as a share of the light on it; of the lightest
            tenth of a light figure.
        evenness: Share of the pixels around that have the level of the ground.
        edge_share: Share of the outline where the image has an edge; 0 if the surroundings are as the component, or if it
            is a frame.
        stroke_ratio: Width of the thickest stroke as a share of the length of the component.
    """

    contrast: float
    relative_contrast: float
    evenness: float
    edge_share: float
    stroke_ratio: float


def examine(ground: Ground, components: Components, index: int, grey: Float[np.ndarray, "h w"]) -> Measures:
    """Measure a component of the contrast with a ground."""
    top, left, bottom, right = components.get_box(index)
    mask = components.labels[top:bottom, left:right] == index + 1
    contrast = float(np.median(ground.contrast[top:bottom, left:right][mask]))
    inside = float(np.median(grey[top:bottom, left:right][mask]))
    relative = float(np.percentile(ground.contrast[top:bottom, left:right][mask], 90))
    if ground.sign < 0:
        relative = min(1.0, relative / max(inside + contrast, 0.05))
    length = max(mask.shape)
    near, far = max(3, int(0.08 * length)), max(6, int(0.25 * length))
    if is_rectangle_outline(mask, grey.shape):
        return Measures(contrast, relative, evenness=0.0, edge_share=0.0, stroke_ratio=1.0)
    differences, evenness = [], 0.5
    for first, last in ((1, near), (near, far)):
        around, basis = get_surroundings(grey, (top, left, bottom, right), first, last)
        if len(around):
            differences.append(ground.sign * (inside - float(np.median(around))))
            evenness = measure_evenness(around, basis, 0.4 * max(contrast, 0.02))
    if differences and max(differences) < 0.5 * contrast:
        return Measures(contrast, relative, evenness, edge_share=0.0, stroke_ratio=1.0)
    window = max(5, int(0.08 * length)) | 1
    row, column = max(top - window, 0), max(left - window, 0)
    nearby = grey[row : bottom + window, column : right + window]
    edges = compute_local_range(nearby if ground.is_flat else smooth(nearby), window)
    edges = edges[top - row : bottom - row, left - column : right - column]
    edge_share = float((edges[find_outline(mask)] > 0.5 * contrast).mean())
    return Measures(contrast, relative, evenness, edge_share, measure_thickness(mask) / length)


def is_rectangle_outline(mask: Bool[np.ndarray, "h w"], shape: tuple[int, ...]) -> bool:
    """Return whether a component is a thin frame inside the image, or most of one."""
    if mask.shape[0] < 0.4 * shape[0] or mask.shape[1] < 0.4 * shape[1] or mask.mean() > 0.3:
        return False
    covered = [mask[:3].any(0), mask[-3:].any(0), mask[:, :3].any(1), mask[:, -3:].any(1)]
    return sorted(float(side.mean()) for side in covered)[1] > 0.8


def get_surroundings(
    grey: Float[np.ndarray, "h w"], box: Box, first: int, last: int
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n 3"]]:
    """Return the pixels whose distance from a box is more than `first` and at most `last`.

    Returns:
        Values, and for each value 1, row and column.
    """
    top, left, bottom, right = box
    rows = slice(max(top - last, 0), bottom + last), slice(max(left - last, 0), right + last)
    part = grey[rows]
    outside = np.ones(part.shape, bool)
    outside[
        max(top - first, 0) - rows[0].start : bottom + first - rows[0].start,
        max(left - first, 0) - rows[1].start : right + first - rows[1].start,
    ] = False
    row, column = np.nonzero(outside)
    step = 1 + len(row) // MAX_SURROUNDINGS
    row, column = row[::step], column[::step]
    return part[row, column], np.stack([np.ones(len(row)), row / len(part), column / len(part)], 1).astype(np.float32)


def measure_evenness(values: Float[np.ndarray, " n"], basis: Float[np.ndarray, "n 3"], tolerance: float) -> float:
    """Return the share of the values that are within a tolerance of their median or of a plane."""
    level = float((np.abs(values - np.median(values)) < tolerance).mean())
    if level > 0.95:
        return level
    kept = np.ones(len(values), bool)
    for _ in range(2):
        weights, *_ = np.linalg.lstsq(basis[kept], values[kept], rcond=None)
        kept = np.abs(values - basis @ weights) < tolerance
        if kept.sum() < 8:
            break
    return max(level, float(kept.mean()))


def find_frames_and_lines(components: Components, contacts: Int[np.ndarray, "4 n"]) -> Bool[np.ndarray, " n"]:
    """Return which components are frames, parts of the desk, lines of the paper, or underlines."""
    rows, columns = components.labels.shape
    height, width = components.height, components.width
    on_edge = contacts.sum(0)
    spans = (width > 0.8 * columns) | (height > 0.8 * rows)
    along = (contacts[:2].max(0) > 0.4 * columns) | (contacts[2:].max(0) > 0.4 * rows)
    reaches = (components.top < EDGE_MARGIN) & (components.bottom > rows - EDGE_MARGIN)
    reaches |= (components.left < EDGE_MARGIN) & (components.right > columns - EDGE_MARGIN)
    frame = reaches | (on_edge > 0) & (spans | along | (on_edge > 0.4 * (rows + columns)))
    line = ((width > 9 * height) & (width > 0.25 * columns)) | ((height > 14 * width) & (height > 0.6 * rows))
    return frame | line

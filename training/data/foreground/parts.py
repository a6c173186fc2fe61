"""Join the parts of a figure, and tell them from other figures."""

import numpy as np

from training.data.foreground.components import Box, Components
from training.data.foreground.search import Candidate

MIN_PART_SIZE = 0.12  # of the size of the figure
MIN_PART_CONTRAST = 0.6  # of the contrast of the figure
MIN_OTHER_SIZE = 0.5  # of the size of the figure, for another figure


def join_parts(candidate: Candidate) -> tuple[list[int], bool]:
    """Return the components of the figure, and whether there are other figures.

    A component belongs to the figure if it is near and of similar contrast, unless it stands beside it, as tall as it
    is: then it is another figure.
    """
    parts, main = candidate.components, candidate.index
    means = parts.compute_means(candidate.ground.contrast)
    relative_size = candidate.sizes / candidate.size
    others = [
        int(index)
        for index in np.flatnonzero(
            candidate.eligible & (relative_size > MIN_PART_SIZE) & (means > MIN_PART_CONTRAST * means[main])
        )
        if index != main
    ]
    members, box = [main], candidate.box
    length, height = max(box[2] - box[0], box[3] - box[1]), box[2] - box[0]
    while True:
        near = [index for index in others if is_part(parts, index, box, length, height, relative_size[index])]
        if not near:
            break
        members += near
        others = [index for index in others if index not in near]
        large = [index for index in near if relative_size[index] > 0.3]
        box = unite([box, *(parts.get_box(index) for index in large)])
    return members, any(relative_size[index] > MIN_OTHER_SIZE for index in others)


def is_part(components: Components, index: int, box: Box, length: int, height: int, relative_size: float) -> bool:
    """Return whether a component belongs to the figure in a box."""
    top, left, bottom, right = components.get_box(index)
    gap = max(top - box[2], box[0] - bottom, left - box[3], box[1] - right, 0)
    overlap = min(right, box[3]) - max(left, box[1])
    is_beside = bottom - top > 0.6 * height and overlap < 0.2 * min(right - left, box[3] - box[1])
    if is_beside:
        return gap <= 0.06 * length
    return gap <= (0.1 if relative_size < 0.25 else 0.2) * length


def unite(boxes: list[Box]) -> Box:
    """Return the smallest box that contains all boxes."""
    tops, lefts, bottoms, rights = zip(*boxes, strict=True)
    return min(tops), min(lefts), max(bottoms), max(rights)


def extend(box: Box, margin: int, shape: tuple[int, ...]) -> Box:
    """Return a box that is larger by `margin` pixels on each side, as far as the image reaches."""
    return (
        max(box[0] - margin, 0),
        max(box[1] - margin, 0),
        min(box[2] + margin, shape[0]),
        min(box[3] + margin, shape[1]),
    )

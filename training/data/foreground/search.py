"""Find the figure that stands out from its ground in a grey image.

The ground is a flat level where the image has one, and else a morphological closing, which follows shading and straight
shadow edges. Both are tried for dark strokes on a light ground and for the reverse. Connected components above a
threshold are candidates; the threshold rises until lines of the paper do not connect the figure with the border any
more. A candidate must have an edge all around it, and a ground on the outside.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from training.data.foreground.components import Box, Components, label_components
from training.data.foreground.grounds import (
    Ground,
    build_flat_ground,
    build_local_ground,
    clear_border,
    estimate_noise,
    find_flat_levels,
    has_line_across,
    include_ruling,
)
from training.data.foreground.measures import Measures, examine, find_frames_and_lines
from training.data.foreground.morphology import smooth
from training.data.foreground.sheets import is_sheet

MAX_LEVELS = 6  # thresholds that are tried
LEVEL_STEP = 1.5
MAX_SPAN = 0.85  # of the image, at thresholds above the lowest one
MAX_EXAMINED = 5  # components of one threshold
WINDOW_SHARES = (0.08, 0.2, 0.45)  # of the shorter side: more than the width of a stroke
MIN_EDGE_SHARE = 0.85  # of the outline
MAX_STROKE_RATIO = 0.4  # width of a stroke by the length of the figure; more is a blob


@dataclass(frozen=True)
class Candidate:
    """A component that may be the figure.

    Attributes:
        ground: Ground that it stands out from.
        components: Components of the same threshold.
        index: Number of this component.
        eligible: Which components may belong to a figure.
        sizes: Size of every component, pixels.
        threshold: Contrast above which pixels belong to components.
        is_first_level: Whether the threshold is the lowest one.
        measures: What is known of it.
        touches_edge: Whether it touches the edge of the image.
        score: Size, weighted with contrast, place and shape.
    """

    ground: Ground
    components: Components
    index: int
    eligible: Bool[np.ndarray, " n"]
    sizes: Float[np.ndarray, " n"]
    threshold: float
    is_first_level: bool
    measures: Measures
    touches_edge: bool
    score: float

    @property
    def box(self) -> Box:
        """Bounding box."""
        return self.components.get_box(self.index)

    @property
    def mask(self) -> Bool[np.ndarray, "h w"]:
        """Pixels of the component."""
        return self.components.labels == self.index + 1

    @property
    def size(self) -> float:
        """Size in pixels."""
        return float(self.sizes[self.index])


def find_candidate(grey: Float[np.ndarray, "h w"]) -> Candidate | None:
    """Return the figure of an image with values from 0 to 1, or None if nothing stands out."""
    found: list[Candidate] = []
    for level in find_flat_levels(grey):
        for sign in (-1, 1):
            candidate = search_ground(build_flat_ground(grey, level, sign), grey)
            found += [candidate] if candidate else []
        best = choose_candidate(found, grey)
        if best and best.measures.stroke_ratio <= MAX_STROKE_RATIO:
            return best
    if found:
        return choose_candidate(found, grey)
    smoothed = smooth(grey)
    for sign in (-1, 1):
        candidate = search_windows(grey, smoothed, sign)
        found += [candidate] if candidate else []
    return choose_candidate(found, grey)


def choose_candidate(candidates: list[Candidate], grey: Float[np.ndarray, "h w"]) -> Candidate | None:
    """Return the candidate of the best score, or what a sheet of paper shows if that candidate is the sheet."""
    ordered = sorted(candidates, key=lambda candidate: -candidate.score)[:2]
    if len(ordered) == 2:
        for outer, inner in (ordered, ordered[::-1]):
            if (
                outer.ground.sign != inner.ground.sign
                and inner.size > 0.05 * outer.size
                and is_sheet(grey, outer.mask, inner.box, outer.ground.sign * outer.measures.contrast)
            ):
                return inner
    return ordered[0] if ordered else None


def search_windows(grey: Float[np.ndarray, "h w"], smoothed: Float[np.ndarray, "h w"], sign: int) -> Candidate | None:
    """Return the best candidate of one sign; of nearly equal ones that of the smallest window.

    A window that is smaller than the strokes finds only their tips, a large one fills shadows and gaps of the sheet.
    """
    found = []
    side, noise = min(grey.shape), estimate_noise(grey)
    for share in WINDOW_SHARES:
        window = max(5, int(share * side) | 1)
        if window < side:
            candidate = search_ground(build_local_ground(smoothed, window, sign, noise), grey)
            found += [candidate] if candidate else []
    if not found:
        return None
    best = max(found, key=lambda candidate: candidate.score)
    return next(
        c for c in found if c.score >= 0.9 * best.score and c.measures.contrast >= 0.85 * best.measures.contrast
    )


def search_ground(ground: Ground, grey: Float[np.ndarray, "h w"]) -> Candidate | None:
    """Return the best candidate over all thresholds; of nearly equal ones that of the lowest threshold."""
    highest = float(ground.contrast.max())
    if highest < ground.min_contrast:
        return None
    found = []
    if has_line_across(clear_border(ground.contrast, ground.threshold) > ground.threshold):
        ground, grey = include_ruling(ground, grey)
    for threshold in iterate_thresholds(ground.threshold, highest):
        contrast = clear_border(ground.contrast, threshold)
        components = label_components(contrast > threshold)
        candidate = search_components(ground, components, grey, threshold) if len(components) else None
        if candidate:
            found.append(candidate)
            if is_alone(candidate):
                break
    best_score = max((candidate.score for candidate in found), default=0.0)
    return next((candidate for candidate in found if candidate.score >= 0.7 * best_score), None)


def iterate_thresholds(lowest: float, highest: float) -> Iterator[float]:
    """Yield rising thresholds, at least one."""
    threshold = lowest
    for level in range(MAX_LEVELS):
        if level and threshold >= 0.62 * highest:
            return
        yield threshold
        threshold *= LEVEL_STEP


def is_alone(candidate: Candidate) -> bool:
    """Return whether a candidate is all that stands out, so that a higher threshold would change nothing."""
    share = float(candidate.components.area[candidate.index] / candidate.components.area.sum())
    return share > 0.9 and candidate.measures.evenness > 0.95 and not candidate.touches_edge


def search_components(
    ground: Ground, components: Components, grey: Float[np.ndarray, "h w"], threshold: float
) -> Candidate | None:
    """Return the best component that passes the tests of its outline and its surroundings."""
    height, width = components.height, components.width
    contacts = components.count_contacts()
    touches = np.asarray(contacts.sum(0) > 0)
    eligible = np.asarray(components.compute_maxima(ground.contrast) > ground.min_contrast)
    eligible &= (np.maximum(height, width) >= 3) & (components.area >= 4)
    eligible &= ~find_frames_and_lines(components, contacts)
    if threshold > ground.threshold:  # the rest of a frame or of a shadow
        eligible &= (height <= MAX_SPAN * grey.shape[0]) & (width <= MAX_SPAN * grey.shape[1])
    sizes = np.sqrt(height * np.clip(width, height / 3, 1.5 * height))
    rows, columns = grey.shape
    row = (components.top + components.bottom) / 2 / rows - 0.5
    column = (components.left + components.right) / 2 / columns - 0.5
    weights = (1 - 0.4 * np.hypot(row, column)) * np.where(touches, 0.3, 1)
    order = np.argsort(-sizes * weights * eligible)[:MAX_EXAMINED]
    for index in order[eligible[order]]:
        measures = examine(ground, components, int(index), grey)
        if measures.edge_share >= MIN_EDGE_SHARE:
            return Candidate(
                ground=ground,
                components=components,
                index=int(index),
                eligible=eligible,
                sizes=sizes,
                threshold=threshold,
                is_first_level=threshold == ground.threshold,
                measures=measures,
                touches_edge=bool(touches[index]),
                score=float(sizes[index] * weights[index] * compute_quality(measures)),
            )
    return None


def compute_quality(measures: Measures) -> float:
    """Return the factor of the score that measures how well a component looks like strokes on a ground."""
    blob = min(1.0, max(0.25, 1 - 2.5 * (measures.stroke_ratio - MAX_STROKE_RATIO)))
    return measures.contrast**0.75 * measures.edge_share**3 * measures.evenness**3 * blob

"""Find the figure that stands out from its ground in a grey image.

The ground is a flat level where the image has one, and else a morphological closing, which follows shading and straight
shadow edges. Both are tried for dark strokes on a light ground and for the reverse. Connected components above a
threshold are candidates; the threshold rises until lines of the paper do not connect the figure with the border any
more. A candidate must have an edge all around it, and a ground on the outside.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from training.data.components import Components, label_components
from training.data.morphology import (
    close_image,
    compute_local_range,
    find_outline,
    measure_thickness,
    smooth,
)
from training.data.ruling import find_ruling
from training.data.shapes import is_sheet

Box = tuple[int, int, int, int]  # first row, first column, row and column after the last ones

MIN_FLAT_CONTRAST = 0.06  # of the figure, where the ground is flat and without noise
MIN_CONTRAST = 0.07
MIN_THRESHOLD = 0.03
NOISE_THRESHOLD, NOISE_CONTRAST = 5.0, 8.0  # standard deviations of the noise
MAX_LEVELS, LEVEL_STEP = 6, 1.5
MAX_SPAN = 0.85  # of the image, at thresholds above the lowest one
EDGE_MARGIN = 4  # pixels
MAX_SURROUNDINGS = 4_000  # pixels around a candidate
MAX_EXAMINED = 5  # candidates of one threshold
WINDOW_SHARES = (0.08, 0.2, 0.45)  # of the shorter side: more than the width of a stroke
MIN_EDGE_SHARE = 0.85  # of the outline
MAX_STROKE_RATIO = 0.4  # width of a stroke by the length of the figure; more is a blob
MODE_TOLERANCE = 2.5  # grey levels of 255
MIN_FLAT_SHARE, MIN_MODES_SHARE, MIN_SHARP_MODES_SHARE, MIN_MODE_SHARE = 0.25, 0.7, 0.5, 0.08


@dataclass(frozen=True)
class Ground:
    """Estimate of what lies behind the figure.

    Attributes:
        level: Brightness of the ground, shape (h, w), or () if it is flat.
        contrast: Difference of the image from the ground; 0 where it has the wrong sign.
        sign: -1 for a figure that is darker than the ground, 1 for a lighter one.
        threshold: Lowest contrast that is more than noise.
        min_contrast: Lowest contrast of a figure.
    """

    level: np.ndarray
    contrast: Float[np.ndarray, "h w"]
    sign: int
    threshold: float
    min_contrast: float

    @property
    def is_flat(self) -> bool:
        """Return whether the ground is one level."""
        return self.level.ndim == 0


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
        contrast: Median contrast.
        relative_contrast: Contrast of the darkest tenth of a dark figure, as a share of the light on it; of the lightest
            tenth of a light figure.
        stroke_ratio: Width of the thickest stroke as a share of the length of the figure.
        evenness: Share of the pixels around that have the level of the ground.
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
    contrast: float
    relative_contrast: float
    stroke_ratio: float
    evenness: float
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
        if best and best.stroke_ratio <= MAX_STROKE_RATIO:
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
                and is_sheet(grey, outer.mask, inner.box, outer.ground.sign * outer.contrast)
            ):
                return inner
    return ordered[0] if ordered else None


# --- grounds ----------------------------------------------------------------------------------------------------------


def find_flat_levels(grey: Float[np.ndarray, "h w"]) -> list[float]:
    """Return the levels of an image in flat colours, the most frequent first; [] if it is a photo."""
    counts = np.bincount(np.rint(grey * 255).astype(np.intp).ravel(), minlength=256)
    modes: list[tuple[int, float]] = []
    for _ in range(3):
        mode = int(np.convolve(counts, np.ones(5, int), "same").argmax())
        near = slice(max(mode - 2, 0), mode + 3)
        modes.append((mode, counts[near].sum() / grey.size))
        counts[max(mode - 3, 0) : mode + 4] = 0
    smallest = MIN_MODES_SHARE if estimate_noise(grey) > 0.5 / 255 else MIN_SHARP_MODES_SHARE
    if modes[0][1] < MIN_FLAT_SHARE or sum(share for _, share in modes) < smallest:
        return []
    frequent = [mode for mode, share in modes if share >= MIN_MODE_SHARE]
    return [float(np.median(grey[np.abs(grey * 255 - mode) <= MODE_TOLERANCE])) for mode in frequent]


def estimate_noise(grey: Float[np.ndarray, "h w"]) -> float:
    """Return the standard deviation of the noise, from the differences of neighbouring pixels."""
    return 1.4826 / 2**0.5 * float(np.median(np.abs(np.diff(grey, axis=1)))) if grey.shape[1] > 1 else 0.0


def build_flat_ground(grey: Float[np.ndarray, "h w"], level: float, sign: int) -> Ground:
    """Return a ground of one level."""
    contrast = np.maximum(sign * (grey - level), 0)
    threshold = max(0.05, 0.1 * float(contrast.max()))
    return Ground(np.array(level, np.float32), contrast, sign, threshold, MIN_FLAT_CONTRAST)


def build_local_ground(smoothed: Float[np.ndarray, "h w"], window: int, sign: int, noise: float) -> Ground:
    """Return the closing of an image for dark figures, or its opening for light ones.

    Noise lifts the closing by a constant, which the median of the contrast measures if the figure is small.

    Args:
        smoothed: Image.
        window: Side of the closing, pixels.
        sign: -1 for dark figures, 1 for light ones.
        noise: Standard deviation of the noise before the image was smoothed.
    """
    signed = -sign * smoothed
    closed = close_image(signed, window)
    contrast = closed - signed
    sample = contrast[::2, ::2]
    bias = min(float(np.median(sample)), 2 * noise)
    noise = min(1.4826 * float(np.median(np.abs(sample - bias))), noise + 0.01)
    return Ground(
        -sign * (closed - bias),
        np.maximum(contrast - bias, 0),
        sign,
        max(MIN_THRESHOLD, NOISE_THRESHOLD * noise),
        max(MIN_CONTRAST, NOISE_CONTRAST * noise),
    )


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
    return next(c for c in found if c.score >= 0.9 * best.score and c.contrast >= 0.85 * best.contrast)


# --- candidates -------------------------------------------------------------------------------------------------------


def search_ground(ground: Ground, grey: Float[np.ndarray, "h w"]) -> Candidate | None:
    """Return the best candidate over all thresholds; of nearly equal ones that of the lowest threshold."""
    highest = float(ground.contrast.max())
    if highest < ground.min_contrast:
        return None
    found = []
    if has_line_across(ground.contrast > ground.threshold):
        ground = subtract_ruling(ground)
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


def has_line_across(mask: Bool[np.ndarray, "h w"]) -> bool:
    """Return whether a component of a mask reaches over most of the image but covers little of it."""
    components = label_components(mask)
    rows, columns = mask.shape
    across = (components.height > 0.8 * rows) | (components.width > 0.8 * columns)
    return bool((across & (components.area < 0.4 * mask.size)).any())


def subtract_ruling(ground: Ground) -> Ground:
    """Return a ground that includes the lines of the paper."""
    lines = find_ruling(ground.contrast, ground.threshold)
    if not lines.any():
        return ground
    return replace(
        ground, level=(ground.level + ground.sign * lines).astype(np.float32), contrast=ground.contrast - lines
    )


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
    return share > 0.9 and candidate.evenness > 0.95 and not candidate.touches_edge


def clear_border(contrast: Float[np.ndarray, "h w"], threshold: float) -> Float[np.ndarray, "h w"]:
    """Remove a frame or a strip of the desk: rows and columns at the edge that stand out on their whole length."""
    mask = contrast > threshold
    rows, columns = mask.mean(1), mask.mean(0)
    sides = (rows, rows[::-1], columns, columns[::-1])
    limit = 0.85 if sum(side[0] > 0.85 for side in sides) >= 3 else 0.97
    widths = [int(np.argmin(side[: max(1, len(side) // 3)] > limit)) for side in sides]
    if not any(widths):
        return contrast
    top, bottom, left, right = (width + 2 if width else 0 for width in widths)
    height, width = contrast.shape
    cleared = np.zeros_like(contrast)
    inner = slice(top, height - bottom), slice(left, width - right)
    cleared[inner] = contrast[inner]
    return cleared


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
        contrast, relative_contrast, evenness, edge_share, stroke_ratio = examine(ground, components, int(index), grey)
        if edge_share >= MIN_EDGE_SHARE:
            blob = np.clip(1 - 2.5 * (stroke_ratio - MAX_STROKE_RATIO), 0.25, 1)
            quality = contrast**0.75 * edge_share**3 * evenness**3 * blob
            return Candidate(
                ground=ground,
                components=components,
                index=int(index),
                eligible=eligible,
                sizes=sizes,
                threshold=threshold,
                is_first_level=threshold == ground.threshold,
                contrast=contrast,
                relative_contrast=relative_contrast,
                stroke_ratio=stroke_ratio,
                evenness=evenness,
                touches_edge=bool(touches[index]),
                score=float(sizes[index] * weights[index] * quality),
            )
    return None


def find_frames_and_lines(components: Components, contacts: np.ndarray) -> Bool[np.ndarray, " n"]:
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


def examine(
    ground: Ground, components: Components, index: int, grey: Float[np.ndarray, "h w"]
) -> tuple[float, float, float, float, float]:
    """Measure a component.

    Returns:
        Median contrast; relative contrast; share of the pixels around that have the level of the ground; share of the outline where the
        image has an edge, 0 if the surroundings are as the component; and stroke ratio.
    """
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
        return contrast, relative, 0.0, 0.0, 1.0
    differences, evenness = [], 0.5
    for first, last in ((1, near), (near, far)):
        around, basis = get_surroundings(grey, (top, left, bottom, right), first, last)
        if len(around):
            differences.append(ground.sign * (inside - float(np.median(around))))
            evenness = measure_evenness(around, basis, 0.4 * max(contrast, 0.02))
    if differences and max(differences) < 0.5 * contrast:
        return contrast, relative, evenness, 0.0, 1.0
    window = max(5, int(0.08 * length)) | 1
    row, column = max(top - window, 0), max(left - window, 0)
    nearby = grey[row : bottom + window, column : right + window]
    edges = compute_local_range(nearby if ground.is_flat else smooth(nearby), window)
    edges = edges[top - row : bottom - row, left - column : right - column]
    edge_share = float((edges[find_outline(mask)] > 0.5 * contrast).mean())
    return contrast, relative, evenness, edge_share, measure_thickness(mask) / length


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

"""Find one solid object on a plain ground in a grey image.

The ground is a flat level or a quadratic surface, which follows the fall-off of the light. Objects may be as large as
the image, so that no window would be wider.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from training.data.foreground.components import Box, label_components
from training.data.foreground.grounds import clear_border, find_flat_levels
from training.data.foreground.measures import find_frames_and_lines
from training.data.foreground.morphology import dilate, smooth
from training.data.foreground.sheets import is_sheet

MIN_CONTRAST = 0.1
MIN_PART_SHARE = 0.05  # of the area of the largest component
SURFACE_SIDE = 96  # pixels of the reduced image that the surface is fitted to
BAND_SHARE = 0.12  # width of the band along the border where the fit starts
FIT_STEPS = 8
MIN_TOLERANCE = 0.02
MIN_LARGE_SHEET_SHARE = 0.4  # of the image
SHEET_MARGIN = 0.04  # width of the border of a sheet that is left out
MIN_SHEET_RECTANGULARITY = 0.93  # clothing may have 0.9
MIN_INNER_CONTRAST = 0.5  # of the contrast of a sheet, for an object on it
MIN_INNER_SHARE = 0.05  # of the area of a sheet, for an object on it


@dataclass(frozen=True)
class ObjectFigure:
    """An object in an image.

    Attributes:
        box: Bounding box.
        mask: Pixels of the object, without other things.
        ground: Brightness of the ground.
        sign: -1 for an object that is darker than the ground, 1 for a lighter one.
        noise: Relative contrast below which pixels belong to the ground.
        contrast: Median contrast.
        has_others: Whether the image shows other objects.
        touches_edge: Whether it touches the edge of the image.
    """

    box: Box
    mask: Bool[np.ndarray, "h w"]
    ground: Float[np.ndarray, "h w"]
    sign: int
    noise: float
    contrast: float
    has_others: bool
    touches_edge: bool


def find_object(grey: Float[np.ndarray, "h w"]) -> ObjectFigure | None:
    """Return the largest object of an image, or None if nothing stands out. A sheet is the ground of what lies on it."""
    figure = find_on_ground(grey)
    if figure is None or not is_large_sheet(figure, grey):
        return figure
    top, left, bottom, right = figure.box
    margin = round(SHEET_MARGIN * min(bottom - top, right - left))
    part = slice(top + margin, bottom - margin), slice(left + margin, right - margin)
    inner = find_on_ground(grey[part])
    if inner is None or inner.touches_edge or inner.contrast < MIN_INNER_CONTRAST * figure.contrast:
        return figure
    if inner.mask.sum() < MIN_INNER_SHARE * figure.mask.sum():
        return figure
    mask, ground = np.zeros_like(figure.mask), figure.ground.copy()
    mask[part], ground[part] = inner.mask, inner.ground
    row, column = part[0].start, part[1].start
    box = inner.box[0] + row, inner.box[1] + column, inner.box[2] + row, inner.box[3] + column
    return replace(inner, box=box, mask=mask, ground=ground)


def is_large_sheet(figure: ObjectFigure, grey: Float[np.ndarray, "h w"]) -> bool:
    """Return whether a figure is a sheet of paper that fills much of the image."""
    top, left, bottom, right = figure.box
    if (bottom - top) * (right - left) < MIN_LARGE_SHEET_SHARE * grey.size:
        return False
    middle = (top + bottom) // 2, (left + right) // 2
    center = middle[0], middle[1], middle[0] + 1, middle[1] + 1
    return is_sheet(grey, figure.mask, center, figure.sign * figure.contrast, MIN_SHEET_RECTANGULARITY)


def find_on_ground(grey: Float[np.ndarray, "h w"]) -> ObjectFigure | None:
    """Return the largest object of an image on the ground at its border, or None if nothing stands out."""
    levels = find_flat_levels(grey)
    grounds = [(np.full_like(grey, level), 0.0) for level in levels[:2]] if levels else [fit_ground(grey)]
    seen = grey if levels else smooth(grey)
    figures: list[ObjectFigure] = []
    for ground, noise in grounds:
        for sign in (-1, 1):
            figure = search_object(np.maximum(sign * (seen - ground), 0), ground, sign, noise)
            figures += [figure] if figure else []
        if any(not figure.touches_edge for figure in figures):
            break
    return max(figures, key=get_weight, default=None)


def get_weight(figure: ObjectFigure) -> float:
    """Return the contrast of a figure times its area; less if it touches the edge."""
    return figure.contrast * float(figure.mask.sum()) * (0.3 if figure.touches_edge else 1)


def fit_ground(grey: Float[np.ndarray, "h w"]) -> tuple[Float[np.ndarray, "h w"], float]:
    """Fit a quadratic surface to the ground, from the border inwards.

    Returns:
        The surface, and the standard deviation of the noise about it.
    """
    factor = min(1.0, SURFACE_SIDE / max(grey.shape))
    shape = [max(1, round(length * factor)) for length in grey.shape]
    small = np.asarray(Image.fromarray(grey).resize(shape[::-1], Image.Resampling.BOX))
    basis = build_basis(*small.shape)
    rows, columns = (np.linspace(0, 1, length) for length in small.shape)
    depth = np.minimum(np.minimum(rows, 1 - rows)[:, None], np.minimum(columns, 1 - columns)[None])
    chosen = (depth < BAND_SHARE).ravel()
    values, tolerance = small.ravel(), 1.0
    for _ in range(FIT_STEPS):
        weights, *_ = np.linalg.lstsq(basis[chosen], values[chosen], rcond=None)
        residual = np.abs(values - basis @ weights)
        tolerance = max(MIN_TOLERANCE, 3 * 1.4826 * float(np.median(residual[chosen])))
        closer = residual < tolerance
        if closer.sum() < 0.05 * len(values):
            break
        chosen = closer
    noise = float(np.std(grey - smooth(grey))) / 0.8
    return (build_basis(*grey.shape) @ weights).reshape(grey.shape).astype(np.float32), min(noise, 0.1)


def build_basis(height: int, width: int) -> Float[np.ndarray, "n 6"]:
    """Return the terms of a quadratic surface at every pixel."""
    y, x = (axis.ravel() for axis in np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j])
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], 1)


def search_object(
    contrast: Float[np.ndarray, "h w"], ground: Float[np.ndarray, "h w"], sign: int, noise: float
) -> ObjectFigure | None:
    """Return the largest object of one sign."""
    threshold = max(MIN_CONTRAST / 2, 0.08 * float(contrast.max()), 3 * noise)
    components = label_components(clear_border(contrast, threshold) > threshold)
    if not len(components):
        return None
    contacts = components.count_contacts()
    strong = components.compute_maxima(contrast) > max(MIN_CONTRAST, 2 * threshold)
    eligible = strong & ~find_frames_and_lines(components, contacts)
    if not eligible.any():
        eligible = strong
    if not eligible.any():
        return None
    area = components.area * eligible
    main = int(np.argmax(area * np.where(contacts.any(0), 0.5, 1)))
    members = np.flatnonzero(area >= MIN_PART_SHARE * area[main])
    mask = np.isin(components.labels, members + 1)
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    box = int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
    others = area >= 0.5 * area[main]
    return ObjectFigure(
        box=box,
        mask=dilate(mask, 2),
        ground=ground,
        sign=sign,
        noise=2 * noise,
        contrast=float(np.median(contrast[mask])),
        has_others=bool(others.sum() > 1),
        touches_edge=bool(contacts[:, members].any()),
    )

"""Extract the figure of a drawing or of a photo, light on black, from an image of any size and colour.

`extract_strokes` finds handwriting: thin strokes on paper or on a board, beside lines, shadows, specks and the desk.
`extract_object` finds one solid thing on a plain ground. Both search an image of at most `MAX_SEARCH_PIXELS` pixels and
cut the figure out of the full image.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from training.data.foreground.channels import (
    cut_image,
    extend_image,
    iterate_channels,
    reduce_image,
    resize_plane,
    to_grey,
)
from training.data.foreground.components import Box
from training.data.foreground.morphology import dilate
from training.data.foreground.objects import ObjectFigure, find_object
from training.data.foreground.parts import extend, join_parts, unite
from training.data.foreground.search import MAX_STROKE_RATIO, Candidate, find_candidate

WEAK_CONTRAST = 0.2  # below it, single colour channels are searched, too
MAX_BORDER_SHARE = 0.4  # of the border of an image that a figure covers
FAINT_CONTRAST = 0.15  # below it, the answer has a note

SEVERAL_FIGURES = "The picture shows several figures; only the largest one is read."
TOUCHES_EDGE = "The figure touches the edge of the picture, so part of it may be missing."
FAINT_FIGURE = "The figure is faint: it differs from the background by only {:.0%}."


@dataclass(frozen=True)
class Foreground:
    """A figure, light on black.

    Attributes:
        pixels: The figure and its bounding box, 0 black to 1 for its strongest part.
        box: Bounding box in the image: first row and column, row and column after the last ones.
        notes: What is doubtful, as sentences.
    """

    pixels: Float[np.ndarray, "h w"]
    box: Box
    notes: tuple[str, ...] = ()


def extract_strokes(image: Float[np.ndarray, "h w *c"]) -> Foreground | None:
    """Return the strokes of the main figure of an image, or None if nothing stands out.

    Args:
        image: Grey or RGB image, 0 black to 1 white. Values that are not numbers count as black.
    """
    reduced, scale = reduce_image(image)
    best = find_in_channels(reduced)
    if best is None or is_doubtful(best[0]):
        margin = round(0.3 * min(reduced.shape[:2])) + 2
        padded = extend_image(reduced, margin)
        whole = find_in_channels(padded)
        if whole and (best is None or is_cropped_figure(whole[0], best[0], margin)):
            return shift_box(cut_strokes(padded, 1.0, *whole), margin, scale, image.shape)
    return cut_strokes(image, scale, *best) if best else None


def extract_object(image: Float[np.ndarray, "h w *c"]) -> Foreground | None:
    """Return the main object of an image, or None if nothing stands out.

    Dark objects on a light ground are inverted. The contrast is relative to the ground: black on any lighter ground
    becomes white.

    Args:
        image: Grey or RGB image, 0 black to 1 white. Values that are not numbers count as black.
    """
    reduced, scale = reduce_image(image)
    for weights in iterate_channels(reduced):
        figure = find_object(to_grey(reduced, weights))
        if figure:
            return cut_object(image, scale, figure, weights)
    return None


def find_in_channels(image: Float[np.ndarray, "h w *c"]) -> tuple[Candidate, np.ndarray] | None:
    """Return the figure of an image and the weights of the channels where it stands out."""
    best: tuple[Candidate, np.ndarray] | None = None
    for weights in iterate_channels(image):
        candidate = find_candidate(to_grey(image, weights))
        if candidate and (best is None or candidate.score > 1.2 * best[0].score):
            best = candidate, weights
        if best and best[0].measures.contrast >= WEAK_CONTRAST:
            break
    return best


def is_doubtful(candidate: Candidate) -> bool:
    """Return whether a candidate may be a part of a figure that reaches from edge to edge."""
    if (
        candidate.measures.evenness < 0.8
        or candidate.touches_edge
        or candidate.measures.stroke_ratio > MAX_STROKE_RATIO
    ):
        return True
    contrast = candidate.ground.contrast
    border = np.concatenate((contrast[0], contrast[-1], contrast[:, 0], contrast[:, -1]))
    return 0.02 < float((border > 0.5 * candidate.measures.contrast).mean()) < MAX_BORDER_SHARE


def is_cropped_figure(whole: Candidate, other: Candidate, margin: int) -> bool:
    """Return whether a figure that reaches the edge is meant, and not the other candidate, such as its loop.

    Args:
        whole: Figure of the image with a margin of ground.
        other: Figure of the image without it.
        margin: Width of the margin.
    """
    rows, columns = (length - 2 * margin for length in whole.components.labels.shape)
    top, left, bottom, right = (edge - margin for edge in whole.box)
    if min(top, left, rows - bottom, columns - right) > 2:
        return False
    if whole.measures.stroke_ratio > MAX_STROKE_RATIO:
        return False
    mask = whole.mask[margin:-margin, margin:-margin]
    contacts = np.concatenate((mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    least = 0.9 if whole.ground.sign == other.ground.sign else 0.75
    if (
        contacts.mean() > MAX_BORDER_SHARE
        or whole.measures.relative_contrast < least * other.measures.relative_contrast
    ):
        return False
    if other.touches_edge:
        return True
    area = int(whole.components.area[whole.index])
    return whole.size > 1.2 * other.size and area > 0.06 * rows * columns


def shift_box(foreground: Foreground, margin: int, scale: float, shape: tuple[int, ...]) -> Foreground | None:
    """Return a figure of the reduced and extended image as a figure of the full image; None if it lies outside.

    Args:
        foreground: Figure of the extended image.
        margin: Width of the margin.
        scale: Scale of the reduced image.
        shape: Shape of the full image.
    """
    top, left, bottom, right = (round((edge - margin) / scale) for edge in foreground.box)
    top, left, bottom, right = max(top, 0), max(left, 0), min(bottom, shape[0]), min(right, shape[1])
    if top >= bottom or left >= right:
        return None
    notes = dict.fromkeys((TOUCHES_EDGE, *foreground.notes))
    return Foreground(foreground.pixels, (top, left, bottom, right), tuple(notes))


def cut_strokes(
    image: Float[np.ndarray, "h w *c"], scale: float, candidate: Candidate, weights: Float[np.ndarray, "3"]
) -> Foreground:
    """Return the strokes of a candidate, cut out of the full image."""
    members, has_others = join_parts(candidate)
    components, ground = candidate.components, candidate.ground
    box = unite([components.get_box(index) for index in members])
    margin = 3 + max(box[2] - box[0], box[3] - box[1]) // 40
    box = extend(box, margin, components.labels.shape)
    rows = slice(box[0], box[2]), slice(box[1], box[3])
    mask = dilate(np.isin(components.labels[rows], np.array(members) + 1), margin - 1)
    grey, full_box = cut_image(image, box, scale, weights)
    level = ground.level
    if not ground.is_flat:
        level = resize_plane(level[rows].astype(np.float32), grey.shape)
    mask = resize_plane(mask.astype(np.float32), grey.shape) > 0.5
    contrast = np.maximum(ground.sign * (grey - level), 0) * mask
    floor = 0.0 if candidate.is_first_level else 0.8 * candidate.threshold
    pixels = normalise(contrast, level, ground.sign, floor, mask) if not ground.is_flat else contrast / contrast.max()
    notes = [SEVERAL_FIGURES] if has_others else []
    notes += [TOUCHES_EDGE] if candidate.touches_edge else []
    notes += [FAINT_FIGURE.format(candidate.measures.contrast)] if candidate.measures.contrast < FAINT_CONTRAST else []
    return Foreground(pixels.astype(np.float32), full_box, tuple(notes))


def normalise(
    contrast: Float[np.ndarray, "h w"],
    level: Float[np.ndarray, "h w"],
    sign: int,
    floor: float,
    mask: Bool[np.ndarray, "h w"],
) -> Float[np.ndarray, "h w"]:
    """Return the strokes of a photo from 0 to 1: most of the figure is 1, noise and lines of the paper are 0."""
    if sign < 0:  # the light falls on the ink, too
        light = np.maximum(level, 0.05)
        contrast, floor = contrast / light, floor / float(np.median(light))
    strongest = np.percentile(contrast[mask], 98)
    full = float(np.percentile(contrast[contrast >= 0.4 * strongest], 75))
    floor = min(floor / full, 0.8) if floor else 0.12
    return np.clip((contrast / full - floor) / (1 - floor), 0, 1)


def cut_object(
    image: Float[np.ndarray, "h w *c"], scale: float, figure: ObjectFigure, weights: Float[np.ndarray, "3"]
) -> Foreground:
    """Return an object, cut out of the full image."""
    rows = slice(figure.box[0], figure.box[2]), slice(figure.box[1], figure.box[3])
    grey, full_box = cut_image(image, figure.box, scale, weights)
    level = resize_plane(figure.ground[rows], grey.shape)
    mask = resize_plane(figure.mask[rows].astype(np.float32), grey.shape) > 0.5
    reach = level if figure.sign < 0 else 1 - level
    pixels = np.clip(figure.sign * (grey - level) / np.maximum(reach, 0.05), 0, 1) * mask
    pixels[pixels < figure.noise] = 0
    notes = [SEVERAL_FIGURES] if figure.has_others else []
    notes += [TOUCHES_EDGE] if figure.touches_edge else []
    notes += [FAINT_FIGURE.format(figure.contrast)] if figure.contrast < FAINT_CONTRAST else []
    return Foreground(pixels.astype(np.float32), full_box, tuple(notes))

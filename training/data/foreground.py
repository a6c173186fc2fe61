"""Extract the figure of a drawing or of a photo, light on black, from an image of any size and colour.

`extract_strokes` finds handwriting: thin strokes on paper or on a board, beside lines, shadows, specks and the desk.
`extract_object` finds one solid thing on a plain ground. Both search an image of at most `MAX_SEARCH_PIXELS` pixels and
cut the figure out of the full image.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from training.data.components import Components
from training.data.figure_search import MAX_STROKE_RATIO, Box, Candidate, find_candidate
from training.data.morphology import dilate, smooth
from training.data.object_search import ObjectFigure, find_object

MAX_SEARCH_PIXELS = 120_000
MAX_CUT_SIDE = 320  # pixels of the longer side
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
WEAK_CONTRAST = 0.2  # below it, single colour channels are searched, too
MIN_COLOUR_RANGE = 0.12  # of the difference between two channels
MAX_BORDER_SHARE = 0.4  # of the border of an image that a figure covers
FAINT_CONTRAST = 0.15  # below it, the user is told

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


def find_in_channels(image: Float[np.ndarray, "h w *c"]) -> tuple[Candidate, np.ndarray] | None:
    """Return the figure of an image and the weights of the channels where it stands out."""
    best: tuple[Candidate, np.ndarray] | None = None
    for weights in iterate_channels(image):
        candidate = find_candidate(to_grey(image, weights))
        if candidate and (best is None or candidate.score > 1.2 * best[0].score):
            best = candidate, weights
        if best and best[0].contrast >= WEAK_CONTRAST:
            break
    return best


def is_doubtful(candidate: Candidate) -> bool:
    """Return whether a candidate may be a part of a figure that reaches from edge to edge."""
    if candidate.evenness < 0.8 or candidate.touches_edge or candidate.stroke_ratio > MAX_STROKE_RATIO:
        return True
    contrast = candidate.ground.contrast
    border = np.concatenate((contrast[0], contrast[-1], contrast[:, 0], contrast[:, -1]))
    return 0.02 < float((border > 0.5 * candidate.contrast).mean()) < MAX_BORDER_SHARE


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
    if whole.stroke_ratio > MAX_STROKE_RATIO:
        return False
    mask = whole.mask[margin:-margin, margin:-margin]
    contacts = np.concatenate((mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    least = 0.9 if whole.ground.sign == other.ground.sign else 0.75
    if contacts.mean() > MAX_BORDER_SHARE or whole.relative_contrast < least * other.relative_contrast:
        return False
    if other.touches_edge:
        return True
    area = int(whole.components.area[whole.index])
    return whole.size > 1.2 * other.size and area > 0.06 * rows * columns


def extend_image(image: Float[np.ndarray, "h w *c"], margin: int) -> Float[np.ndarray, "h2 w2 *c"]:
    """Return an image with a margin of ground: a plane that most pixels of its border lie on."""
    height, width = image.shape[:2]
    row, column = np.mgrid[-margin : height + margin, -margin : width + margin].astype(np.float32)
    basis = np.stack([np.ones_like(row), row / height, column / width], -1)
    inner = slice(margin, -margin), slice(margin, -margin)
    ring = np.ones((height, width), bool)
    ring[1:-1, 1:-1] = False
    channels = []
    for channel in np.moveaxis(image, -1, 0) if image.ndim == 3 else [image]:
        values, terms = channel[ring], basis[inner][ring]
        weights = np.array([np.median(values), 0, 0])
        for _ in range(5):
            residual = np.abs(values - terms @ weights)
            near = residual <= max(0.03, 1.5 * float(np.median(residual)))
            weights, *_ = np.linalg.lstsq(terms[near], values[near], rcond=None)
        extended = (basis @ weights).clip(0, 1).astype(np.float32)
        extended[inner] = channel
        channels.append(extended)
    return np.stack(channels, -1) if image.ndim == 3 else channels[0]


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


# --- sizes and colours ------------------------------------------------------------------------------------------------


def reduce_image(image: Float[np.ndarray, "h w *c"]) -> tuple[Float[np.ndarray, "h2 w2 *c"], float]:
    """Return an image of at most `MAX_SEARCH_PIXELS` pixels, and its scale."""
    height, width = image.shape[:2]
    scale = min(1.0, (MAX_SEARCH_PIXELS / (height * width)) ** 0.5)
    shape = max(1, round(height * scale)), max(1, round(width * scale))
    while min(image.shape[0] / shape[0], image.shape[1] / shape[1]) >= 4:
        rows, columns = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
        image = (image[0:rows:2, 0:columns:2] + image[1:rows:2, 1:columns:2]) / 2  # faster than a box filter
    return resize_image(image, shape), scale


def resize_image(image: Float[np.ndarray, "h w *c"], shape: tuple[int, int]) -> Float[np.ndarray, "h2 w2 *c"]:
    """Return an image that is resized with a box filter and cleaned: finite values from 0 to 1."""
    if image.shape[:2] != shape:
        channels = np.moveaxis(image, -1, 0) if image.ndim == 3 else image[None]
        resized = [
            np.asarray(
                Image.fromarray(np.ascontiguousarray(channel, np.float32)).resize(shape[::-1], Image.Resampling.BOX)
            )
            for channel in channels
        ]
        image = np.stack(resized, -1) if image.ndim == 3 else resized[0]
    return np.nan_to_num(image, posinf=1.0).clip(0, 1).astype(np.float32)


def to_grey(image: Float[np.ndarray, "h w *c"], weights: Float[np.ndarray, " c2"]) -> Float[np.ndarray, "h w"]:
    """Return the weighted sum of the channels; a grey image as it is."""
    return image if image.ndim == 2 else np.ascontiguousarray(image @ weights)


def iterate_channels(image: Float[np.ndarray, "h w *c"]) -> Iterator[Float[np.ndarray, "3"]]:
    """Yield the weights of the brightness, and then of single channels if the image has colours."""
    yield LUMINANCE
    if image.ndim == 3:
        differences = [smooth(smooth(image[..., 1] - image[..., channel])) for channel in (0, 2)]
        if max(float(np.ptp(difference)) for difference in differences) > MIN_COLOUR_RANGE:
            yield from np.eye(3, dtype=np.float32)


def cut_image(
    image: Float[np.ndarray, "h w *c"], box: Box, scale: float, weights: Float[np.ndarray, "3"]
) -> tuple[Float[np.ndarray, "h2 w2"], Box]:
    """Return a part of the full image in grey, at most `MAX_CUT_SIDE` long, and its box.

    Args:
        image: Full image.
        box: Box in the reduced image.
        scale: Scale of the reduced image.
        weights: Weights of the channels.
    """
    top, left = (int(edge / scale) for edge in box[:2])
    bottom, right = (
        min(int(np.ceil(edge / scale)), length) for edge, length in zip(box[2:], image.shape, strict=False)
    )
    part = image[top:bottom, left:right]
    factor = min(1.0, MAX_CUT_SIDE / max(part.shape[:2])) if scale < 1 else 1.0
    shape = tuple(max(1, round(length * factor)) for length in part.shape[:2])
    return to_grey(resize_image(part, (shape[0], shape[1])), weights), (top, left, bottom, right)


# --- figures ----------------------------------------------------------------------------------------------------------


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
        for index in np.flatnonzero(candidate.eligible & (relative_size > 0.12) & (means > 0.6 * means[main]))
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
    return members, any(relative_size[index] > 0.5 for index in others)


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
    notes += [FAINT_FIGURE.format(candidate.contrast)] if candidate.contrast < FAINT_CONTRAST else []
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


def resize_plane(plane: Float[np.ndarray, "h w"], shape: tuple[int, ...]) -> Float[np.ndarray, "h2 w2"]:
    """Return values that are interpolated linearly to another shape."""
    if plane.shape == shape:
        return plane
    return np.asarray(Image.fromarray(plane).resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


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

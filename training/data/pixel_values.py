"""Convert decoded pixels to opaque 8-bit colors or to gray values in [0, 1].

Files state neither how many of their 16 bits they use nor what lies behind transparent pixels. Both are inferred from the
pixels.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageFile

DEEP_GRAYSCALE_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
BIT_DEPTHS = (1, 8, 10, 12, 14, 16)  # that cameras and scanners store in containers of 16 or 32 bits
PIXELS_PER_OUTLIER, MIN_OUTLIERS = 20_000, 4  # pixels that may be defective and far brighter or darker than all others
MAX_UNIT_OVERSHOOT = 0.1  # share of the range by which values in [0, 1] overshoot after they were resized
SAMPLE_FORMAT_TAG, UNSIGNED_SAMPLE = 339, 1  # of TIFF

MAX_SAMPLED_PIXELS = 250_000  # on which a background is chosen
USEFUL_CONTRAST = 0.5  # contrast above which more does not make a stroke easier to see
MIN_KEY_CONTRAST = 0.15  # with less, the color that a file declares transparent is not used as background
MIN_SHEET_FILL = 0.7  # share of its bounding box that an opaque sheet covers
MIN_STRAIGHT_SHARE = 0.95  # share of the middle of each of its sides that is straight
SHEET_INSET = 0.03  # of the side, from where the sheet begins
MIN_SHEET_AREA = 0.5  # share of the image that the bounding box of a sheet covers
SHEET_TOLERANCE = 0.25  # difference in brightness from the sheet of what is drawn on it
OPAQUE = 128  # alpha from which a pixel counts as visible
LOW_BYTE_RAW_MODES = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def convert_to_opaque(image: Image.Image) -> Image.Image:
    """Return a loaded image without transparency, in mode L, RGB or (with values in [0, 1]) F."""
    if image.mode in DEEP_GRAYSCALE_MODES:
        return _convert_deep_grayscale(image)
    if image.has_transparency_data:
        return remove_transparency(image)
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


# --- more than 8 bits -------------------------------------------------------------------------------------------------


def scale_to_unit_range(values: np.ndarray) -> np.ndarray:
    """Scale gray values to [0, 1] by the range that they use.

    Integers are divided by the largest number of the smallest of `BIT_DEPTHS` that holds them. Signed integers and floats
    outside of [0, 1], [-1, 1] and [0, 255] are scaled by their minimum and maximum. A few pixels that are far outside of the
    range of the others do not count.

    Args:
        values: Integers, or floats of any range. NaN and infinity are allowed.

    Returns:
        Values of the same shape, float32.
    """
    if values.dtype.kind == "f":
        values = _replace_non_finite(values.astype(np.float32))
    low, high = _get_limits(values)
    if values.dtype.kind == "f":
        low, high = _get_float_range(low, high)
    elif low >= 0 and high < 2 ** BIT_DEPTHS[-1]:
        low, high = 0.0, next(2.0**bits - 1 for bits in BIT_DEPTHS if high < 2**bits)
    if not high > low:
        low, high = 0.0, max(1.0, high)
    scaled = (values.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    return np.clip(scaled, 0, 1, out=scaled)


def _replace_non_finite(values: np.ndarray) -> np.ndarray:
    """Replace infinity by the extremes of the other values, and NaN by their median."""
    is_finite = np.isfinite(values)
    if is_finite.all():
        return values
    if not is_finite.any():
        return np.zeros_like(values)
    finite = values[is_finite]
    return np.nan_to_num(values, nan=float(np.median(finite)), posinf=float(finite.max()), neginf=float(finite.min()))


def _get_limits(values: np.ndarray) -> tuple[float, float]:
    """Return minimum and maximum, without a few outliers."""
    if not values.size:
        return 0.0, 0.0
    flat = values.ravel()
    low, high = float(flat.min()), float(flat.max())
    rank = flat.size // PIXELS_PER_OUTLIER + MIN_OUTLIERS
    if flat.size <= 2 * rank:
        return low, high
    parts = np.partition(flat, (rank, flat.size - 1 - rank))
    inner_low, inner_high = float(parts[rank]), float(parts[-1 - rank])
    inner_range = inner_high - inner_low
    if inner_range > 0 and high - inner_high > 2 * inner_range:
        high = inner_high
    if inner_range > 0 and inner_low - low > 2 * inner_range:
        low = inner_low
    return low, high


def _get_float_range(low: float, high: float) -> tuple[float, float]:
    """Return which floats are black and white."""
    slack = MAX_UNIT_OVERSHOOT
    if -slack <= low and 0.5 <= high <= 1 + slack:
        return 0.0, 1.0
    if -1 - slack <= low < -slack and high <= 1 + slack:
        return -1.0, 1.0
    if -255 * slack <= low and 128 <= high <= 255 * (1 + slack):
        return 0.0, 255.0
    return min(low, 0.0), high


def _convert_deep_grayscale(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    tags: Any = getattr(image, "tag_v2", {})
    if image.mode == "I" and values.min(initial=0) < 0 and UNSIGNED_SAMPLE in _as_tuple(tags.get(SAMPLE_FORMAT_TAG, 1)):
        values = values.view(np.uint32)  # Pillow reads unsigned 32-bit numbers as signed ones
    gray = Image.fromarray(scale_to_unit_range(values))
    key = image.info.get("transparency")
    if not isinstance(key, int) or not (is_key := values == key).any() or is_key.all():
        return gray
    key_level = float(np.asarray(gray)[is_key].flat[0])
    alpha = Image.fromarray(np.where(is_key, np.uint8(0), np.uint8(255)))
    background = choose_background(np.asarray(gray), np.asarray(alpha), key_level)
    return gray if background is None else Image.composite(gray, Image.new("F", gray.size, background), alpha)


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def has_deep_colors(image: Image.Image) -> bool:
    """Return whether an image that is not loaded yet has several channels of 16 bits, of which Pillow keeps 8."""
    raw_modes = [_get_raw_mode(tile) for tile in getattr(image, "tile", ())]
    return image.mode in ("RGB", "RGBA") and bool(raw_modes) and all(";16" in name for name in raw_modes)


def load_deep_colors(high: Image.Image, reopen: Callable[[], ImageFile.ImageFile]) -> Image.Image:
    """Return a color image of 16 bits per channel, scaled by the range that it uses, in 8 bits.

    Args:
        high: The loaded image, whose values are the high bytes.
        reopen: Opens the image a second time, to read the low bytes.
    """
    if np.asarray(high)[..., :3].max(initial=0) > 127:
        return high
    low = reopen()
    has_gray_and_alpha = any(_get_raw_mode(tile).startswith("LA;") for tile in low.tile)
    low.tile = [_replace_raw_mode(tile) for tile in low.tile]
    low.load()
    if has_gray_and_alpha:  # read as four channels of 8 bits
        data = np.asarray(low).astype(np.uint16)
        values = data[..., 0::2] << 8 | data[..., 1::2]
    else:
        values = np.asarray(high).astype(np.uint16) << 8 | np.asarray(low)
    num_colors = 1 if has_gray_and_alpha else 3
    colors = scale_to_unit_range(values[..., :num_colors])
    alpha = scale_to_unit_range(values[..., num_colors:])
    pixels = np.rint(np.concatenate((colors, alpha), -1) * 255).astype(np.uint8)
    return Image.fromarray(pixels)


def _get_raw_mode(tile: Any) -> str:
    """Return how a tile stores its pixels, in the notation of Pillow."""
    args = tile[3]
    return args if isinstance(args, str) else str(args[0]) if args else ""


def _replace_raw_mode(tile: Any) -> Any:
    """Make a tile of 16-bit channels yield the low bytes, which are the high ones in the other byte order."""
    raw_mode = _get_raw_mode(tile)
    if raw_mode.startswith("LA;"):
        low_mode = "RGBA"
    else:
        name, _, order = raw_mode.partition(";16")
        low_mode = f"{name};16{LOW_BYTE_RAW_MODES[order]}"
    args = low_mode if isinstance(tile[3], str) else (low_mode, *tile[3][1:])
    return type(tile)(*tile[:3], args)


# --- transparency -----------------------------------------------------------------------------------------------------


def remove_transparency(image: Image.Image) -> Image.Image:
    """Place an image on the background that its visible pixels stand out from; return it in mode L or RGB.

    Colors of fully transparent pixels are not used, except those of a file that declares one color transparent: that color is
    the background that the image had before.
    """
    key = image.info.get("transparency") if image.mode != "P" else None  # of a palette it is an arbitrary color
    with_alpha = image.convert("RGBA")
    alpha = with_alpha.getchannel("A")
    colors = with_alpha.convert("RGB")  # without the alpha channel, and not multiplied by it
    lowest, highest = alpha.getextrema()
    if lowest == highest:  # says nothing, also where all pixels are "transparent"
        return colors
    small = _subsample(image.size)
    levels = np.asarray(colors.convert("L"))[small] / np.float32(255)
    weights = np.asarray(alpha)[small]
    key_level = None
    if isinstance(key, int | tuple) and (is_key := weights == 0).any():
        key_level = float(levels[is_key][0])
    background = choose_background(levels, weights, key_level)
    if background is None:
        return colors
    fill = tuple(np.median(np.asarray(colors)[small][weights >= OPAQUE], 0).astype(int).tolist())
    if background in (0, 1):
        fill = (round(255 * background),) * 3
    ground = Image.new("RGB", image.size, fill)
    ground.paste(colors, mask=alpha)
    return ground


def choose_background(levels: np.ndarray, alpha: np.ndarray, key_level: float | None) -> float | None:
    """Choose the brightness of the background for a partly transparent image.

    An opaque sheet with transparent corners or margins continues. Otherwise the background is black or white, whichever the
    visible pixels differ from more.

    Args:
        levels: Brightness in [0, 1], shape (h, w).
        alpha: Opacity from 0 to 255, shape (h, w).
        key_level: Brightness of the color that the file declares transparent, if it does.

    Returns:
        The brightness, or None if the colors of transparent pixels are the background.
    """
    if key_level is not None and _compute_contrast(levels, alpha, key_level) >= MIN_KEY_CONTRAST:
        return None
    if (sheet_level := _find_sheet(levels, alpha)) is not None:
        return sheet_level
    return 0.0 if _compute_contrast(levels, alpha, 0.0) > _compute_contrast(levels, alpha, 1.0) + 0.01 else 1.0


def _compute_contrast(levels: np.ndarray, alpha: np.ndarray, background: float) -> float:
    """Return the mean difference of visible pixels from a background; each counts up to `USEFUL_CONTRAST`."""
    weights = alpha.astype(np.float32)
    return float((np.minimum(np.abs(levels - background), USEFUL_CONTRAST) * weights).sum() / weights.sum())


def _find_sheet(levels: np.ndarray, alpha: np.ndarray) -> float | None:
    """Return the brightness of an opaque rectangle that something is drawn on, or None."""
    is_visible = alpha >= OPAQUE
    rows, columns = (np.flatnonzero(is_visible.any(axis)) for axis in (1, 0))
    if not rows.size:
        return None
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    inside = is_visible[box]
    if (
        inside.mean() < MIN_SHEET_FILL
        or inside.size < MIN_SHEET_AREA * is_visible.size
        or not _has_straight_sides(inside)
    ):
        return None
    margin_y, margin_x = (max(1, length // 10) for length in inside.shape)
    center = levels[box][margin_y:-margin_y, margin_x:-margin_x]
    visible = center[inside[margin_y:-margin_y, margin_x:-margin_x]]
    if not visible.size:
        return None
    sheet_level = float(np.median(visible))
    has_drawing = float((np.abs(visible - sheet_level) > SHEET_TOLERANCE).mean()) > 0.002
    return sheet_level if has_drawing else None


def _has_straight_sides(mask: np.ndarray) -> bool:
    """Return whether the middle half of each side of a mask is covered, as that of a rectangle with rounded corners."""
    for lines in (mask, mask[::-1], mask.T, mask.T[::-1]):
        length = lines.shape[1]
        line = lines[int(SHEET_INSET * len(lines)), length // 4 : length - length // 4]
        if line.mean() < MIN_STRAIGHT_SHARE:
            return False
    return True


def _subsample(size: tuple[int, int]) -> tuple[slice, slice]:
    """Return slices that select at most about `MAX_SAMPLED_PIXELS` of an image."""
    step = max(1, round((size[0] * size[1] / MAX_SAMPLED_PIXELS) ** 0.5))
    return slice(None, None, min(step, size[1])), slice(None, None, min(step, size[0]))

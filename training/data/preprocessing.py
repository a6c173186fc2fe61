"""Prepare images for the model: resize, crop, and isolate an object from a plain background."""

import numpy as np
from jaxtyping import Float
from PIL import Image

PILImage = Image.Image
MAX_RESIZED_PIXELS = 2**24  # 4,096 x 4,096


def resize_center_crop(image: PILImage, size: int, crop: int) -> PILImage:
    """Resize the shorter side to `size` pixels and return the central `crop` x `crop` pixels.

    The interpolation is bilinear; Pillow applies an anti-aliasing filter when it shrinks. Of a very long and thin image, only
    the part that is returned is resized.
    """
    shorter_side = min(image.size)
    width, height = (int(size * side / shorter_side) for side in image.size)
    left = round((width - crop) / 2)
    top = round((height - crop) / 2)
    if width * height > MAX_RESIZED_PIXELS:
        scale_x, scale_y = (side / length for side, length in zip(image.size, (width, height), strict=True))
        box = (left * scale_x, top * scale_y, (left + crop) * scale_x, (top + crop) * scale_y)
        return image.resize((crop, crop), Image.Resampling.BILINEAR, box)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + crop, top + crop))


def to_grayscale(pixels: np.ndarray) -> np.ndarray:
    """Return the brightness, shape (h, w), of an image of shape (h, w, 3) or (h, w)."""
    return pixels if pixels.ndim == 2 else pixels @ np.array([0.299, 0.587, 0.114], np.float32)


def background_level(grey: Float[np.ndarray, "h w"]) -> float:
    """Return the brightness of the background: the median along the border."""
    return float(np.median(np.concatenate((grey[0], grey[-1], grey[:, 0], grey[:, -1]))))


def crop_to_foreground(foreground: Float[np.ndarray, "h w"], threshold: float) -> Float[np.ndarray, "h2 w2"]:
    """Return the bounding box of the pixels that are brighter than `threshold`."""
    rows, columns = (np.flatnonzero((foreground > threshold).any(axis)) for axis in (1, 0))
    return foreground[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def fit_into_square(foreground: Float[np.ndarray, "h w"], side: int) -> Float[np.ndarray, "s s"]:
    """Scale an image to fit into a black square and center it, as Fashion-MNIST does."""
    scale = side / max(foreground.shape)
    width, height = (max(1, round(length * scale)) for length in foreground.shape[::-1])
    scaled = np.asarray(Image.fromarray(foreground).resize((width, height), Image.Resampling.BILINEAR))
    image = np.zeros((side, side), np.float32)
    top = (side - height) // 2
    left = (side - width) // 2
    image[top : top + height, left : left + width] = scaled
    return image

"""How a picture is cut out to be seen, and varied to be learned from.

What varies a picture draws on nothing but the numbers it is given, so a batch depends on its seed alone. The policies are
those of AutoAugment (Cubuk et al., CVPR 2019, table of CIFAR-10) and TrivialAugment (Müller and Hutter, ICCV 2021, wide
space), on Pillow's operations. Kornia has both as well, but varies one picture of 32 pixels in 1 to 2 ms on a processor where
Pillow takes 0.1, draws on the global source of randomness, and weighs 31 MB.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageEnhance, ImageOps

Augment = Literal["none", "crop-flip", "auto", "trivial"]
DRAWS = 12  # numbers from 0 to 1 that varying one picture takes at most
AREA = (0.08, 1.0)  # share of a picture that a random cut shows, and
ASPECT = (3 / 4, 4 / 3)  # its width by its height (Szegedy et al. 2015)
SHIFT = 8  # a picture that is as large as what is seen is shifted by up to one in so many pixels
LEVELS = 30  # strengths of TrivialAugment

Picture = Image.Image


def middle_of(picture: Picture, size: int, crop: int) -> Picture:
    """Resize so that the shorter side has `size` pixels, and cut out the middle, `crop` x `crop`."""
    short = min(picture.size)
    width, height = (int(size * side / short) for side in picture.size)
    left, top = round((width - crop) / 2), round((height - crop) / 2)
    resized = picture.resize((width, height), Image.Resampling.BILINEAR)  # this one blurs before it shrinks
    return resized.crop((left, top, left + crop, top + crop))


def varied(picture: Picture, size: int, crop: int, augment: Augment, draws: Iterator[float]) -> Picture:
    """A picture to learn from, `crop` x `crop`. `draws` are numbers from 0 to 1, DRAWS of them at least."""
    if augment == "none":
        return middle_of(picture, size, crop)
    if augment == "auto" and size == crop:  # as published, for CIFAR: no shift, no mirror but the policy's
        return auto_augment(middle_of(picture, size, crop), draws)
    cut = resized_cut(picture, crop, draws) if size > crop else shifted(middle_of(picture, size, crop), draws)
    if next(draws) < 0.5:
        cut = ImageOps.mirror(cut)
    if augment == "crop-flip":
        return cut
    return auto_augment(cut, draws) if augment == "auto" else trivial_augment(cut, draws)


def resized_cut(picture: Picture, crop: int, draws: Iterator[float]) -> Picture:
    """A random part of a picture, as large and as slender as the random numbers say, or as the picture allows."""
    width, height = picture.size
    area = width * height * (AREA[0] + next(draws) * (AREA[1] - AREA[0]))
    aspect = ASPECT[0] * (ASPECT[1] / ASPECT[0]) ** next(draws)
    wide, high = min(width, (area * aspect) ** 0.5), min(height, (area / aspect) ** 0.5)
    left, top = next(draws) * (width - wide), next(draws) * (height - high)
    box = (left, top, min(width, left + wide), min(height, top + high))
    return picture.resize((crop, crop), Image.Resampling.BILINEAR, box)


def shifted(picture: Picture, draws: Iterator[float]) -> Picture:
    """A picture that is moved over black by a few whole pixels."""
    width, height = picture.size
    most = max(1, width // SHIFT)
    left, top = (int(next(draws) * (2 * most + 1)) - most for _ in range(2))
    return picture.crop((left, top, left + width, top + height))


# --- things on a ground ---------------------------------------------------------------------------------------------


def grey_of(pixels: np.ndarray) -> np.ndarray:
    """Brightness (h, w) of a picture (h, w, 3); grey pictures (h, w) are taken as they are."""
    return pixels if pixels.ndim == 2 else pixels @ np.array([0.299, 0.587, 0.114], np.float32)


def ground_of(grey: Float[np.ndarray, "h w"]) -> float:
    """Brightness of the ground: the middle one along the border."""
    return float(np.median(np.concatenate((grey[0], grey[-1], grey[:, 0], grey[:, -1]))))


def figure_of(grey: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """What stands out from the ground, light on black, whether it was darker or lighter."""
    ground = ground_of(grey)
    return np.clip(ground - grey if ground > 0.5 else grey - ground, 0, 1)


def trimmed(figure: Float[np.ndarray, "h w"], least: float) -> Float[np.ndarray, "h2 w2"]:
    """The part of a figure that is brighter than `least`, and all between."""
    rows, columns = (np.flatnonzero((figure > least).any(axis)) for axis in (1, 0))
    return figure[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def filling(figure: Float[np.ndarray, "h w"], side: int) -> Float[np.ndarray, "s s"]:
    """A figure as large as fits, in the middle of a black square: so the pictures of Fashion-MNIST were made."""
    scale = side / max(figure.shape)
    size = [max(1, round(length * scale)) for length in figure.shape[::-1]]
    small = np.asarray(Image.fromarray(figure).resize(size, Image.Resampling.BILINEAR))
    picture = np.zeros((side, side), np.float32)
    top, left = (side - small.shape[0]) // 2, (side - small.shape[1]) // 2
    picture[top : top + small.shape[0], left : left + small.shape[1]] = small
    return picture


# --- policies --------------------------------------------------------------------------------------------------------


def trivial_augment(picture: Picture, draws: Iterator[float]) -> Picture:
    """One operation, one strength, all as likely as each other."""
    name = WIDE[int(next(draws) * len(WIDE))]
    strength = int(next(draws) * (LEVELS + 1)) / LEVELS
    return apply(picture, name, WIDEST.get(name, 1.0) * strength, next(draws) < 0.5)


def auto_augment(picture: Picture, draws: Iterator[float]) -> Picture:
    """One of the 25 learned pairs of operations, each with its probability and its strength."""
    for name, chance, level in CIFAR_POLICY[int(next(draws) * len(CIFAR_POLICY))]:
        happens, down = next(draws) < chance, next(draws) < 0.5
        if happens:
            picture = apply(picture, name, LARGEST.get(name, 1.0) * level / 9, down)
    return picture


def apply(picture: Picture, name: str, amount: float, down: bool) -> Picture:
    """An operation by name; `down` turns the amount of those that have a direction."""
    return OPERATIONS[name](picture, -amount if down else amount)


def enhanced(kind: Callable) -> Callable[[Picture, float], Picture]:
    return lambda picture, amount: kind(picture).enhance(1 + amount)


def sheared(picture: Picture, x: float, y: float) -> Picture:
    return moved(picture, (1.0, x, 0.0, y, 1.0, 0.0))


def moved(picture: Picture, coefficients: tuple[float, ...]) -> Picture:
    return picture.transform(picture.size, Image.Transform.AFFINE, coefficients, Image.Resampling.NEAREST)


def posterized(picture: Picture, amount: float) -> Picture:
    return ImageOps.posterize(picture, 8 - min(7, round(abs(amount))))


# name -> what it does with an amount: a share of 1, degrees, a share of the side, or bits that are dropped
OPERATIONS: dict[str, Callable[[Picture, float], Picture]] = {
    "identity": lambda picture, amount: picture,
    "shear-x": lambda picture, amount: sheared(picture, amount, 0.0),
    "shear-y": lambda picture, amount: sheared(picture, 0.0, amount),
    "translate-x": lambda picture, amount: moved(picture, (1.0, 0.0, amount * picture.width, 0.0, 1.0, 0.0)),
    "translate-y": lambda picture, amount: moved(picture, (1.0, 0.0, 0.0, 0.0, 1.0, amount * picture.height)),
    "rotate": lambda picture, amount: picture.rotate(amount),
    "brightness": enhanced(ImageEnhance.Brightness),
    "colour": enhanced(ImageEnhance.Color),
    "contrast": enhanced(ImageEnhance.Contrast),
    "sharpness": enhanced(ImageEnhance.Sharpness),
    "posterize": posterized,
    "solarize": lambda picture, amount: ImageOps.solarize(picture, round(255 * (1 - abs(amount)))),
    "autocontrast": lambda picture, amount: ImageOps.autocontrast(picture),
    "equalize": lambda picture, amount: ImageOps.equalize(picture),
    "invert": lambda picture, amount: ImageOps.invert(picture),
}
WIDE = tuple(name for name in OPERATIONS if name != "invert")
WIDEST = {  # TrivialAugment's largest amounts; its 32 pixels of translation are taken for those of a picture of 224, as they
    # would leave nothing to see of a small one
    "shear-x": 0.99,
    "shear-y": 0.99,
    "translate-x": 32 / 224,
    "translate-y": 32 / 224,
    "rotate": 135.0,
    "brightness": 0.99,
    "colour": 0.99,
    "contrast": 0.99,
    "sharpness": 0.99,
    "posterize": 6.0,
}
LARGEST = {  # AutoAugment's amounts at its highest level
    "shear-x": 0.3,
    "shear-y": 0.3,
    "translate-x": 150 / 331,
    "translate-y": 150 / 331,
    "rotate": 30.0,
    "brightness": 0.9,
    "colour": 0.9,
    "contrast": 0.9,
    "sharpness": 0.9,
    "posterize": 4.0,
}
CIFAR_POLICY = (
    (("invert", 0.1, 7), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("translate-x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear-y", 0.5, 8), ("translate-y", 0.7, 9)),
    (("autocontrast", 0.5, 8), ("equalize", 0.9, 2)),
    (("shear-y", 0.2, 7), ("posterize", 0.3, 7)),
    (("colour", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalize", 0.6, 5), ("equalize", 0.5, 1)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("colour", 0.7, 7), ("translate-x", 0.5, 8)),
    (("equalize", 0.3, 7), ("autocontrast", 0.4, 8)),
    (("translate-y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("colour", 0.2, 8)),
    (("solarize", 0.5, 2), ("invert", 0.0, 3)),
    (("equalize", 0.2, 0), ("autocontrast", 0.6, 0)),
    (("equalize", 0.2, 8), ("equalize", 0.6, 4)),
    (("colour", 0.9, 9), ("equalize", 0.6, 6)),
    (("autocontrast", 0.8, 4), ("solarize", 0.2, 8)),
    (("brightness", 0.1, 3), ("colour", 0.7, 0)),
    (("solarize", 0.4, 5), ("autocontrast", 0.9, 3)),
    (("translate-y", 0.9, 9), ("translate-y", 0.7, 9)),
    (("autocontrast", 0.9, 2), ("solarize", 0.8, 3)),
    (("equalize", 0.8, 8), ("invert", 0.1, 3)),
    (("translate-y", 0.7, 9), ("autocontrast", 0.9, 1)),
)

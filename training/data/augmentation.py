"""Augment training images.

All randomness comes from the numbers that are passed in, so a batch depends on its seed alone. The policies are those of
AutoAugment (Cubuk et al., CVPR 2019, table of CIFAR-10) and TrivialAugment (Müller and Hutter, ICCV 2021, wide space), with
Pillow operations. Kornia implements both too, but takes 1 to 2 ms per 32-pixel image on a CPU where Pillow takes 0.1 ms, uses
the global random generator, and adds 31 MB.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal

from PIL import Image, ImageEnhance, ImageOps

from training.data.preprocessing import PILImage, resize_center_crop

AugmentationPolicy = Literal["none", "crop-flip", "auto", "trivial"]
RANDOM_NUMBERS_PER_IMAGE = 12  # maximum count of random numbers that one image consumes
CROP_AREA_RANGE = (0.08, 1.0)  # fraction of the image area in a random crop
CROP_ASPECT_RANGE = (3 / 4, 4 / 3)  # width by height of a random crop (Szegedy et al. 2015)
SHIFT_DIVISOR = 8  # the maximum random shift is the image width divided by this
NUM_MAGNITUDE_LEVELS = 30  # magnitude levels of TrivialAugment


def augment_image(
    image: PILImage, size: int, crop: int, policy: AugmentationPolicy, random_numbers: Iterator[float]
) -> PILImage:
    """Return an augmented training image of `crop` x `crop` pixels.

    Args:
        image: Source image.
        size: Shorter side in pixels after resizing.
        crop: Side of the result in pixels.
        policy: Augmentation policy.
        random_numbers: At least `RANDOM_NUMBERS_PER_IMAGE` numbers in [0, 1).
    """
    if policy == "none":
        return resize_center_crop(image, size, crop)
    if policy == "auto" and size == crop:  # as published for CIFAR: the policy alone
        return auto_augment(resize_center_crop(image, size, crop), random_numbers)
    if size > crop:
        augmented = random_resized_crop(image, crop, random_numbers)
    else:
        augmented = random_shift(resize_center_crop(image, size, crop), random_numbers)
    if next(random_numbers) < 0.5:
        augmented = ImageOps.mirror(augmented)
    if policy == "crop-flip":
        return augmented
    return auto_augment(augmented, random_numbers) if policy == "auto" else trivial_augment(augmented, random_numbers)


def random_resized_crop(image: PILImage, crop: int, random_numbers: Iterator[float]) -> PILImage:
    """Return a crop of random area and aspect ratio, limited by the image, resized to `crop` pixels."""
    width, height = image.size
    area = width * height * (CROP_AREA_RANGE[0] + next(random_numbers) * (CROP_AREA_RANGE[1] - CROP_AREA_RANGE[0]))
    aspect = CROP_ASPECT_RANGE[0] * (CROP_ASPECT_RANGE[1] / CROP_ASPECT_RANGE[0]) ** next(random_numbers)
    box_width = min(width, (area * aspect) ** 0.5)
    box_height = min(height, (area / aspect) ** 0.5)
    left = next(random_numbers) * (width - box_width)
    top = next(random_numbers) * (height - box_height)
    box = (left, top, min(width, left + box_width), min(height, top + box_height))
    return image.resize((crop, crop), Image.Resampling.BILINEAR, box)


def random_shift(image: PILImage, random_numbers: Iterator[float]) -> PILImage:
    """Shift the image by a random number of whole pixels and fill with black."""
    width, height = image.size
    max_shift = max(1, width // SHIFT_DIVISOR)
    left, top = (int(next(random_numbers) * (2 * max_shift + 1)) - max_shift for _ in range(2))
    return image.crop((left, top, left + width, top + height))


# --- policies --------------------------------------------------------------------------------------------------------


def trivial_augment(image: PILImage, random_numbers: Iterator[float]) -> PILImage:
    """Apply one operation at one magnitude, both uniformly random."""
    name = TRIVIAL_AUGMENT_OPERATIONS[int(next(random_numbers) * len(TRIVIAL_AUGMENT_OPERATIONS))]
    strength = int(next(random_numbers) * (NUM_MAGNITUDE_LEVELS + 1)) / NUM_MAGNITUDE_LEVELS
    return apply_operation(
        image, name, TRIVIAL_AUGMENT_MAGNITUDES.get(name, 1.0) * strength, next(random_numbers) < 0.5
    )


def auto_augment(image: PILImage, random_numbers: Iterator[float]) -> PILImage:
    """Apply one of the 25 learned pairs of operations, each with its probability and magnitude."""
    for name, probability, level in CIFAR_POLICY[int(next(random_numbers) * len(CIFAR_POLICY))]:
        should_apply = next(random_numbers) < probability
        negate = next(random_numbers) < 0.5
        if should_apply:
            image = apply_operation(image, name, AUTO_AUGMENT_MAGNITUDES.get(name, 1.0) * level / 9, negate)
    return image


def apply_operation(image: PILImage, name: str, magnitude: float, negate: bool) -> PILImage:
    """Apply an operation by name.

    Args:
        image: Image to transform.
        name: Key of `OPERATIONS`.
        magnitude: Strength in the unit of the operation.
        negate: Whether to reverse the sign, for operations that have a direction.
    """
    return OPERATIONS[name](image, -magnitude if negate else magnitude)


def make_enhance_operation(enhancer: Callable[[PILImage], Any]) -> Callable[[PILImage, float], PILImage]:
    """Wrap a Pillow enhancer as an operation; magnitude 0 is the identity."""
    return lambda image, magnitude: enhancer(image).enhance(1 + magnitude)


def shear(image: PILImage, x: float, y: float) -> PILImage:
    """Shear the image along x and y."""
    return affine_transform(image, (1.0, x, 0.0, y, 1.0, 0.0))


def affine_transform(image: PILImage, coefficients: tuple[float, ...]) -> PILImage:
    """Apply an affine transform with the six coefficients of Pillow."""
    return image.transform(image.size, Image.Transform.AFFINE, coefficients, Image.Resampling.NEAREST)


def posterize(image: PILImage, magnitude: float) -> PILImage:
    """Drop `magnitude` low bits of every channel, at most 7."""
    return ImageOps.posterize(image, 8 - min(7, round(abs(magnitude))))


# Operations by name. The unit of the magnitude depends on the operation: fraction, degrees, fraction of the side, or bits.
OPERATIONS: dict[str, Callable[[PILImage, float], PILImage]] = {
    "identity": lambda image, magnitude: image,
    "shear-x": lambda image, magnitude: shear(image, magnitude, 0.0),
    "shear-y": lambda image, magnitude: shear(image, 0.0, magnitude),
    "translate-x": lambda image, magnitude: affine_transform(image, (1.0, 0.0, magnitude * image.width, 0.0, 1.0, 0.0)),
    "translate-y": lambda image, magnitude: affine_transform(
        image, (1.0, 0.0, 0.0, 0.0, 1.0, magnitude * image.height)
    ),
    "rotate": lambda image, magnitude: image.rotate(magnitude),
    "brightness": make_enhance_operation(ImageEnhance.Brightness),
    "colour": make_enhance_operation(ImageEnhance.Color),
    "contrast": make_enhance_operation(ImageEnhance.Contrast),
    "sharpness": make_enhance_operation(ImageEnhance.Sharpness),
    "posterize": posterize,
    "solarize": lambda image, magnitude: ImageOps.solarize(image, round(255 * (1 - abs(magnitude)))),
    "autocontrast": lambda image, magnitude: ImageOps.autocontrast(image),
    "equalize": lambda image, magnitude: ImageOps.equalize(image),
    "invert": lambda image, magnitude: ImageOps.invert(image),
}
TRIVIAL_AUGMENT_OPERATIONS = tuple(name for name in OPERATIONS if name != "invert")
# Maximum magnitudes of TrivialAugment. Its translation of 32 pixels is scaled as for an image of 224 pixels, because it
# would empty a small image.
TRIVIAL_AUGMENT_MAGNITUDES = {
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
# Magnitudes of AutoAugment at its highest level.
AUTO_AUGMENT_MAGNITUDES = {
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

"""Estimate the period and the position of the walls of a maze along one axis of an image.

The walls of a maze lie on parallel lines at equal distances. Along a line of pixels across them, the brightness falls where a
strip of one kind begins and rises where it ends. The falling edges of all lines of pixels, added up, form a comb whose
period is the distance of the walls; the rising edges form a second one, shifted by the thickness of the dark strips. This
holds for walls as thick as the paths and for thin lines, for any fraction of a pixel, and for smoothed and noisy images. The
combs are found by their Fourier transform.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

MIN_WIDTH = 0.4  # pixels of a wall or a path
MAX_PEAKS = 12  # of the spectrum of an axis
HARMONIC_WEIGHTS = (1.0, 0.8, 0.6, 0.4)
EDGE_TOLERANCES = (0.0, 0.02, 0.06, 0.12)  # in periods
MAX_AXES = 5  # that are verified per axis of the image
NUM_HARMONICS = 8
NUM_PHASES = 128
TOOTH_WIDTH = 0.08  # in periods, around a peak, in which edges count for its position
EDGE_SHARE = 0.35  # of a strip that must be visible at the edge of the image
MAX_ROUNDING_ERROR = 1e-9  # of a folded profile, as a share of its largest value


@dataclass(frozen=True)
class Axis:
    """The lattice along one axis, in pixels.

    Attributes:
        period: Distance of two dark strips.
        dark_start: Position where a dark strip begins.
        dark_width: Thickness of the dark strips.
    """

    period: float
    dark_start: float
    dark_width: float

    def get_strips(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the strips within an image.

        Args:
            length: Pixels of the image along the axis.

        Returns:
            Start and end of all strips that are visible, shape (n, 2), and whether each is dark.
        """
        first = int(np.floor(-self.dark_start / self.period)) - 1
        count = int(np.ceil(length / self.period)) + 3
        dark = self.dark_start + self.period * np.arange(first, first + count)
        edges = np.stack([dark, dark + self.dark_width], 1).ravel()
        starts, ends = edges[:-1], edges[1:]
        is_dark = np.arange(len(starts)) % 2 == 0
        visible = np.minimum(ends, length) - np.maximum(starts, 0)
        is_visible = visible > np.maximum(EDGE_SHARE * (ends - starts), 0.3)
        return np.stack([starts, ends], 1)[is_visible], is_dark[is_visible]


def propose_axes(brightness: np.ndarray, is_two_coloured: np.ndarray) -> list[tuple[float, Axis]]:
    """Return lattices along the horizontal axis that may explain the vertical edges, with the share of edges on them.

    Args:
        brightness: Array of shape (h, w).
        is_two_coloured: Whether each pixel has a colour of walls or paths, shape (h, w).
    """
    slopes = np.diff(brightness, axis=1) * (is_two_coloured[:, 1:] & is_two_coloured[:, :-1])
    falling, rising = np.maximum(-slopes, 0).sum(0), np.maximum(slopes, 0).sum(0)
    falling, rising = (np.maximum(profile - np.median(profile), 0) for profile in (falling, rising))
    axes = []
    for period in find_periods(falling, rising, brightness.shape[1]):
        dark_start, dark_end = (find_teeth(profile, period) for profile in (falling, rising))
        width = (dark_end - dark_start) % period
        if not MIN_WIDTH < width < period - MIN_WIDTH:
            width = period / 2
        axis = Axis(period, dark_start % period, width)
        axes.append((compute_edge_share(falling, rising, axis), axis))
    axes.sort(key=lambda entry: -entry[0])
    return axes[:MAX_AXES]


def compute_edge_share(falling: np.ndarray, rising: np.ndarray, axis: Axis) -> float:
    """Return the share of the edges that lie near the boundaries of strips, less the share that does so by chance.

    Sharp edges are best counted within a pixel, blurred ones within a part of the period; the largest difference counts.
    """
    positions = np.arange(1, len(falling) + 1)
    shares = np.zeros(len(EDGE_TOLERANCES))
    tolerances = [max(share * axis.period, min(0.75, 0.25 * axis.period)) for share in EDGE_TOLERANCES]
    for profile, start in ((falling, axis.dark_start), (rising, axis.dark_start + axis.dark_width)):
        distance = np.abs((positions - start + axis.period / 2) % axis.period - axis.period / 2)
        is_near = distance <= np.array(tolerances)[:, None]
        shares += (is_near @ profile / max(profile.sum(), 1e-9) - is_near.mean(1)) / 2
    return float(shares.max())


def find_periods(falling: np.ndarray, rising: np.ndarray, length: int) -> Iterator[float]:
    """Yield the periods of two profiles of edges, refined to a small part of a pixel.

    A comb has equal peaks at all multiples of its frequency. The mean over the first multiples is largest at the frequency
    itself and, if the edges are sharp, at its multiples.
    """
    size = 1 << int(np.ceil(np.log2(16 * len(falling))))
    profiles = np.stack([falling - falling.mean(), rising - rising.mean()])
    spectrum = np.abs(np.fft.rfft(profiles, size)).sum(0)
    low, high = int(np.ceil(size * 1.6 / length)), size // 2
    indices = np.arange(low, high + 1)
    strength, count = np.zeros(len(indices)), np.zeros(len(indices))
    for k, weight in enumerate(HARMONIC_WEIGHTS, 1):
        has_harmonic = k * indices <= high
        strength[has_harmonic] += weight * spectrum[k * indices[has_harmonic]]
        count[has_harmonic] += weight
    strength /= count
    padded = np.concatenate([[0.0], strength, [0.0]])
    peaks = np.flatnonzero((strength >= padded[:-2]) & (strength > padded[2:]))
    preference = strength[peaks] * indices[peaks] ** -0.15  # of equal combs, the one with the largest period
    found: list[float] = []
    for index in indices[peaks[np.argsort(-preference, kind="stable")]].tolist():
        if any(abs(index / size - other) < 0.3 / length for other in found):
            continue
        frequency = refine_frequency(falling, rising, index / size)
        found.append(frequency)
        yield 1 / frequency
        if len(found) == MAX_PEAKS:
            return


def refine_frequency(falling: np.ndarray, rising: np.ndarray, frequency: float) -> float:
    """Return the frequency near another one whose harmonics are strongest."""
    profiles = np.stack([falling - falling.mean(), rising - rising.mean()])
    tried = frequency + np.linspace(-0.12, 0.12, 13) / len(falling)
    wave = np.exp(-2j * np.pi * np.outer(tried, np.arange(len(falling))))
    strength, harmonic = np.zeros(len(tried)), np.ones_like(wave)
    for k in range(1, 5):
        if k * frequency > 0.5 + 1e-9:
            break
        harmonic = harmonic * wave
        strength += sum(np.abs((harmonic * profile).sum(1)) for profile in profiles)
    return min(float(tried[strength.argmax()]), 0.5)


def fold_profile(profile: np.ndarray, period: float) -> np.ndarray:
    """Return the mean profile over one period at `NUM_PHASES` phases, from its harmonics."""
    harmonics = np.arange(1, NUM_HARMONICS + 1)
    harmonics = harmonics[harmonics / period <= 0.5 + 1e-9]
    positions = np.arange(len(profile))
    waves = np.exp(-2j * np.pi * np.outer(harmonics / period, positions))
    coefficients = (waves * profile).sum(1) * np.exp(-0.5 * (harmonics / (0.6 * NUM_HARMONICS)) ** 2)
    phases = np.arange(NUM_PHASES) / NUM_PHASES
    return (coefficients[:, None] * np.exp(2j * np.pi * np.outer(harmonics, phases))).real.sum(0)


def find_teeth(profile: np.ndarray, period: float) -> float:
    """Return the position of the first tooth of a comb in pixels; an edge between pixels x and x + 1 is at x + 1."""
    start = find_peak(fold_profile(profile, period)) * period + 1.0
    distances = (np.arange(1, len(profile) + 1) - start + period / 2) % period - period / 2
    weights = profile * (np.abs(distances) <= max(1.0, TOOTH_WIDTH * period))
    return start + float(weights @ distances / max(float(weights.sum()), 1e-9))


def find_peak(fold: np.ndarray) -> float:
    """Return the phase of the largest value, between 0 and 1."""
    # Of equal peaks the first one counts, and not the one that rounding errors favour.
    top = int((fold >= fold.max() - MAX_ROUNDING_ERROR * np.abs(fold).max()).argmax())
    before, at, after = fold[top - 1], fold[top], fold[(top + 1) % len(fold)]
    bend = before - 2 * at + after
    return (top + (0.5 * (before - after) / bend if bend < 0 else 0.0)) / len(fold)

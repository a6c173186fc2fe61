"""Estimate the lattice of a maze in an image: the period and the position of its walls along both axes.

The walls of a maze lie on parallel lines at equal distances. Along a line of pixels across them, the brightness falls where a
strip of one kind begins and rises where it ends. The falling edges of all lines of pixels, added up, form a comb whose
period is the distance of the walls; the rising edges form a second one, shifted by the thickness of the dark strips. This
holds for walls as thick as the paths and for thin lines, for any fraction of a pixel, and for smoothed and noisy images. The
combs are found by their Fourier transform.

A lattice is verified by its crossings: where two dark strips cross, all places are dark, and where two bright strips cross, all
are bright. The places between two crossings hold the maze.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from training.data.maze_colours import find_threshold

MIN_WIDTH = 0.4  # pixels of a wall or a path
MAX_PEAKS = 12  # of the spectrum of an axis
HARMONIC_WEIGHTS = (1.0, 0.8, 0.6, 0.4)
EDGE_TOLERANCES = (0.0, 0.06, 0.12)  # in periods
MAX_AXES = 6  # that are verified per axis of the image
MAX_PAIRS = 16
NUM_HARMONICS = 8
NUM_PHASES = 128
EDGE_SHARE = 0.35  # of a strip that must be visible at the edge of the image
MAX_ASPECT = 1.35  # ratio of the periods of both axes
SAMPLED_SHARE = 0.5  # of a strip, in its middle, whose pixels are averaged
MISMATCH_PENALTY = 4.0  # crossings that one mismatch outweighs where the extent is chosen
MIN_STRIPS = 3
MIN_COVERAGE = 0.2  # of a place by the two colours, below which its brightness does not count
MIN_CONTRAST = 0.1


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


@dataclass(frozen=True)
class Lattice:
    """The lattice of an image.

    Attributes:
        rows: Strips from top to bottom.
        columns: Strips from left to right.
        row_strips: Start and end of each strip in the range, shape (n, 2).
        column_strips: The same from left to right, shape (m, 2).
        values: Brightness where the strips of both axes meet, shape (n, m).
        plain_values: The same over all pixels, those of a third colour included, shape (n, m).
        coverage: Share of the pixels of each place that have a colour of walls or paths, shape (n, m).
        row_is_dark: Whether each strip in the range is dark.
        column_is_dark: The same from left to right.
        threshold: Brightness that separates dark from bright places.
        purity: Share of the crossings that are as they must be, 0 to 1.
        contrast: Difference between bright and dark crossings.
    """

    rows: Axis
    columns: Axis
    row_strips: np.ndarray
    column_strips: np.ndarray
    values: np.ndarray
    plain_values: np.ndarray
    coverage: np.ndarray
    row_is_dark: np.ndarray
    column_is_dark: np.ndarray
    threshold: float
    purity: float
    contrast: float

    @property
    def num_crossings(self) -> int:
        """Number of places whose kind the lattice prescribes."""
        return int((self.row_is_dark[:, None] == self.column_is_dark).sum())


# --- combs -----------------------------------------------------------------------------------------------------------


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
        fold_falling, fold_rising = (fold_profile(profile, period) for profile in (falling, rising))
        dark_start = find_peak(fold_falling) * period + 1.0  # an edge between pixels x and x + 1 is at x + 1
        dark_end = find_peak(fold_rising) * period + 1.0
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
    spectrum = sum(np.abs(np.fft.rfft(profile - profile.mean(), size)) for profile in (falling, rising))
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


def find_peak(fold: np.ndarray) -> float:
    """Return the phase of the largest value, between 0 and 1."""
    top = int(fold.argmax())
    before, at, after = fold[top - 1], fold[top], fold[(top + 1) % len(fold)]
    bend = before - 2 * at + after
    return (top + (0.5 * (before - after) / bend if bend < 0 else 0.0)) / len(fold)


# --- verification ----------------------------------------------------------------------------------------------------


def find_lattice(brightness: np.ndarray, is_two_coloured: np.ndarray) -> Lattice | None:
    """Return the lattice that explains an image best, or None.

    Args:
        brightness: Array of shape (h, w).
        is_two_coloured: Whether each pixel has a colour of walls or paths, shape (h, w).
    """
    columns = propose_axes(brightness, is_two_coloured)
    rows = propose_axes(brightness.T, is_two_coloured.T)
    sums = integrate(np.stack([brightness * is_two_coloured, is_two_coloured, brightness], -1))
    pairs = [
        (row_share * column_share, row_axis, column_axis)
        for row_share, row_axis in rows
        for column_share, column_axis in columns
        if 1 / MAX_ASPECT < row_axis.period / column_axis.period < MAX_ASPECT and row_share > 0 and column_share > 0
    ]
    pairs.sort(key=lambda pair: -pair[0])
    best, best_score = None, 0.0
    for _, row_axis, column_axis in pairs[:MAX_PAIRS]:
        lattice = fit_lattice(sums, row_axis, column_axis)
        score = compute_score(lattice) if lattice else 0.0
        if score > best_score:
            best, best_score = lattice, score
    return best


def compute_score(lattice: Lattice) -> float:
    """Return the number of crossings that speak for a lattice, those against it weighted higher, less for long strips."""
    wrong = (1 - lattice.purity) * lattice.num_crossings
    shape = lattice.values.shape
    return (lattice.num_crossings - (1 + MISMATCH_PENALTY) * wrong) * min(shape) / max(shape)


def fit_lattice(sums: np.ndarray, rows: Axis, columns: Axis) -> Lattice | None:
    """Return the lattice with two given axes and the extent that fits best, or None if the crossings do not fit.

    Args:
        sums: Sums of the brightness of the pixels that have one of the two colours, of their number, and of all brightness; see `integrate`.
        rows: Lattice from top to bottom.
        columns: Lattice from left to right.
    """
    row_strips, row_is_dark = rows.get_strips(sums.shape[0] - 1)
    column_strips, column_is_dark = columns.get_strips(sums.shape[1] - 1)
    if min(len(row_strips), len(column_strips)) < MIN_STRIPS:
        return None
    values, coverage, plain_values = np.moveaxis(compute_means(sums, row_strips, column_strips), -1, 0)
    values = values / np.maximum(coverage, 1e-6)
    is_counted = (row_is_dark[:, None] == column_is_dark) & (coverage > MIN_COVERAGE)
    must_be_dark = row_is_dark[:, None] & column_is_dark
    extent = (0, len(row_strips)), (0, len(column_strips))
    for _ in range(3):
        inside = slice(*extent[0]), slice(*extent[1])
        if min(values[inside].shape) < MIN_STRIPS or not (coverage[inside] > MIN_COVERAGE).any():
            return None
        threshold = find_threshold(values[inside][coverage[inside] > MIN_COVERAGE])
        is_right = (values < threshold) == must_be_dark
        extent = find_extent(np.where(is_counted, np.where(is_right, 1.0, -MISMATCH_PENALTY), 0.0), *extent)
    inside = slice(*extent[0]), slice(*extent[1])
    dark, bright = (values[inside][(is_counted & kind)[inside]] for kind in (must_be_dark, ~must_be_dark))
    if min(values[inside].shape) < MIN_STRIPS or not len(dark) or not len(bright):
        return None
    contrast = float(np.median(bright) - np.median(dark))
    if contrast < MIN_CONTRAST:
        return None
    return Lattice(
        rows=rows,
        columns=columns,
        row_strips=row_strips[inside[0]],
        column_strips=column_strips[inside[1]],
        values=values[inside],
        plain_values=plain_values[inside],
        coverage=coverage[inside],
        row_is_dark=row_is_dark[inside[0]],
        column_is_dark=column_is_dark[inside[1]],
        threshold=threshold,
        purity=float(is_right[inside][is_counted[inside]].mean()),
        contrast=contrast,
    )


def integrate(image: np.ndarray) -> np.ndarray:
    """Return the sums of an image over the rectangles from its first pixel, shape (h + 1, w + 1) or (h + 1, w + 1, c)."""
    sums = np.zeros((image.shape[0] + 1, image.shape[1] + 1, *image.shape[2:]))
    np.cumsum(image, 0, dtype=np.float64, out=sums[1:, 1:])
    np.cumsum(sums[1:, 1:], 1, out=sums[1:, 1:])
    return sums


def compute_means(
    sums: np.ndarray, row_strips: np.ndarray, column_strips: np.ndarray, share: float = SAMPLED_SHARE
) -> np.ndarray:
    """Return the mean over the middle of each place, with fractions of pixels, shape (n, m) or (n, m, c).

    Args:
        sums: Result of `integrate`.
        row_strips: Start and end of each row in pixels, shape (n, 2).
        column_strips: Start and end of each column in pixels, shape (m, 2).
        share: Share of each strip, in its middle, that counts.
    """
    for strips in (row_strips, column_strips):
        length = len(sums) - 1
        middle, half = strips.mean(1), share * (strips[:, 1] - strips[:, 0]) / 2
        low, high = np.clip(middle - half, 0, length - 0.1), np.clip(middle + half, 0.1, length)
        high = np.maximum(high, low + 0.05)
        difference = interpolate_rows(sums, high) - interpolate_rows(sums, low)
        sums = (difference.T / (high - low)).T.swapaxes(0, 1)
    return sums


def interpolate_rows(sums: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return the sums at fractional positions along the first axis."""
    positions = np.clip(positions, 0, len(sums) - 1)
    whole = np.minimum(positions.astype(int), len(sums) - 2)
    part = (positions - whole).reshape(-1, *[1] * (sums.ndim - 1))
    return sums[whole] * (1 - part) + sums[whole + 1] * part


def find_extent(
    reward: np.ndarray, row_range: tuple[int, int], column_range: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the rectangle with the largest sum of rewards, searched along both axes in turn."""
    for _ in range(4):
        before = row_range, column_range
        row_range = find_best_run(reward[:, slice(*column_range)].sum(1))
        column_range = find_best_run(reward[slice(*row_range)].sum(0))
        if (row_range, column_range) == before:
            break
    return row_range, column_range


def find_best_run(rewards: np.ndarray) -> tuple[int, int]:
    """Return the start and the end of the run with the largest sum."""
    sums = np.concatenate([[0.0], np.cumsum(rewards)])
    lowest = np.minimum.accumulate(sums)
    end = int((sums - lowest).argmax())
    start = int(np.flatnonzero(sums[: end + 1] == lowest[end])[-1]) if end else 0
    return start, max(end, start + 1)

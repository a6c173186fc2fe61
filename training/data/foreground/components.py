"""Connected components of binary images, in NumPy.

SciPy, scikit-image and OpenCV have the same; each would add more than 100 MB to the installation for this one function.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

Box = tuple[int, int, int, int]  # first row and column, row and column after the last ones


@dataclass(frozen=True)
class Components:
    """Connected components of a mask.

    Attributes:
        labels: Component of every pixel, from 1; 0 for the background.
        top: First row of each component. Axis: n components.
        bottom: Row after the last one.
        left: First column.
        right: Column after the last one.
        area: Number of pixels.
    """

    labels: Int[np.ndarray, "h w"]
    top: Int[np.ndarray, " n"]
    bottom: Int[np.ndarray, " n"]
    left: Int[np.ndarray, " n"]
    right: Int[np.ndarray, " n"]
    area: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        """Return the number of components."""
        return len(self.area)

    @property
    def height(self) -> Int[np.ndarray, " n"]:
        """Number of rows of each component."""
        return self.bottom - self.top

    @property
    def width(self) -> Int[np.ndarray, " n"]:
        """Number of columns of each component."""
        return self.right - self.left

    def get_box(self, index: int) -> Box:
        """Return the bounding box of a component: first row and column, row and column after the last ones."""
        return int(self.top[index]), int(self.left[index]), int(self.bottom[index]), int(self.right[index])

    def count_contacts(self) -> Int[np.ndarray, "4 n"]:
        """Return how many pixels of each component lie in the first and last row and in the first and last column."""
        labels = self.labels
        sides = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
        return np.stack([np.bincount(side, minlength=len(self) + 1)[1:] for side in sides])

    def compute_maxima(self, values: Float[np.ndarray, "h w"]) -> Float[np.ndarray, " n"]:
        """Return the largest value in each component."""
        mask = self.labels > 0
        maxima = np.zeros(len(self) + 1, values.dtype)
        np.maximum.at(maxima, self.labels[mask], values[mask])
        return maxima[1:]

    def compute_means(self, values: Float[np.ndarray, "h w"]) -> Float[np.ndarray, " n"]:
        """Return the mean value of each component."""
        return np.bincount(self.labels.ravel(), values.ravel(), minlength=len(self) + 1)[1:] / self.area


def label_components(mask: Bool[np.ndarray, "h w"]) -> Components:
    """Find the components of a mask whose pixels touch at an edge or at a corner.

    Runs of pixels in a row are joined with the runs that they touch in the row above.
    """
    height, width = mask.shape
    padded = np.zeros((height, width + 2), bool)
    padded[:, 1:-1] = mask
    stride = width + 2
    changes = np.flatnonzero(np.diff(padded.ravel()))
    first, last = changes[0::2] + 1, changes[1::2]  # flat indices of each run
    above = np.searchsorted(last, first - stride - 1), np.searchsorted(first, last - stride + 1, side="right")
    touching = np.maximum(above[1] - above[0], 0)
    run = np.repeat(np.arange(len(first)), touching)
    offset = np.arange(len(run)) - np.repeat(np.cumsum(touching) - touching, touching)
    component = join(len(first), run, np.repeat(above[0], touching) + offset)
    row, column, length = first // stride, first % stride - 1, last - first + 1
    labels = np.zeros(mask.shape, np.int32)
    labels[mask] = np.repeat(component + 1, length)
    count = int(component.max(initial=-1)) + 1
    top, left = np.full(count, height), np.full(count, width)
    bottom, right, area = (np.zeros(count, int) for _ in range(3))
    np.minimum.at(top, component, row)
    np.maximum.at(bottom, component, row + 1)
    np.minimum.at(left, component, column)
    np.maximum.at(right, component, column + length)
    np.add.at(area, component, length)
    return Components(labels, top, bottom, left, right, area)


def join(count: int, first: Int[np.ndarray, " e"], second: Int[np.ndarray, " e"]) -> Int[np.ndarray, " n"]:
    """Return the component of each of `count` nodes, numbered from 0.

    Args:
        count: Number of nodes.
        first: One end of every edge.
        second: The other end.
    """
    root = np.arange(count)
    while len(first):
        ends = root[first], root[second]
        np.minimum.at(root, np.maximum(*ends), np.minimum(*ends))
        while (root[root] != root).any():
            root = root[root]
        apart = root[first] != root[second]
        first, second = first[apart], second[apart]
    return np.unique(root, return_inverse=True)[1]

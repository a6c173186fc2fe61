"""Places of neurons in a picture: neurons whose activations rise and fall together are neighbours. NumPy only.

The two largest principal components of the activations give an angle and a radius for every neuron. Their ranks spread
the neurons evenly over a disc, and a relaxation separates those that still overlap. `ui/static/inside/layout.js` computes
the same for a checkpoint without a layout.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_LAYOUT_NEURONS = 1_024
NUM_RELAXATION_STEPS = 40
MIN_DISTANCE = 1.5  # between two neurons, times the square root of their number
RELAXATION_RATE = 0.5


@dataclass(frozen=True)
class NeuronLayout:
    """Places of D neurons.

    Attributes:
        order: Indices of the neurons along a circle: neighbours have similar activations, shape (D,).
        places: Place of each neuron in the unit disc, shape (D, 2).
    """

    order: NDArray[np.int64]
    places: NDArray[np.float64]

    def to_dict(self) -> dict[str, Any]:
        """Return the layout as JSON data, the content of layout.json without its origin."""
        x, y = (np.round(self.places[:, axis], 3).tolist() for axis in (0, 1))
        return {"order": self.order.tolist(), "x": x, "y": y}


def compute_layout(activations: NDArray[np.floating]) -> NeuronLayout:
    """Compute the layout of neurons from their activations.

    Args:
        activations: Activations of D neurons at N ticks, of one or several unrolls, shape (D, N).
    """
    centered = activations.astype(np.float64) - activations.mean(1, keepdims=True)
    length = np.linalg.norm(centered, axis=1, keepdims=True)
    normalised = np.divide(centered, length, out=np.zeros_like(centered), where=length > 1e-9)
    variances, vectors = np.linalg.eigh(normalised @ normalised.T)
    components = vectors[:, ::-1][:, :2] * np.sqrt(np.maximum(variances[::-1][:2], 0))
    if components.shape[1] < 2:  # a single neuron
        components = np.pad(components, ((0, 0), (0, 1)))
    largest = np.abs(components).argmax(0)
    components = components * np.where(components[largest, [0, 1]] < 0, -1, 1)  # eigenvectors have no sign of their own
    angles = np.arctan2(components[:, 1], components[:, 0])
    order = np.argsort(angles, kind="stable")
    count = len(order)
    angle_rank, radius_rank = np.empty(count), np.empty(count)
    angle_rank[order] = np.arange(count)
    radius_rank[np.argsort(np.hypot(*components.T), kind="stable")] = np.arange(count)
    radius, angle = np.sqrt((radius_rank + 0.5) / count), 2 * np.pi * angle_rank / count
    return NeuronLayout(order, relax(np.stack((radius * np.cos(angle), radius * np.sin(angle)), 1)))


def relax(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move neurons apart that are too close, within the unit disc.

    Args:
        places: Places, shape (D, 2).
    """
    min_distance = MIN_DISTANCE / np.sqrt(len(places))
    for _ in range(NUM_RELAXATION_STEPS):
        differences = places[:, None] - places[None]
        distances = np.hypot(differences[..., 0], differences[..., 1])
        overlap = np.maximum(min_distance - distances, 0) / np.maximum(distances, 1e-6)
        np.fill_diagonal(overlap, 0)
        places = places + RELAXATION_RATE / 2 * (differences * overlap[..., None]).sum(1)
        places = places / np.maximum(np.hypot(places[:, 0], places[:, 1]), 1)[:, None]
    return places

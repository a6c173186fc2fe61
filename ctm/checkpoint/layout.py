"""Layout of a checkpoint: order and places of its neurons for the inside view, in layout.json.

    {"order": [...], "x": [...], "y": [...], "split": "calibration", "n": 256}

The file is optional: without it, the page computes a layout from the unroll that it shows.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from ctm.checkpoint.metadata import MetadataModel, read_metadata_file
from ctm.io.json_files import write_json
from ctm.neuron_layout import MAX_LAYOUT_NEURONS

LAYOUT_NAME = "layout.json"
MAX_LAYOUT_BYTES = 100_000

Coordinate = Annotated[float, Field(ge=-1.01, le=1.01)]


class LayoutMetadata(MetadataModel):
    """Schema of layout.json.

    Attributes:
        order: Indices of the D neurons along a circle.
        x: First coordinate of each neuron, in the unit disc.
        y: Second coordinate of each neuron.
        split: Split of the samples that the layout was computed from.
        n: Number of these samples.
    """

    order: list[int] = Field(min_length=1, max_length=MAX_LAYOUT_NEURONS)
    x: list[Coordinate]
    y: list[Coordinate]
    split: str = Field("", max_length=100)
    n: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _check_neurons(self) -> "LayoutMetadata":
        count = len(self.order)
        if sorted(self.order) != list(range(count)) or len(self.x) != count or len(self.y) != count:
            raise ValueError("order must hold every neuron once, and x and y one number per neuron")
        return self


def read_layout(folder: Path, neurons: int | None = None) -> dict[str, Any]:
    """Read the layout of a checkpoint directory.

    Args:
        folder: Checkpoint directory.
        neurons: Number of neurons of its model; None accepts any number.

    Returns:
        The content of the file; {} if there is none, or if it belongs to a model with another number of neurons.

    Raises:
        ValueError: The file is too large, is not a JSON object, or does not fit its schema.
    """
    path = folder / LAYOUT_NAME
    if not path.is_file():
        return {}
    layout = read_metadata_file(path, LayoutMetadata, MAX_LAYOUT_BYTES)
    return {} if neurons is not None and len(layout["order"]) != neurons else layout


def write_layout(folder: Path, layout: dict[str, Any]) -> None:
    """Write the layout of a checkpoint directory, replacing the former one."""
    write_json(folder / LAYOUT_NAME, layout)

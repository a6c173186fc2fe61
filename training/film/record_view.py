"""What a film needs of a record: arrays instead of encoded text."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from training.thought_record import decode_base64


@dataclass(frozen=True)
class RecordView:
    """Record of one unroll, decoded.

    Attributes:
        record: The record, see `training.thought_record.build_thought_record`.
        picture: Pixels of the input, shape (h, w, 3), uint8; None for a sequence.
        attention: Attention of all heads by tick, shape (t, rows, columns), each tick from 0 to 1; None without attention.
    """

    record: dict[str, Any]
    picture: np.ndarray | None = field(init=False)
    attention: np.ndarray | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "picture", decode_picture(self.record["input"]))
        object.__setattr__(self, "attention", decode_attention(self.record["attention"], self.ticks))

    @property
    def ticks(self) -> int:
        """Return the number of ticks that ran."""
        return self.record["ticks"]

    def get_route(self, tick: int) -> list[tuple[int, int]]:
        """Return the path of the answer of a tick as (row, column); [] if answers are no paths."""
        flat = (self.record["routes"] or [[]] * self.ticks)[tick - 1]
        return list(zip(flat[::2], flat[1::2], strict=True))


def decode_picture(view: dict[str, Any]) -> np.ndarray | None:
    """Return the pixels of an input, shape (h, w, 3); None for a sequence."""
    if view["kind"] != "picture":
        return None
    pixels = decode_base64(view["data"]).reshape(view["height"], view["width"], view["channels"])
    return np.repeat(pixels, 3, 2) if view["channels"] == 1 else pixels


def decode_attention(view: dict[str, Any] | None, ticks: int) -> np.ndarray | None:
    """Return the attention of all heads at every tick; None without attention over a picture."""
    if view is None or len(view["map"]) != 2:
        return None
    heads = decode_base64(view["data"]).reshape(ticks, view["heads"], *view["map"]).astype(np.float32)
    total = heads.sum(1)
    return total / np.maximum(total.max((1, 2), keepdims=True), 1e-9)

"""Scheduled observation: what the machine is shown changes while it thinks (the published class for questions on digits).

A thought begins with pictures, one after the other: attention looks at each for `iterations_per_digit` ticks. Then comes a
question, part by part: the embedding of an index or of an operator takes the place of what attention sees, for
`iterations_per_question_part` ticks each. Then nothing is shown, zeros that is, for `iterations_for_answering` ticks in the
row that was shown most, and for longer in the others. No answer counts before the first tick without anything shown.

The published class takes pictures and a question apart, each repeated for its ticks. Here a row is *frames*, one for each
thing that is shown: a code, and 32 x 32 pixels, which are 0 where the code says that there is no picture. See `pack`.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ctm.config import MOST_TICKS, CTMConfig
from ctm.modules.backbones import MNISTBackbone
from ctm.modules.cross_attention import Scene
from ctm.modules.synapses import Entry

INDICES, OPERATORS = 50, 2  # codes 0 to 49: an index of the question
PLUS, MINUS, PICTURE, NOTHING = -1, -2, -3, -4  # the codes of operators are the published ones
CODES = INDICES - NOTHING  # so a code is a row of a table, from its end where it is negative
SIDE = 32


def pack(
    pictures: Iterable[Float[Tensor, "_ 1 32 32"]], question: Iterable[Sequence[int] | Int[Tensor, " _"]], most: int = 0
) -> Float[Tensor, "B F 1025"]:
    """Frames for a machine with phases. Rows may differ in how much they show.

    Args:
        pictures: those of every row, in the order in which they are shown.
        question: of every row its parts: an index from 0, `PLUS` or `MINUS`.
        most: frames to fill rows up to with nothing; those of the longest row where that is more.
    """
    rows = list(zip(pictures, question, strict=True))
    longest = max(len(shown) + len(asked) for shown, asked in rows)
    frames = torch.zeros(len(rows), max(longest, most), 1 + SIDE * SIDE)
    frames[..., 0] = NOTHING
    for row, (shown, asked) in zip(frames, rows, strict=True):
        row[: len(shown), 0] = PICTURE
        row[: len(shown), 1:] = shown.flatten(1)
        row[len(shown) : len(shown) + len(asked), 0] = torch.as_tensor(asked, dtype=row.dtype)
    return frames


# --- what is shown when ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timetable:
    """What every row is shown at every tick."""

    codes: Int[Tensor, "T B"]
    is_picture: Bool[Tensor, "B F"]  # which frames are
    listening: Int[Tensor, " B"]  # ticks in which something is shown

    @classmethod
    def of(cls, frames: Tensor, config: CTMConfig) -> "Timetable":
        """Raises `ValueError` where frames have another form than `pack` gives them, or take too many ticks."""
        codes = read_codes(frames)
        is_picture = codes == PICTURE
        durations = torch.where(is_picture, config.iterations_per_digit or 0, config.iterations_per_question_part or 0)
        ends = durations.masked_fill(codes == NOTHING, 0).cumsum(1)
        listening = ends[:, -1]
        ticks = int(listening.max()) + (config.iterations_for_answering or 0)
        if ticks > MOST_TICKS:
            raise ValueError(f"To be shown all this takes {ticks:,} ticks; show less, for at most {MOST_TICKS:,}.")
        clock = torch.arange(ticks, device=frames.device).expand(len(frames), -1)
        frame = torch.searchsorted(ends, clock.contiguous(), right=True)  # the first that has not ended
        nothing = codes.new_full((len(frames), 1), NOTHING)
        return cls(torch.cat((codes, nothing), 1).gather(1, frame).T.contiguous(), is_picture, listening)


def read_codes(frames: Tensor) -> Int[Tensor, "B F"]:
    """What every frame shows: pictures first, then a question, then nothing."""
    if frames.dim() != 3 or frames.size(2) != 1 + SIDE * SIDE or not frames.size(1):
        raise ValueError(
            f"Frames have the shape (rows, frames, {1 + SIDE * SIDE}), a code before the pixels: got {list(frames.shape)}."
        )
    codes = frames[..., 0].round().long()
    phase = (codes != PICTURE).long() + (codes == NOTHING)
    if not bool(((codes >= NOTHING) & (codes < INDICES)).all() & (phase.diff(dim=1) >= 0).all()):
        raise ValueError(
            f"Frames are pictures ({PICTURE}), then indices (0 to {INDICES - 1}) and operators ({PLUS}, {MINUS}), "
            f"then nothing ({NOTHING}): got other codes, or another order."
        )
    return codes


@dataclass(frozen=True)
class Schedule:
    """What is observed at every tick, ready for ticking."""

    codes: Int[Tensor, "T B"]  # what every row is shown, as rows of the table
    lookers: tuple[int, ...]  # for every tick, how many rows look at a picture
    pictures: tuple[Scene, ...]  # every row's first, every row's second, ...
    each: int  # ticks for each of them
    table: Entry  # what everything that can be shown hands to the neurons

    def at(self, tick: int) -> tuple["Scene | Glance | None", Entry]:
        """What is looked at after so many ticks, and what is handed over besides."""
        tick = min(tick, len(self.codes) - 1)
        entry = self.table.take(self.codes[tick])
        if not self.pictures:
            return None, entry
        if self.lookers[tick] == self.codes.size(1):
            return self.pictures[tick // self.each], entry
        if not self.lookers[tick]:
            return Glance(self.pictures[0], None), entry
        return Glance(self.pictures[tick // self.each], self.codes[tick] == PICTURE % CODES), entry

    def take(self, rows: Int[Tensor, " A"]) -> "Schedule":
        return self._with(rows, tuple(picture.take(rows) for picture in self.pictures))

    def take_(self, rows: Int[Tensor, " A"]) -> "Schedule":
        """The same, in the memory of this schedule, which is lost."""
        return self._with(rows, tuple(picture.take_(rows) for picture in self.pictures))

    def _with(self, rows: Int[Tensor, " A"], pictures: tuple[Scene, ...]) -> "Schedule":
        codes = self.codes.index_select(1, rows)
        return replace(self, codes=codes, lookers=lookers_of(codes), pictures=pictures)


@dataclass(frozen=True)
class Glance:
    """A look that not all rows take: the others see nothing, nowhere."""

    scene: Scene
    looking: Bool[Tensor, " B"] | None  # None where no row does

    def look(self, sync: Float[Tensor, "S B"]) -> tuple[Float[Tensor, "B E"] | None, Float[Tensor, "B H N"]]:
        if self.looking is None:
            batch, heads, _, places = self.scene.keys.shape
            return None, self.scene.keys.new_zeros(batch, heads, places)
        seen, weights = self.scene.look(sync)
        return seen * self.looking.unsqueeze(1), weights * self.looking[:, None, None]


def lookers_of(codes: Int[Tensor, "T B"]) -> tuple[int, ...]:
    return tuple((codes == PICTURE % CODES).sum(1).tolist())


def prepare_schedule(
    timetable: Timetable,
    places: Float[Tensor, "n N E"],
    look_at: Callable[[Float[Tensor, "B N E"]], Scene],
    table: Entry,
    each: int,
) -> Schedule:
    """Scenes of all pictures, and what is shown when.

    Args:
        timetable: of these rows.
        places: what attention would see of every picture, row after row.
        look_at: makes a scene of one picture a row.
        table: an entry for every code, as `codes_table` orders them.
        each: ticks for each picture.
    """
    is_picture = timetable.is_picture
    most = int(is_picture.sum(1).max())
    slots = places.new_zeros(len(is_picture), most, *places.shape[1:])
    slots[is_picture[:, :most]] = places
    codes = timetable.codes % CODES
    return Schedule(codes, lookers_of(codes), tuple(look_at(slot) for slot in slots.unbind(1)), each, table)


# --- modules ---------------------------------------------------------------------------------------------------------


def add_backbones(thinker: nn.Module, width: int) -> None:
    """The modules that the published class has in the place of `backbone`, under their published names."""
    thinker.backbone_digit = MNISTBackbone(width)
    thinker.index_backbone = IndexEmbedding(width)
    thinker.operator_backbone = OperatorEmbedding(width)


class IndexEmbedding(nn.Module):
    """Sines and cosines of an index (Vaswani et al. 2017), a constant."""

    def __init__(self, width: int):
        super().__init__()
        rates = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10_000.0) / width))
        angles = torch.arange(INDICES, dtype=torch.float).unsqueeze(1) * rates
        self.register_buffer("embedding", torch.stack((angles.sin(), angles.cos()), 2).flatten(1))


class OperatorEmbedding(nn.Module):
    """Plus and minus, learned."""

    def __init__(self, width: int):
        super().__init__()
        self.embedding = nn.Embedding(OPERATORS, width)


def codes_table(
    indices: Float[Tensor, "50 E"], operators: Float[Tensor, "2 E"], picture: Float[Tensor, " E"]
) -> Float[Tensor, "54 E"]:
    """What is handed over for every code, besides what attention sees: `table[code]`, also for negative codes."""
    nothing = torch.zeros_like(picture)
    return torch.cat((indices, torch.stack((nothing, picture)), operators.flip(0)))

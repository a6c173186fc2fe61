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

from ctm.config import MAX_TICKS, CTMConfig
from ctm.modules.backbones import MNISTBackbone
from ctm.modules.cross_attention import CrossAttentionCache
from ctm.modules.synapses import InputProjection

NUM_INDICES, NUM_OPERATORS = 50, 2  # codes 0 to 49: an index of the question
PLUS, MINUS, IMAGE_CODE, EMPTY_CODE = -1, -2, -3, -4  # the codes of operators are the published ones
NUM_CODES = NUM_INDICES - EMPTY_CODE  # so a code is a row of a table, from its end where it is negative
IMAGE_SIZE = 32


def pack_frames(
    images: Iterable[Float[Tensor, "_ 1 32 32"]],
    questions: Iterable[Sequence[int] | Int[Tensor, " _"]],
    min_frames: int = 0,
) -> Float[Tensor, "B F 1025"]:
    """Frames for a machine with phases. Rows may differ in how much they show.

    Args:
        pictures: those of every row, in the order in which they are shown.
        question: of every row its parts: an index from 0, `PLUS` or `MINUS`.
        most: frames to fill rows up to with nothing; those of the longest row where that is more.
    """
    rows = list(zip(images, questions, strict=True))
    longest = max(len(shown) + len(asked) for shown, asked in rows)
    frames = torch.zeros(len(rows), max(longest, min_frames), 1 + IMAGE_SIZE * IMAGE_SIZE)
    frames[..., 0] = EMPTY_CODE
    for row, (shown, asked) in zip(frames, rows, strict=True):
        row[: len(shown), 0] = IMAGE_CODE
        row[: len(shown), 1:] = shown.flatten(1)
        row[len(shown) : len(shown) + len(asked), 0] = torch.as_tensor(asked, dtype=row.dtype)
    return frames


# --- what is shown when ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FrameSchedule:
    """What every row is shown at every tick."""

    codes: Int[Tensor, "T B"]
    is_image: Bool[Tensor, "B F"]  # which frames are
    input_ticks: Int[Tensor, " B"]  # ticks in which something is shown

    @classmethod
    def from_frames(cls, frames: Tensor, config: CTMConfig) -> "FrameSchedule":
        """Raises `ValueError` where frames have another form than `pack` gives them, or take too many ticks."""
        codes = parse_frame_codes(frames)
        is_picture = codes == IMAGE_CODE
        durations = torch.where(is_picture, config.iterations_per_digit or 0, config.iterations_per_question_part or 0)
        ends = durations.masked_fill(codes == EMPTY_CODE, 0).cumsum(1)
        listening = ends[:, -1]
        ticks = int(listening.max()) + (config.iterations_for_answering or 0)
        if ticks > MAX_TICKS:
            raise ValueError(f"To be shown all this takes {ticks:,} ticks; show less, for at most {MAX_TICKS:,}.")
        clock = torch.arange(ticks, device=frames.device).expand(len(frames), -1)
        frame = torch.searchsorted(ends, clock.contiguous(), right=True)  # the first that has not ended
        nothing = codes.new_full((len(frames), 1), EMPTY_CODE)
        return cls(torch.cat((codes, nothing), 1).gather(1, frame).T.contiguous(), is_picture, listening)


def parse_frame_codes(frames: Tensor) -> Int[Tensor, "B F"]:
    """What every frame shows: pictures first, then a question, then nothing."""
    if frames.dim() != 3 or frames.size(2) != 1 + IMAGE_SIZE * IMAGE_SIZE or not frames.size(1):
        raise ValueError(
            f"Frames have the shape (rows, frames, {1 + IMAGE_SIZE * IMAGE_SIZE}), a code before the pixels: got {list(frames.shape)}."
        )
    codes = frames[..., 0].round().long()
    phase = (codes != IMAGE_CODE).long() + (codes == EMPTY_CODE)
    if not bool(((codes >= EMPTY_CODE) & (codes < NUM_INDICES)).all() & (phase.diff(dim=1) >= 0).all()):
        raise ValueError(
            f"Frames are pictures ({IMAGE_CODE}), then indices (0 to {NUM_INDICES - 1}) and operators ({PLUS}, {MINUS}), "
            f"then nothing ({EMPTY_CODE}): got other codes, or another order."
        )
    return codes


@dataclass(frozen=True)
class ScheduledInput:
    """What is observed at every tick, ready for ticking."""

    codes: Int[Tensor, "T B"]  # what every row is shown, as rows of the table
    num_attending: tuple[int, ...]  # for every tick, how many rows look at a picture
    image_caches: tuple[CrossAttentionCache, ...]  # every row's first, every row's second, ...
    ticks_per_image: int  # ticks for each of them
    code_projection: InputProjection  # what everything that can be shown hands to the neurons

    def get_tick_inputs(self, tick: int) -> tuple["CrossAttentionCache | MaskedCrossAttention | None", InputProjection]:
        """What is looked at after so many ticks, and what is handed over besides."""
        tick = min(tick, len(self.codes) - 1)
        entry = self.code_projection.select_rows(self.codes[tick])
        if not self.image_caches:
            return None, entry
        if self.num_attending[tick] == self.codes.size(1):
            return self.image_caches[tick // self.ticks_per_image], entry
        if not self.num_attending[tick]:
            return MaskedCrossAttention(self.image_caches[0], None), entry
        return MaskedCrossAttention(
            self.image_caches[tick // self.ticks_per_image], self.codes[tick] == IMAGE_CODE % NUM_CODES
        ), entry

    def select_rows(self, rows: Int[Tensor, " A"]) -> "ScheduledInput":
        return self._replace_rows(rows, tuple(picture.select_rows(rows) for picture in self.image_caches))

    def compact_rows_(self, rows: Int[Tensor, " A"]) -> "ScheduledInput":
        """The same, in the memory of this schedule, which is lost."""
        return self._replace_rows(rows, tuple(picture.compact_rows_(rows) for picture in self.image_caches))

    def _replace_rows(self, rows: Int[Tensor, " A"], image_caches: tuple[CrossAttentionCache, ...]) -> "ScheduledInput":
        codes = self.codes.index_select(1, rows)
        return replace(self, codes=codes, num_attending=count_attending_rows(codes), image_caches=image_caches)


@dataclass(frozen=True)
class MaskedCrossAttention:
    """A look that not all rows take: the others see nothing, nowhere."""

    cache: CrossAttentionCache
    mask: Bool[Tensor, " B"] | None  # None where no row does

    def attend(self, sync: Float[Tensor, "S B"]) -> tuple[Float[Tensor, "B E"] | None, Float[Tensor, "B H N"]]:
        if self.mask is None:
            batch, heads, _, places = self.cache.keys.shape
            return None, self.cache.keys.new_zeros(batch, heads, places)
        seen, weights = self.cache.attend(sync)
        return seen * self.mask.unsqueeze(1), weights * self.mask[:, None, None]


def count_attending_rows(codes: Int[Tensor, "T B"]) -> tuple[int, ...]:
    return tuple((codes == IMAGE_CODE % NUM_CODES).sum(1).tolist())


def build_scheduled_input(
    schedule: FrameSchedule,
    features: Float[Tensor, "n N E"],
    build_cache: Callable[[Float[Tensor, "B N E"]], CrossAttentionCache],
    code_projection: InputProjection,
    ticks_per_image: int,
) -> ScheduledInput:
    """Scenes of all pictures, and what is shown when.

    Args:
        timetable: of these rows.
        places: what attention would see of every picture, row after row.
        look_at: makes a scene of one picture a row.
        table: an entry for every code, as `build_code_table` orders them.
        each: ticks for each picture.
    """
    is_picture = schedule.is_image
    most = int(is_picture.sum(1).max())
    slots = features.new_zeros(len(is_picture), most, *features.shape[1:])
    slots[is_picture[:, :most]] = features
    codes = schedule.codes % NUM_CODES
    return ScheduledInput(
        codes,
        count_attending_rows(codes),
        tuple(build_cache(slot) for slot in slots.unbind(1)),
        ticks_per_image,
        code_projection,
    )


# --- modules ---------------------------------------------------------------------------------------------------------


def add_scheduled_backbones(model: nn.Module, width: int) -> None:
    """The modules that the published class has in the place of `backbone`, under their published names."""
    model.backbone_digit = MNISTBackbone(width)
    model.index_backbone = IndexEmbedding(width)
    model.operator_backbone = OperatorEmbedding(width)


class IndexEmbedding(nn.Module):
    """Sines and cosines of an index (Vaswani et al. 2017), a constant."""

    def __init__(self, width: int):
        super().__init__()
        rates = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10_000.0) / width))
        angles = torch.arange(NUM_INDICES, dtype=torch.float).unsqueeze(1) * rates
        self.register_buffer("embedding", torch.stack((angles.sin(), angles.cos()), 2).flatten(1))


class OperatorEmbedding(nn.Module):
    """Plus and minus, learned."""

    def __init__(self, width: int):
        super().__init__()
        self.embedding = nn.Embedding(NUM_OPERATORS, width)


def build_code_table(
    indices: Float[Tensor, "50 E"], operators: Float[Tensor, "2 E"], image: Float[Tensor, " E"]
) -> Float[Tensor, "54 E"]:
    """What is handed over for every code, besides what attention sees: `table[code]`, also for negative codes."""
    nothing = torch.zeros_like(image)
    return torch.cat((indices, torch.stack((nothing, image)), operators.flip(0)))

"""Input schedules: the model's input changes from tick to tick (published Q&A-MNIST model).

Per row: (1) each image is attended to for `iterations_per_digit` ticks; (2) each question token (an index or an
operator) replaces the attention output by its embedding for `iterations_per_question_part` ticks; (3) zeros are fed for
`iterations_for_answering` ticks after the longest row, and longer for shorter rows. Answers count from the first tick
of phase 3 (`input_ticks`).

The published class takes images and questions as separate tensors, each repeated for its ticks. Here a row is a list of
*frames*, one per image or question token: a code and 32 x 32 pixels, which are 0 if the code is not that of an image.
See `pack_frames`.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ctm.config import MAX_TICKS, CTMConfig
from ctm.modules.cross_attention import CrossAttentionCache
from ctm.modules.synapses import InputProjection

NUM_INDICES, NUM_OPERATORS = 50, 2  # codes 0 to 49 are indices of the question
PLUS, MINUS, IMAGE_CODE, EMPTY_CODE = -1, -2, -3, -4  # the codes of operators are the published ones
NUM_CODES = NUM_INDICES - EMPTY_CODE  # a code is a row index of the code table; negative codes count from its end
IMAGE_SIZE = 32


def pack_frames(
    images: Iterable[Float[Tensor, "_ 1 32 32"]],
    questions: Iterable[Sequence[int] | Int[Tensor, " _"]],
    min_frames: int = 0,
) -> Float[Tensor, "B F 1025"]:
    """Pack images and questions into frames. Rows may have different numbers of frames.

    Args:
        images: Images of each row, in the order of presentation.
        questions: Question tokens of each row: an index from 0, `PLUS` or `MINUS`.
        min_frames: Minimum number of frames; rows are padded with empty frames.

    Returns:
        Frames: a code, then 32 * 32 pixels.
    """
    rows = list(zip(images, questions, strict=True))
    longest = max(len(row_images) + len(row_questions) for row_images, row_questions in rows)
    frames = torch.zeros(len(rows), max(longest, min_frames), 1 + IMAGE_SIZE * IMAGE_SIZE)
    frames[..., 0] = EMPTY_CODE
    for row, (row_images, row_questions) in zip(frames, rows, strict=True):
        row[: len(row_images), 0] = IMAGE_CODE
        row[: len(row_images), 1:] = row_images.flatten(1)
        row[len(row_images) : len(row_images) + len(row_questions), 0] = torch.as_tensor(row_questions, dtype=row.dtype)
    return frames


# --- schedule ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FrameSchedule:
    """Code that every row receives at every tick.

    Attributes:
        codes: Code per tick and row.
        is_image: Frames that are images.
        input_ticks: Ticks with an image or a question token, per row.
    """

    codes: Int[Tensor, "T B"]
    is_image: Bool[Tensor, "B F"]
    input_ticks: Int[Tensor, " B"]

    @classmethod
    def from_frames(cls, frames: Tensor, config: CTMConfig) -> "FrameSchedule":
        """Compute the schedule of a batch of frames.

        Raises:
            ValueError: The frames do not have the form of `pack_frames`, or take more than `MAX_TICKS` ticks.
        """
        codes = parse_frame_codes(frames)
        ends = compute_frame_ends(codes, config)
        input_ticks = ends[:, -1]
        ticks = int(input_ticks.max()) + (config.iterations_for_answering or 0)
        if ticks > MAX_TICKS:
            raise ValueError(f"To be shown all this takes {ticks:,} ticks; show less, for at most {MAX_TICKS:,}.")
        clock = torch.arange(ticks, device=frames.device).expand(len(frames), -1)
        frame = torch.searchsorted(ends, clock.contiguous(), right=True)  # first frame that has not ended
        end = codes.new_full((len(frames), 1), EMPTY_CODE)
        return cls(torch.cat((codes, end), 1).gather(1, frame).T.contiguous(), codes == IMAGE_CODE, input_ticks)


def compute_frame_ends(codes: Int[Tensor, "B F"], config: CTMConfig) -> Int[Tensor, "B F"]:
    """Return the number of ticks after which every frame of a row has ended; empty frames take no tick."""
    return compute_frame_durations(
        codes, config.iterations_per_digit or 0, config.iterations_per_question_part or 0
    ).cumsum(1)


def compute_frame_durations(
    codes: Int[Tensor, "B F"], ticks_per_image: int, ticks_per_question_part: int
) -> Int[Tensor, "B F"]:
    """Return the number of ticks that every frame is shown; 0 for empty frames."""
    durations = torch.where(codes == IMAGE_CODE, ticks_per_image, ticks_per_question_part)
    return durations.masked_fill(codes == EMPTY_CODE, 0)


def parse_frame_codes(frames: Tensor) -> Int[Tensor, "B F"]:
    """Return the code of every frame.

    Raises:
        ValueError: The shape is wrong, a code is not known, or the order is not images, question, empty frames.
    """
    if frames.dim() != 3 or frames.size(2) != 1 + IMAGE_SIZE * IMAGE_SIZE or not frames.size(1):
        raise ValueError(
            f"Frames have the shape (rows, frames, {1 + IMAGE_SIZE * IMAGE_SIZE}), a code before the pixels: got "
            f"{list(frames.shape)}."
        )
    codes = frames[..., 0].round().long()
    phase = (codes != IMAGE_CODE).long() + (codes == EMPTY_CODE)
    if not bool(((codes >= EMPTY_CODE) & (codes < NUM_INDICES)).all() & (phase.diff(dim=1) >= 0).all()):
        raise ValueError(
            f"Frames are pictures ({IMAGE_CODE}), then indices (0 to {NUM_INDICES - 1}) and operators ({PLUS}, "
            f"{MINUS}), then nothing ({EMPTY_CODE}): got other codes, or another order."
        )
    return codes


@dataclass(frozen=True)
class ScheduledInput:
    """Observation that changes from tick to tick.

    Attributes:
        codes: Code per tick and row, as a row index of the code table.
        num_attending: Number of rows that attend to an image, per tick.
        image_caches: Keys and values of the first image of all rows, of the second image of all rows, ...
        ticks_per_image: Ticks per image.
        code_projection: Input projection of every code.
    """

    codes: Int[Tensor, "T B"]
    num_attending: tuple[int, ...]
    image_caches: tuple[CrossAttentionCache, ...]
    ticks_per_image: int
    code_projection: InputProjection

    def get_tick_inputs(self, tick: int) -> tuple["CrossAttentionCache | MaskedCrossAttention | None", InputProjection]:
        """Return what tick number `tick` (from 0) attends to, and the input projection."""
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
        """Return a copy that holds only some batch rows."""
        return self._replace_rows(rows, tuple(cache.select_rows(rows) for cache in self.image_caches))

    def compact_rows_(self, rows: Int[Tensor, " A"]) -> "ScheduledInput":
        """Return an observation of some batch rows; overwrites the memory of this one."""
        return self._replace_rows(rows, tuple(cache.compact_rows_(rows) for cache in self.image_caches))

    def _replace_rows(self, rows: Int[Tensor, " A"], image_caches: tuple[CrossAttentionCache, ...]) -> "ScheduledInput":
        codes = self.codes.index_select(1, rows)
        return replace(self, codes=codes, num_attending=count_attending_rows(codes), image_caches=image_caches)


@dataclass(frozen=True)
class MaskedCrossAttention:
    """Cross-attention for a subset of the rows; output and weights of the other rows are 0.

    Attributes:
        cache: Keys and values.
        mask: Rows that attend; None if no row does.
    """

    cache: CrossAttentionCache
    mask: Bool[Tensor, " B"] | None

    def attend(self, sync: Float[Tensor, "S B"]) -> tuple[Float[Tensor, "B E"] | None, Float[Tensor, "B H N"]]:
        """Attend to the image; see `CrossAttentionCache.attend`. The output is None if no row attends."""
        if self.mask is None:
            batch, heads, _, places = self.cache.keys.shape
            return None, self.cache.keys.new_zeros(batch, heads, places)
        output, weights = self.cache.attend(sync)
        return output * self.mask.unsqueeze(1), weights * self.mask[:, None, None]


def count_attending_rows(codes: Int[Tensor, "T B"]) -> tuple[int, ...]:
    """Return the number of rows that attend to an image, per tick."""
    return tuple((codes == IMAGE_CODE % NUM_CODES).sum(1).tolist())


def build_scheduled_input(
    schedule: FrameSchedule,
    features: Float[Tensor, "n N E"],
    build_cache: Callable[[Float[Tensor, "B N E"]], CrossAttentionCache],
    code_projection: InputProjection,
    ticks_per_image: int,
) -> ScheduledInput:
    """Build the observation of a batch.

    Args:
        schedule: Schedule of the rows.
        features: Key-value features of all images, row after row.
        build_cache: Computes keys and values from the features of one image per row.
        code_projection: Input projection of every code, in the order of `build_code_table`.
        ticks_per_image: Ticks per image.
    """
    is_image = schedule.is_image
    max_images = int(is_image.sum(1).max())
    slots = features.new_zeros(len(is_image), max_images, *features.shape[1:])
    slots[is_image[:, :max_images]] = features
    codes = schedule.codes % NUM_CODES
    return ScheduledInput(
        codes,
        count_attending_rows(codes),
        tuple(build_cache(slot) for slot in slots.unbind(1)),
        ticks_per_image,
        code_projection,
    )


# --- modules ---------------------------------------------------------------------------------------------------------


class IndexEmbedding(nn.Module):
    """Constant sine and cosine embedding of an index (Vaswani et al. 2017)."""

    embedding: Tensor  # (NUM_INDICES, width)

    def __init__(self, width: int) -> None:
        super().__init__()
        # Not on the meta device, where PyTorch would import its compiler for it; see `ctm.models.meta_device`.
        with torch.device("cpu"):
            rates = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10_000.0) / width))
            angles = torch.arange(NUM_INDICES, dtype=torch.float).unsqueeze(1) * rates
            embedding = torch.stack((angles.sin(), angles.cos()), 2).flatten(1)
        self.register_buffer("embedding", embedding.to(torch.get_default_device()))


class OperatorEmbedding(nn.Module):
    """Learned embedding of plus and minus."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(NUM_OPERATORS, width)


def build_code_table(
    indices: Float[Tensor, "50 E"], operators: Float[Tensor, "2 E"], image: Float[Tensor, " E"]
) -> Float[Tensor, "54 E"]:
    """Return the constant part of the observation for every code: `table[code]`, also for negative codes.

    Args:
        indices: Index embeddings.
        operators: Operator embeddings.
        image: Row for images: the bias of the attention output projection.
    """
    nothing = torch.zeros_like(image)
    return torch.cat((indices, torch.stack((nothing, image)), operators.flip(0)))

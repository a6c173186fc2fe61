"""Flat view of a model with an input schedule, which depends on the values of the input.

The eager code (`ctm.modules.input_schedule`) lists the code of every tick and encodes the images alone, so that sizes of
tensors depend on values. A graph encodes every frame as an image instead, and every row finds its frame of a tick by the
number of its elapsed ticks. Both give the same numbers.
"""

from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional as F

from ctm.export.interfaces import BATCH, FRAMES, CTMInterface, TensorSpec, replace_observation
from ctm.models.ctm import ContinuousThoughtMachine, CTMContext
from ctm.models.outputs import TickOutput
from ctm.modules.input_encoder import StaticInput
from ctm.modules.input_schedule import (
    EMPTY_CODE,
    IMAGE_CODE,
    IMAGE_SIZE,
    NUM_CODES,
    ScheduledInput,
    compute_frame_ends,
)

FRAME_SPECS = (
    TensorSpec("keys", (BATCH, FRAMES, "heads", "head_width", "image_places"), "attention keys of every frame"),
    TensorSpec("values", (BATCH, FRAMES, "heads", "image_places", "head_width"), "attention values of every frame"),
    TensorSpec("frame_codes", (BATCH, FRAMES), "code of every frame"),
    TensorSpec("frame_ends", (BATCH, FRAMES), "number of ticks after which every frame has ended"),
)
ELAPSED_TICKS = TensorSpec("elapsed_ticks", (BATCH,), "number of ticks so far")


class ScheduledInterface(CTMInterface):
    """Flat view of a Continuous Thought Machine with an input schedule.

    A tick builds the observation of this tick as a constant one, and calls the tick of the model with it.
    """

    def __init__(self, model: ContinuousThoughtMachine, example: CTMContext) -> None:
        super().__init__(model, example)
        self.encoded_specs = FRAME_SPECS
        self.state_specs = (*self.state_specs, ELAPSED_TICKS)

    def encode(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Encode every frame as an image; see `ModelInterface.encode`."""
        batch, frames, _ = inputs.shape
        codes = inputs[..., 0].round().long()
        cache = self.model.cache_images(inputs[..., 1:].reshape(batch * frames, 1, IMAGE_SIZE, IMAGE_SIZE))
        keys, values = (tensor.unflatten(0, (batch, frames)) for tensor in (cache.keys, cache.values))
        return keys, values, codes, compute_frame_ends(codes, self.model.config)

    def compute_durations(self, encoded: tuple[Tensor, ...]) -> tuple[Int[Tensor, ""], Int[Tensor, " B"]]:
        """Return the ticks that the longest row takes, and the ticks of every row before an answer counts."""
        input_ticks = encoded[-1][:, -1]
        return input_ticks.max() + (self.model.config.iterations_for_answering or 0), input_ticks

    def start(self, encoded: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the state before the first tick; see `ModelInterface.start`."""
        elapsed = encoded[-1].new_zeros(encoded[-1].size(0))
        state = self.model.initial_state(self._build_tick_context(encoded, elapsed), 0)
        return *self.flatten_state(state), elapsed

    def tick(self, state: tuple[Tensor, ...], encoded: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], TickOutput]:
        """Compute one tick; see `ModelInterface.tick`."""
        *state_before, elapsed = state
        context = self._build_tick_context(encoded, elapsed)
        next_state, output = self.model.tick(self.unflatten_state(tuple(state_before)), context)
        return (*self.flatten_state(next_state), elapsed + 1), output

    def _build_tick_context(self, encoded: tuple[Tensor, ...], elapsed: Int[Tensor, " B"]) -> CTMContext:
        """Return a context whose observation is that of the tick after `elapsed` ticks.

        Values of rows that do not attend are 0, so that their attention output is 0, too.
        """
        keys, values, codes, ends = encoded
        frame = (ends <= elapsed.unsqueeze(1)).sum(1)  # first frame that has not ended
        row = torch.arange(frame.size(0))
        code = F.pad(codes, (0, 1), value=EMPTY_CODE)[row, frame]
        image = frame.clamp(max=codes.size(1) - 1)
        attends = (code == IMAGE_CODE).to(values.dtype)[:, None, None, None]
        schedule = self.example.observation
        assert isinstance(schedule, ScheduledInput), "the input changes from tick to tick"
        cache = replace(schedule.image_caches[0], keys=keys[row, image], values=values[row, image] * attends)
        projection = schedule.code_projection.select_rows(code % NUM_CODES)
        return replace_observation(self.example, StaticInput(cache, projection), frame.size(0))

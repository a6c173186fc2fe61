"""Input encoder: backbone, positional encoding and key-value projection, and their output over the unroll.

The functions attach the modules to a model under their published names, and read them from there.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from jaxtyping import Float, Int
from torch import Tensor, nn

from ctm.config import Config, CTMConfig, LSTMConfig
from ctm.modules import input_schedule
from ctm.modules.backbones import make_backbone
from ctm.modules.cross_attention import CrossAttentionCache, build_cross_attention_cache
from ctm.modules.input_schedule import (
    IMAGE_SIZE,
    FrameSchedule,
    MaskedCrossAttention,
    ScheduledInput,
    build_code_table,
    build_scheduled_input,
)
from ctm.modules.positional_encoding import POSITIONAL_ENCODINGS
from ctm.modules.synapses import FusedInputProjection, InputProjection

InputProjectionFactory = Callable[
    [Tensor | None, Tensor], InputProjection
]  # (attention output projection weight, constant part of the observation)

EncodedInputT = TypeVar("EncodedInputT", bound="EncodedInput")


@dataclass(frozen=True)
class StaticInput:
    """Observation that is constant over the unroll.

    Attributes:
        cache: Keys and values to attend to; None if the raw input is used without attention.
        input_projection: First linear map of the synapses, with the constant parts folded in.
    """

    cache: CrossAttentionCache | None
    input_projection: InputProjection

    def get_tick_inputs(self, _: int) -> tuple[CrossAttentionCache | None, InputProjection]:
        """Return what the tick attends to, and the input projection."""
        return self.cache, self.input_projection

    def select_rows(self, rows: Int[Tensor, " A"]) -> "StaticInput":
        """Return a copy that holds only some batch rows."""
        cache = None if self.cache is None else self.cache.select_rows(rows)
        return StaticInput(cache, self.input_projection.select_rows(rows))

    def compact_rows_(self, rows: Int[Tensor, " A"]) -> "StaticInput":
        """Return an observation of some batch rows; overwrites the memory of this one."""
        cache = None if self.cache is None else self.cache.compact_rows_(rows)
        return StaticInput(cache, self.input_projection.select_rows(rows))

    def write_rows_(self, source: "StaticInput", slots: Int[Tensor, " A"]) -> "StaticInput":
        """Write the rows of `source` into the slots `slots`, in place. Not supported in training."""
        assert isinstance(self.input_projection, FusedInputProjection) and isinstance(
            source.input_projection, FusedInputProjection
        ), "not supported in training"
        cache = None if self.cache is None or source.cache is None else self.cache.write_rows_(source.cache, slots)
        return StaticInput(cache, self.input_projection.write_rows_(source.input_projection, slots))


@dataclass(frozen=True)
class EncodedInput:
    """Encoder output of a batch, kept over the unroll.

    Attributes:
        batch_size: Number of rows.
        attention_map_shape: Shape of the attention map of a head; () without attention.
        ticks: Number of ticks of the unroll.
        input_ticks: Ticks before an answer counts, per row; None if all ticks count.
        observation: Per-tick inputs.
    """

    batch_size: int
    attention_map_shape: tuple[int, ...]
    ticks: int
    input_ticks: Int[Tensor, " B"] | None
    observation: StaticInput | ScheduledInput

    def get_tick_inputs(self, tick: int) -> tuple[CrossAttentionCache | MaskedCrossAttention | None, InputProjection]:
        """Return what tick number `tick` (from 0) attends to, and the input projection."""
        return self.observation.get_tick_inputs(tick)

    def select_rows(self: EncodedInputT, rows: Int[Tensor, " A"]) -> EncodedInputT:
        """Return a copy that holds only some batch rows."""
        return self._replace_rows(rows, self.observation.select_rows(rows))

    def compact_rows_(self: EncodedInputT, rows: Int[Tensor, " A"]) -> EncodedInputT:
        """Return an encoded input of some batch rows; overwrites the memory of this one.

        Fast if most rows keep their index.
        """
        return self._replace_rows(rows, self.observation.compact_rows_(rows))

    @property
    def supports_row_insertion(self) -> bool:
        """Whether new rows can be written into the slots of finished rows.

        An input schedule belongs to its own rows only.
        """
        return isinstance(self.observation, StaticInput)

    def write_rows_(self: EncodedInputT, source: EncodedInputT, slots: Int[Tensor, " A"]) -> EncodedInputT:
        """Write the rows of `source` into the slots `slots`; overwrites the memory of this encoded input."""
        assert isinstance(self.observation, StaticInput) and isinstance(source.observation, StaticInput), (
            "see `supports_row_insertion`"
        )
        return replace(self, observation=self.observation.write_rows_(source.observation, slots))

    def _replace_rows(
        self: EncodedInputT, rows: Int[Tensor, " A"], observation: StaticInput | ScheduledInput
    ) -> EncodedInputT:
        input_ticks = None if self.input_ticks is None else self.input_ticks.index_select(0, rows)
        return replace(self, batch_size=len(rows), input_ticks=input_ticks, observation=observation)


def add_backbone(model: nn.Module, config: Config, in_features: int | None) -> int:
    """Add backbone and positional encoding to a model, and return the number of channels of the features."""
    if config.has_input_schedule:
        input_schedule.add_scheduled_backbones(model, config.d_input)
        return config.d_input
    model.initial_rgb, model.backbone, channels = make_backbone(config.backbone_type, config.d_input, in_features)
    positions = POSITIONAL_ENCODINGS.get(config.positional_embedding_type)
    model.register_module("positional_embedding", positions(channels) if positions else None)
    return channels


def add_kv_projection(model: nn.Module, config: CTMConfig | LSTMConfig, channels: int) -> None:
    """Add the projection from `channels` features to keys and values."""
    model.kv_proj = nn.Sequential(nn.Linear(channels, config.d_input), nn.LayerNorm(config.d_input))


def add_attention(model: nn.Module, config: CTMConfig | LSTMConfig, query_features: int) -> None:
    """Add the query projection of `query_features` features, and attention."""
    model.q_proj = nn.Linear(query_features, config.d_input)
    model.attention = nn.MultiheadAttention(config.d_input, config.heads, config.dropout, batch_first=True)


def embed_input(model: Any, inputs: Tensor) -> Float[Tensor, "B d *places"]:
    """Return the backbone features of the input plus positional encoding."""
    features = model.backbone(model.initial_rgb(inputs))
    return features if model.positional_embedding is None else features + model.positional_embedding(features)


def encode_input(model: Any, inputs: Tensor, make_input_projection: InputProjectionFactory) -> EncodedInput:
    """Compute the encoder output of a batch.

    Args:
        model: Model with the modules of `add_backbone`, `add_kv_projection` and `add_attention`.
        inputs: See `TickModel.encode`.
        make_input_projection: Prepares the first linear map, from the weight of the attention output projection (None
            without attention) and the constant part of the observation.
    """
    config = model.config
    if config.has_input_schedule:
        return encode_scheduled_input(model, inputs, make_input_projection)
    if not config.heads:
        return EncodedInput(
            len(inputs), (), config.iterations, None, StaticInput(None, make_input_projection(None, inputs))
        )
    features, out = embed_input(model, inputs), model.attention.out_proj
    cache = cache_cross_attention(model, model.kv_proj(features.flatten(2).transpose(1, 2)))
    observation = StaticInput(cache, make_input_projection(out.weight, out.bias))
    return EncodedInput(len(inputs), tuple(features.shape[2:]), config.iterations, None, observation)


def encode_scheduled_input(model: Any, frames: Tensor, make_input_projection: InputProjectionFactory) -> EncodedInput:
    """Compute the encoder output of a batch of frames.

    See `encode_input` and `ctm.modules.input_schedule.pack_frames`.
    """
    frame_schedule, out = FrameSchedule.from_frames(frames, model.config), model.attention.out_proj
    pixels = frames[frame_schedule.is_image][:, 1:].unflatten(1, (1, IMAGE_SIZE, IMAGE_SIZE))
    places: tuple[int, ...] = ()
    features = out.weight.new_empty(0, 1, out.in_features)
    if len(pixels):
        features = model.backbone_digit(pixels)
        places, features = tuple(features.shape[2:]), model.kv_proj(features.flatten(2).transpose(1, 2))
    table = build_code_table(model.index_backbone.embedding, model.operator_backbone.embedding.weight, out.bias)
    schedule = build_scheduled_input(
        frame_schedule,
        features,
        lambda slot: cache_cross_attention(model, slot),
        make_input_projection(out.weight, table),
        model.config.iterations_per_digit,
    )
    return EncodedInput(len(frames), places, len(frame_schedule.codes), frame_schedule.input_ticks, schedule)


def cache_cross_attention(model: Any, features: Float[Tensor, "B N E"]) -> CrossAttentionCache:
    """Compute keys and values with the attention modules of a model."""
    dropout = model.config.dropout if model.training else 0.0
    return build_cross_attention_cache(features, model.attention, model.q_proj, dropout)


__all__ = [
    "EncodedInput",
    "StaticInput",
    "add_attention",
    "add_backbone",
    "add_kv_projection",
    "embed_input",
    "encode_input",
]

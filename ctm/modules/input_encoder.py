"""Input encoder: backbone, positional encoding and key-value projection, and their output over the unroll.

The published code holds these modules at the root of the model (`backbone.*`, `kv_proj.*`, ...). They are therefore
attributes that `InputEncoderMixin` adds to a model, and not a submodule.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ctm.config import Config, CTMConfig, LSTMConfig
from ctm.modules.backbones import MNISTBackbone, make_backbone
from ctm.modules.cross_attention import CrossAttentionCache, build_cross_attention_cache
from ctm.modules.input_schedule import (
    IMAGE_SIZE,
    FrameSchedule,
    IndexEmbedding,
    MaskedCrossAttention,
    OperatorEmbedding,
    ScheduledInput,
    build_code_table,
    build_scheduled_input,
)
from ctm.modules.positional_encoding import POSITIONAL_ENCODINGS
from ctm.modules.synapses import FusedInputProjection, InputProjection

# (weight of the attention output projection or None, constant part of the observation) -> first linear map
InputProjectionFactory = Callable[[Tensor | None, Tensor], InputProjection]

EncoderContextT = TypeVar("EncoderContextT", bound="EncoderContext")


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
class EncoderOutput:
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

    def select_rows(self, rows: Int[Tensor, " A"]) -> "EncoderOutput":
        """Return a copy that holds only some batch rows."""
        return self._replace_rows(rows, self.observation.select_rows(rows))

    def compact_rows_(self, rows: Int[Tensor, " A"]) -> "EncoderOutput":
        """Return the encoder output of some batch rows; overwrites the memory of this one.

        Fast if most rows keep their index.
        """
        return self._replace_rows(rows, self.observation.compact_rows_(rows))

    @property
    def supports_row_insertion(self) -> bool:
        """Whether new rows can be written into the slots of finished rows.

        An input schedule belongs to its own rows only.
        """
        return isinstance(self.observation, StaticInput)

    def write_rows_(self, source: "EncoderOutput", slots: Int[Tensor, " A"]) -> "EncoderOutput":
        """Write the rows of `source` into the slots `slots`; overwrites the memory of this encoder output."""
        assert isinstance(self.observation, StaticInput) and isinstance(source.observation, StaticInput), (
            "see `supports_row_insertion`"
        )
        return replace(self, observation=self.observation.write_rows_(source.observation, slots))

    def _replace_rows(self, rows: Int[Tensor, " A"], observation: StaticInput | ScheduledInput) -> "EncoderOutput":
        input_ticks = None if self.input_ticks is None else self.input_ticks.index_select(0, rows)
        return replace(self, batch_size=len(rows), input_ticks=input_ticks, observation=observation)


@dataclass(frozen=True)
class EncoderContext:
    """Base of the encoded inputs of models with an `EncoderOutput`.

    Subclasses add weights that are prepared once per unroll and shared by all rows. Implements
    `ctm.models.base.EncodedInput`.

    Attributes:
        encoder_output: Encoder output of all rows.
    """

    encoder_output: EncoderOutput

    @property
    def batch_size(self) -> int:
        """Number of batch rows."""
        return self.encoder_output.batch_size

    @property
    def attention_map_shape(self) -> tuple[int, ...]:
        """Shape of the attention map of a head; () without attention."""
        return self.encoder_output.attention_map_shape

    @property
    def ticks(self) -> int:
        """Number of ticks of the unroll."""
        return self.encoder_output.ticks

    @property
    def input_ticks(self) -> Int[Tensor, " B"] | None:
        """Ticks before an answer counts, per row; None if all ticks count."""
        return self.encoder_output.input_ticks

    @property
    def observation(self) -> StaticInput | ScheduledInput:
        """Per-tick inputs."""
        return self.encoder_output.observation

    @property
    def supports_row_insertion(self) -> bool:
        """Whether new rows can be written into the slots of finished rows."""
        return self.encoder_output.supports_row_insertion

    def get_tick_inputs(self, tick: int) -> tuple[CrossAttentionCache | MaskedCrossAttention | None, InputProjection]:
        """Return what tick number `tick` (from 0) attends to, and the input projection."""
        return self.observation.get_tick_inputs(tick)

    def select_rows(self: EncoderContextT, rows: Int[Tensor, " A"]) -> EncoderContextT:
        """Return a copy that holds only some batch rows."""
        return replace(self, encoder_output=self.encoder_output.select_rows(rows))

    def compact_rows_(self: EncoderContextT, rows: Int[Tensor, " A"]) -> EncoderContextT:
        """Return the encoded input of some batch rows; overwrites the memory of this one."""
        return replace(self, encoder_output=self.encoder_output.compact_rows_(rows))

    def write_rows_(self: EncoderContextT, source: EncoderContextT, slots: Int[Tensor, " A"]) -> EncoderContextT:
        """Write the rows of `source` into the slots `slots`; overwrites the memory of this encoded input."""
        return replace(self, encoder_output=self.encoder_output.write_rows_(source.encoder_output, slots))


class InputEncoderMixin(nn.Module):
    """Input encoder of a model, whose modules are attributes of the model under their published names.

    The model calls the `_add_*` methods while it is built, in the published order of parameters.

    Attributes:
        config: Config of the model.
        initial_rgb: Maps images with any number of channels to three; identity for other inputs.
        backbone: Maps inputs to features.
        positional_embedding: Encoding that is added to the features; None without one.
        kv_proj: Maps features to the input of keys and values.
        q_proj: Maps the query features to the attention query.
        attention: Attention, of which only the projections are used.
        backbone_digit: Backbone of images of an input schedule, in place of `backbone`.
        index_backbone: Embedding of indices of an input schedule.
        operator_backbone: Embedding of operators of an input schedule.
    """

    config: Any
    initial_rgb: nn.Module
    backbone: nn.Module
    positional_embedding: nn.Module | None
    kv_proj: nn.Sequential
    q_proj: nn.Linear
    attention: nn.MultiheadAttention
    backbone_digit: MNISTBackbone
    index_backbone: IndexEmbedding
    operator_backbone: OperatorEmbedding

    def _add_backbone(self, config: Config, in_features: int | None) -> int:
        """Add backbone and positional encoding, and return the number of channels of the features."""
        if config.has_input_schedule:
            self.backbone_digit = MNISTBackbone(config.d_input)
            self.index_backbone = IndexEmbedding(config.d_input)
            self.operator_backbone = OperatorEmbedding(config.d_input)
            return config.d_input
        self.initial_rgb, self.backbone, channels = make_backbone(config.backbone_type, config.d_input, in_features)
        positions = POSITIONAL_ENCODINGS.get(config.positional_embedding_type)
        self.register_module("positional_embedding", positions(channels) if positions else None)
        return channels

    def _add_kv_projection(self, config: CTMConfig | LSTMConfig, channels: int) -> None:
        """Add the projection from `channels` features to keys and values."""
        self.kv_proj = nn.Sequential(nn.Linear(channels, config.d_input), nn.LayerNorm(config.d_input))

    def _add_attention(self, config: CTMConfig | LSTMConfig, query_features: int) -> None:
        """Add the query projection of `query_features` features, and attention."""
        self.q_proj = nn.Linear(query_features, config.d_input)
        self.attention = nn.MultiheadAttention(config.d_input, config.heads, config.dropout, batch_first=True)

    def pool_features(self, inputs: Tensor) -> Float[Tensor, "B F"]:
        """Return the mean and the standard deviation of the backbone features over the places of the input.

        Args:
            inputs: See `TickModel.encode`; the model has a backbone.
        """
        features = cast(Tensor, self.backbone(self.initial_rgb(inputs))).flatten(2)
        return torch.cat((features.mean(2), features.std(2, correction=0)), 1)

    def _embed_input(self, inputs: Tensor) -> Float[Tensor, "B d *places"]:
        """Return the backbone features of the input plus positional encoding."""
        features = cast(Tensor, self.backbone(self.initial_rgb(inputs)))
        return features if self.positional_embedding is None else features + self.positional_embedding(features)

    def _encode_input(self, inputs: Tensor, make_input_projection: InputProjectionFactory) -> EncoderOutput:
        """Compute the encoder output of a batch.

        Args:
            inputs: See `TickModel.encode`.
            make_input_projection: Prepares the first linear map, from the weight of the attention output projection
                (None without attention) and the constant part of the observation.
        """
        config = self.config
        if config.has_input_schedule:
            return self._encode_scheduled_input(inputs, make_input_projection)
        if not config.heads:
            raw_input = StaticInput(None, make_input_projection(None, inputs))
            return EncoderOutput(inputs.size(0), (), config.iterations, None, raw_input)
        features = self._embed_input(inputs)
        out_proj = self.attention.out_proj
        cache = self._cache_cross_attention(self._project_to_kv(features))
        observation = StaticInput(cache, make_input_projection(out_proj.weight, out_proj.bias))
        return EncoderOutput(inputs.size(0), tuple(features.shape[2:]), config.iterations, None, observation)

    def _encode_scheduled_input(self, frames: Tensor, make_input_projection: InputProjectionFactory) -> EncoderOutput:
        """Compute the encoder output of a batch of frames.

        See `_encode_input` and `ctm.modules.input_schedule.pack_frames`.
        """
        frame_schedule = FrameSchedule.from_frames(frames, self.config)
        out_proj = self.attention.out_proj
        pixels = frames[frame_schedule.is_image][:, 1:].unflatten(1, (1, IMAGE_SIZE, IMAGE_SIZE))
        places: tuple[int, ...] = ()
        features = out_proj.weight.new_empty(0, 1, out_proj.in_features)
        if len(pixels):
            features = self.backbone_digit(pixels)
            places = tuple(features.shape[2:])
            features = self._project_to_kv(features)
        code_table = build_code_table(
            self.index_backbone.embedding, self.operator_backbone.embedding.weight, out_proj.bias
        )
        observation = build_scheduled_input(
            frame_schedule,
            features,
            self._cache_cross_attention,
            make_input_projection(out_proj.weight, code_table),
            self.config.iterations_per_digit,
        )
        return EncoderOutput(len(frames), places, len(frame_schedule.codes), frame_schedule.input_ticks, observation)

    def cache_images(self, pixels: Float[Tensor, "n 1 32 32"]) -> CrossAttentionCache:
        """Compute the keys and values of images of an input schedule, one image per row."""
        return self._cache_cross_attention(self._project_to_kv(self.backbone_digit(pixels)))

    def _project_to_kv(self, features: Float[Tensor, "B d *places"]) -> Float[Tensor, "B N E"]:
        """Return the input of keys and values, one row per place."""
        return self.kv_proj(features.flatten(2).transpose(1, 2))

    def _cache_cross_attention(self, features: Float[Tensor, "B N E"]) -> CrossAttentionCache:
        """Compute the keys and values of features."""
        dropout = self.config.dropout if self.training else 0.0
        return build_cross_attention_cache(features, self.attention, self.q_proj, dropout)

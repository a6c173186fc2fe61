"""How a thinker meets its input, whatever it thinks with: the modules it sees through, and what is ready once they have seen.

These functions give a thinker its parts under their published names, and read them from there.
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
]  # attention's output projection, and what is handed over besides

EncodedInputT = TypeVar("AnObserved", bound="EncodedInput")


@dataclass(frozen=True)
class StaticInput:
    """An observation that stays what it is for the whole thought."""

    cache: CrossAttentionCache | None  # None where the raw input is handed over
    input_projection: InputProjection

    def get_tick_inputs(self, _: int) -> tuple[CrossAttentionCache | None, InputProjection]:
        """What is looked at after so many ticks, and how it enters."""
        return self.cache, self.input_projection

    def select_rows(self, rows: Int[Tensor, " A"]) -> "StaticInput":
        scene = None if self.cache is None else self.cache.select_rows(rows)
        return StaticInput(scene, self.input_projection.select_rows(rows))

    def compact_rows_(self, rows: Int[Tensor, " A"]) -> "StaticInput":
        """The same, in the memory of this observation, which is lost."""
        scene = None if self.cache is None else self.cache.compact_rows_(rows)
        return StaticInput(scene, self.input_projection.select_rows(rows))

    def write_rows_(self, source: "StaticInput", slots: Int[Tensor, " A"]) -> "StaticInput":
        """Newcomers take these seats, in the memory of this observation, which is lost."""
        assert isinstance(self.input_projection, FusedInputProjection) and isinstance(
            source.input_projection, FusedInputProjection
        ), "not while training"
        scene = None if self.cache is None or source.cache is None else self.cache.write_rows_(source.cache, slots)
        return StaticInput(scene, self.input_projection.write_rows_(source.input_projection, slots))


@dataclass(frozen=True)
class EncodedInput:
    """The seen input of a batch, as it is observed tick by tick."""

    batch_size: int
    attention_map_shape: tuple[int, ...]  # shape of the map that attention looks at; () without attention
    ticks: int  # of a thought
    input_ticks: Int[Tensor, " B"] | None  # ticks before an answer counts; None where all count
    observation: StaticInput | ScheduledInput

    def get_tick_inputs(self, tick: int) -> tuple[CrossAttentionCache | MaskedCrossAttention | None, InputProjection]:
        return self.observation.get_tick_inputs(tick)

    def select_rows(self: EncodedInputT, rows: Int[Tensor, " A"]) -> EncodedInputT:
        """The same for some batch rows only."""
        return self._replace_rows(rows, self.observation.select_rows(rows))

    def compact_rows_(self: EncodedInputT, rows: Int[Tensor, " A"]) -> EncodedInputT:
        """The same, in the memory of this one, which is lost: fast where most rows keep their place."""
        return self._replace_rows(rows, self.observation.compact_rows_(rows))

    @property
    def supports_row_insertion(self) -> bool:
        """Whether newcomers can take the seats of rows that are done; a timetable is that of its own rows alone."""
        return isinstance(self.observation, StaticInput)

    def write_rows_(self: EncodedInputT, source: EncodedInputT, slots: Int[Tensor, " A"]) -> EncodedInputT:
        """Newcomers take these seats, in the memory of this one, which is lost."""
        assert isinstance(self.observation, StaticInput) and isinstance(source.observation, StaticInput), (
            "see `supports_row_insertion`"
        )
        return replace(self, observation=self.observation.write_rows_(source.observation, slots))

    def _replace_rows(
        self: EncodedInputT, rows: Int[Tensor, " A"], observation: StaticInput | ScheduledInput
    ) -> EncodedInputT:
        listening = None if self.input_ticks is None else self.input_ticks.index_select(0, rows)
        return replace(self, batch_size=len(rows), input_ticks=listening, observation=observation)


def add_backbone(model: nn.Module, config: Config, in_features: int | None) -> int:
    """Give a thinker what it sees through; returns the number of channels that it then sees."""
    if config.has_input_schedule:
        input_schedule.add_scheduled_backbones(model, config.d_input)
        return config.d_input
    model.initial_rgb, model.backbone, channels = make_backbone(config.backbone_type, config.d_input, in_features)
    positions = POSITIONAL_ENCODINGS.get(config.positional_embedding_type)
    model.register_module("positional_embedding", positions(channels) if positions else None)
    return channels


def add_kv_projection(model: nn.Module, config: CTMConfig | LSTMConfig, channels: int) -> None:
    """Give a thinker what makes keys and values of `channels` features."""
    model.kv_proj = nn.Sequential(nn.Linear(channels, config.d_input), nn.LayerNorm(config.d_input))


def add_attention(model: nn.Module, config: CTMConfig | LSTMConfig, query_features: int) -> None:
    """Give a thinker attention that is asked by `query` numbers."""
    model.q_proj = nn.Linear(query_features, config.d_input)
    model.attention = nn.MultiheadAttention(config.d_input, config.heads, config.dropout, batch_first=True)


def embed_input(model: Any, inputs: Tensor) -> Float[Tensor, "B d *places"]:
    """Features of the input, with their positions."""
    seen = model.backbone(model.initial_rgb(inputs))
    return seen if model.positional_embedding is None else seen + model.positional_embedding(seen)


def encode_input(model: Any, inputs: Tensor, make_input_projection: InputProjectionFactory) -> EncodedInput:
    """See the input, and make ready what stays the same in a thought."""
    config = model.config
    if config.has_input_schedule:
        return encode_scheduled_input(model, inputs, make_input_projection)
    if not config.heads:
        return EncodedInput(
            len(inputs), (), config.iterations, None, StaticInput(None, make_input_projection(None, inputs))
        )
    seen, out = embed_input(model, inputs), model.attention.out_proj
    scene = cache_cross_attention(model, model.kv_proj(seen.flatten(2).transpose(1, 2)))
    steady = StaticInput(scene, make_input_projection(out.weight, out.bias))
    return EncodedInput(len(inputs), tuple(seen.shape[2:]), config.iterations, None, steady)


def encode_scheduled_input(model: Any, frames: Tensor, make_input_projection: InputProjectionFactory) -> EncodedInput:
    """As `observe`, for inputs as `ctm.modules.input_schedule.pack` makes them."""
    timetable, out = FrameSchedule.from_frames(frames, model.config), model.attention.out_proj
    pixels = frames[timetable.is_image][:, 1:].unflatten(1, (1, IMAGE_SIZE, IMAGE_SIZE))
    places: tuple[int, ...] = ()
    features = out.weight.new_empty(0, 1, out.in_features)
    if len(pixels):
        seen = model.backbone_digit(pixels)
        places, features = tuple(seen.shape[2:]), model.kv_proj(seen.flatten(2).transpose(1, 2))
    table = build_code_table(model.index_backbone.embedding, model.operator_backbone.embedding.weight, out.bias)
    schedule = build_scheduled_input(
        timetable,
        features,
        lambda slot: cache_cross_attention(model, slot),
        make_input_projection(out.weight, table),
        model.config.iterations_per_digit,
    )
    return EncodedInput(len(frames), places, len(timetable.codes), timetable.input_ticks, schedule)


def cache_cross_attention(model: Any, features: Float[Tensor, "B N E"]) -> CrossAttentionCache:
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

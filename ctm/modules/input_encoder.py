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
from ctm.modules.cross_attention import Scene, prepare_scene
from ctm.modules.input_schedule import SIDE, Glance, Schedule, Timetable, codes_table, prepare_schedule
from ctm.modules.positional_encoding import POSITIONS
from ctm.modules.synapses import Entry, FoldedEntry

MakeEntry = Callable[[Tensor | None, Tensor], Entry]  # attention's output projection, and what is handed over besides

AnObserved = TypeVar("AnObserved", bound="Observed")


@dataclass(frozen=True)
class Steady:
    """An observation that stays what it is for the whole thought."""

    scene: Scene | None  # None where the raw input is handed over
    entry: Entry

    def at(self, _: int) -> tuple[Scene | None, Entry]:
        """What is looked at after so many ticks, and how it enters."""
        return self.scene, self.entry

    def take(self, rows: Int[Tensor, " A"]) -> "Steady":
        scene = None if self.scene is None else self.scene.take(rows)
        return Steady(scene, self.entry.take(rows))

    def take_(self, rows: Int[Tensor, " A"]) -> "Steady":
        """The same, in the memory of this observation, which is lost."""
        scene = None if self.scene is None else self.scene.take_(rows)
        return Steady(scene, self.entry.take(rows))

    def seat_(self, newcomers: "Steady", seats: Int[Tensor, " A"]) -> "Steady":
        """Newcomers take these seats, in the memory of this observation, which is lost."""
        assert isinstance(self.entry, FoldedEntry) and isinstance(newcomers.entry, FoldedEntry), "not while training"
        scene = None if self.scene is None or newcomers.scene is None else self.scene.seat_(newcomers.scene, seats)
        return Steady(scene, self.entry.seat_(newcomers.entry, seats))


@dataclass(frozen=True)
class Observed:
    """The seen input of a batch, as it is observed tick by tick."""

    batch: int
    places: tuple[int, ...]  # shape of the map that attention looks at; () without attention
    ticks: int  # of a thought
    listening: Int[Tensor, " B"] | None  # ticks before an answer counts; None where all count
    observation: Steady | Schedule

    def at(self, tick: int) -> tuple[Scene | Glance | None, Entry]:
        return self.observation.at(tick)

    def take(self: AnObserved, rows: Int[Tensor, " A"]) -> AnObserved:
        """The same for some batch rows only."""
        return self._with(rows, self.observation.take(rows))

    def take_(self: AnObserved, rows: Int[Tensor, " A"]) -> AnObserved:
        """The same, in the memory of this one, which is lost: fast where most rows keep their place."""
        return self._with(rows, self.observation.take_(rows))

    @property
    def has_seats(self) -> bool:
        """Whether newcomers can take the seats of rows that are done; a timetable is that of its own rows alone."""
        return isinstance(self.observation, Steady)

    def seat_(self: AnObserved, newcomers: AnObserved, seats: Int[Tensor, " A"]) -> AnObserved:
        """Newcomers take these seats, in the memory of this one, which is lost."""
        assert isinstance(self.observation, Steady) and isinstance(newcomers.observation, Steady), "see `has_seats`"
        return replace(self, observation=self.observation.seat_(newcomers.observation, seats))

    def _with(self: AnObserved, rows: Int[Tensor, " A"], observation: Steady | Schedule) -> AnObserved:
        listening = None if self.listening is None else self.listening.index_select(0, rows)
        return replace(self, batch=len(rows), listening=listening, observation=observation)


def add_backbone(thinker: nn.Module, config: Config, in_features: int | None) -> int:
    """Give a thinker what it sees through; returns the number of channels that it then sees."""
    if config.is_phased:
        input_schedule.add_backbones(thinker, config.d_input)
        return config.d_input
    thinker.initial_rgb, thinker.backbone, channels = make_backbone(config.backbone_type, config.d_input, in_features)
    positions = POSITIONS.get(config.positional_embedding_type)
    thinker.register_module("positional_embedding", positions(channels) if positions else None)
    return channels


def add_keys(thinker: nn.Module, config: CTMConfig | LSTMConfig, channels: int) -> None:
    """Give a thinker what makes keys and values of `channels` features."""
    thinker.kv_proj = nn.Sequential(nn.Linear(channels, config.d_input), nn.LayerNorm(config.d_input))


def add_attention(thinker: nn.Module, config: CTMConfig | LSTMConfig, query: int) -> None:
    """Give a thinker attention that is asked by `query` numbers."""
    thinker.q_proj = nn.Linear(query, config.d_input)
    thinker.attention = nn.MultiheadAttention(config.d_input, config.heads, config.dropout, batch_first=True)


def see(thinker: Any, inputs: Tensor) -> Float[Tensor, "B d *places"]:
    """Features of the input, with their positions."""
    seen = thinker.backbone(thinker.initial_rgb(inputs))
    return seen if thinker.positional_embedding is None else seen + thinker.positional_embedding(seen)


def observe(thinker: Any, inputs: Tensor, make_entry: MakeEntry) -> Observed:
    """See the input, and make ready what stays the same in a thought."""
    config = thinker.config
    if config.is_phased:
        return observe_in_phases(thinker, inputs, make_entry)
    if not config.heads:
        return Observed(len(inputs), (), config.iterations, None, Steady(None, make_entry(None, inputs)))
    seen, out = see(thinker, inputs), thinker.attention.out_proj
    scene = look_at(thinker, thinker.kv_proj(seen.flatten(2).transpose(1, 2)))
    steady = Steady(scene, make_entry(out.weight, out.bias))
    return Observed(len(inputs), tuple(seen.shape[2:]), config.iterations, None, steady)


def observe_in_phases(thinker: Any, frames: Tensor, make_entry: MakeEntry) -> Observed:
    """As `observe`, for inputs as `ctm.modules.input_schedule.pack` makes them."""
    timetable, out = Timetable.of(frames, thinker.config), thinker.attention.out_proj
    pixels = frames[timetable.is_picture][:, 1:].unflatten(1, (1, SIDE, SIDE))
    places: tuple[int, ...] = ()
    features = out.weight.new_empty(0, 1, out.in_features)
    if len(pixels):
        seen = thinker.backbone_digit(pixels)
        places, features = tuple(seen.shape[2:]), thinker.kv_proj(seen.flatten(2).transpose(1, 2))
    table = codes_table(thinker.index_backbone.embedding, thinker.operator_backbone.embedding.weight, out.bias)
    schedule = prepare_schedule(
        timetable,
        features,
        lambda slot: look_at(thinker, slot),
        make_entry(out.weight, table),
        thinker.config.iterations_per_digit,
    )
    return Observed(len(frames), places, len(timetable.codes), timetable.listening, schedule)


def look_at(thinker: Any, places: Float[Tensor, "B N E"]) -> Scene:
    dropout = thinker.config.dropout if thinker.training else 0.0
    return prepare_scene(places, thinker.attention, thinker.q_proj, dropout)


__all__ = ["Observed", "Steady", "add_attention", "add_backbone", "add_keys", "observe", "see"]

"""Cards of tasks to train, their presets and sliders, from configs/cards.json beside the recipes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from training.config import RunConfig

CARDS_FILENAME = "cards.json"
MIN_STEPS = 20  # of a run whose time is chosen


class CardsModel(BaseModel):
    """Base of the schemas: further keys are errors, because the operator writes the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Level(CardsModel):
    """One position of the slider of the difficulty.

    Attributes:
        text: What the page says.
        changes: Settings by dotted name.
    """

    text: str = Field(min_length=1, max_length=40)
    changes: dict[str, int | float] = Field(min_length=1)


class Difficulty(CardsModel):
    """Slider of the difficulty: a setting of the task, such as the number of bits.

    Attributes:
        label: Name of the slider.
        levels: Positions, the easiest first.
    """

    label: str = Field(min_length=1, max_length=40)
    levels: list[Level] = Field(min_length=2)


class TaskCard(CardsModel):
    """One task to train.

    Attributes:
        recipe: Name of its recipe, below configs/.
        quick: Name of the recipe that shows learning within three minutes; empty if there is none.
        title: Plain name.
        learns: What the model learns, one sentence.
        checkpoint: Bundled checkpoint whose accuracy is shown; empty for none.
        size: Positions of the slider of the size: numbers of neurons.
        ticks: Positions of the slider of the ticks; empty where the input determines them.
        difficulty: Slider of the difficulty.
        minutes: Positions of the slider of the time.
    """

    recipe: str
    quick: str = ""
    title: str = Field(min_length=1, max_length=60)
    learns: str = Field(min_length=1, max_length=160)
    checkpoint: str = ""
    size: list[int] = Field(min_length=2)
    ticks: list[int]
    difficulty: Difficulty
    minutes: list[int] = Field(min_length=2)


def read_task_cards(recipes_dir: Path) -> list[TaskCard]:
    """Read the cards of a directory of recipes; none without the file.

    Raises:
        ValueError: The file is invalid, or names a recipe that is missing.
    """
    path = recipes_dir / CARDS_FILENAME
    if not path.is_file():
        return []
    try:
        cards = TypeAdapter(list[TaskCard]).validate_python(json.loads(path.read_text("utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(
            f"{CARDS_FILENAME} is invalid at {'.'.join(map(str, first['loc']))}: {first['msg']}."
        ) from None
    except ValueError:
        raise ValueError(f"{CARDS_FILENAME} is no valid JSON.") from None
    for card in cards:
        for name in filter(None, (card.recipe, card.quick)):
            if not (recipes_dir / f"{name}.yaml").is_file():
                raise ValueError(f"{CARDS_FILENAME} names the recipe {name}, which is missing.")
    return cards


def build_sliders(card: TaskCard, values: Mapping[str, Any], chosen: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the sliders of a card: size, ticks, difficulty and minutes.

    Args:
        card: The card.
        values: Settings of the source by dotted name, see `get_form_values`.
        chosen: Chosen position by name of the slider; others keep the value of the source.

    Returns:
        name, label, texts (one per position), selected (position, or -1 for a value between the positions) and current (text of
        the value of the source) of each slider.
    """
    levels = [level.text for level in card.difficulty.levels]
    level = next((i for i, item in enumerate(card.difficulty.levels) if item.changes.items() <= values.items()), -1)
    rows = [
        (
            "size",
            "Size",
            [f"{size} neurons" for size in card.size],
            find_position(card.size, values.get("model.d_model")),
        ),
        (
            "ticks",
            "Ticks",
            [str(ticks) for ticks in card.ticks],
            find_position(card.ticks, values.get("model.iterations")),
        ),
        ("difficulty", card.difficulty.label, levels, level),
        ("minutes", "Time", [f"{minutes} min" for minutes in card.minutes], -1),
    ]
    currents = {"size": f"{values.get('model.d_model')} neurons", "ticks": str(values.get("model.iterations"))}
    return [
        {
            "name": name,
            "label": label,
            "texts": texts,
            "selected": min(chosen.get(name, position), len(texts) - 1),
            "current": currents.get(name, "as in the recipe"),
        }
        for name, label, texts, position in rows
        if texts
    ]


def find_position(positions: list[int], value: Any) -> int:
    """Return the index of a value; -1 if it is none of the positions."""
    return positions.index(value) if value in positions else -1


def build_slider_changes(card: TaskCard, chosen: Mapping[str, int]) -> dict[str, Any]:
    """Return the settings that the chosen positions of size, ticks and difficulty change, by dotted name."""
    changes: dict[str, Any] = {}
    if "size" in chosen:
        changes["model.d_model"] = card.size[chosen["size"]]
    if "ticks" in chosen and card.ticks:
        changes["model.iterations"] = card.ticks[chosen["ticks"]]
    if "difficulty" in chosen:
        changes |= card.difficulty.levels[chosen["difficulty"]].changes
    return changes


def parse_chosen(card: TaskCard, positions: Any) -> dict[str, int]:
    """Parse the chosen positions that a browser sent; invalid ones are dropped."""
    counts = {
        "size": len(card.size),
        "ticks": len(card.ticks),
        "difficulty": len(card.difficulty.levels),
        "minutes": len(card.minutes),
    }
    if not isinstance(positions, Mapping):
        return {}
    return {
        name: position
        for name, count in counts.items()
        if isinstance(position := positions.get(name), int) and not isinstance(position, bool) and 0 <= position < count
    }


def compute_time_changes(config: RunConfig, minutes: float, figures: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the settings that let a run take some minutes, from its measured cost.

    Evaluations, checkpoints and warm-up of a short run come earlier, so that its charts have points.

    Args:
        config: Settings of the run.
        minutes: Time of the whole run; stages share it equally.
        figures: See `training.estimate.estimate_run`; None if nothing was measured, then nothing changes.
    """
    if figures is None:
        return {}
    seconds_per_step = figures["seconds_per_step"] + figures["seconds_per_evaluation"] / config.train.eval_every
    left_seconds = 60 * minutes - figures["seconds_to_start"] - figures["seconds_to_finalize"]
    num_stages = len(config.stage_configs)  # a setting of the form counts in every stage
    steps = max(MIN_STEPS, int(left_seconds / max(seconds_per_step, 1e-6) / num_stages))
    changes: dict[str, Any] = {"train.steps": steps}
    limits = {
        "train.eval_every": (config.train.eval_every, steps // 10),
        "train.save_every": (config.train.save_every, steps // 2),
        "train.log_every": (config.train.log_every, steps // 50),
        "optim.warmup_steps": (config.optim.warmup_steps, steps // 10),
    }
    return changes | {name: max(1, limit) for name, (value, limit) in limits.items() if limit < value}


def scale_figures(figures: Mapping[str, Any], config: RunConfig, changed: RunConfig) -> dict[str, Any]:
    """Return roughly what a run with another size costs, from the measured cost of the original.

    The time of a tick grows with the number of neurons, but less than in proportion, because a part of it is overhead.

    Args:
        figures: Measured cost of `config`.
        config: Settings that were measured.
        changed: Settings to predict.
    """
    old, new = (item.build_model_config(item.make_task()) for item in (config, changed))
    ratio = new.iterations / old.iterations * (1 + new.d_model / old.d_model) / 2
    names = ("seconds_per_step", "seconds_per_evaluation", "seconds_to_finalize")
    return {**figures, **{name: figures[name] * ratio for name in names}}

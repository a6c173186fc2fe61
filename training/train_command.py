"""Command lines that train a recipe by hand: `python -m training train configs/digits.yaml train.steps=500`."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from training.config import RunConfig, format_overrides, read_recipe
from training.settings_aliases import rename_override

TRAIN_WORDS = ("python", "-m", "training", "train")
LOCAL_GROUPS = ("publish",)  # settings of an account, which no command contains


def split_train_command(command: str) -> tuple[str, list[str]]:
    """Return the recipe of a training command and its overrides; nothing for another command."""
    try:
        words = shlex.split(command)
    except ValueError:
        return "", []
    num_words = len(TRAIN_WORDS)
    if tuple(words[:num_words]) != TRAIN_WORDS or len(words) == num_words or "=" in words[num_words]:
        return "", []
    return words[num_words], [word for word in words[num_words + 1 :] if "=" in word and not word.startswith("-")]


def add_overrides(command: str, overrides: Iterable[str]) -> str:
    """Return a command with further overrides. Of several overrides of one setting, the last one is kept.

    Args:
        command: Command line; one that cannot be split into words, such as that of a damaged run, is kept as it is.
        overrides: Overrides such as `train.steps=500`.
    """
    try:
        words = [*shlex.split(command), *overrides]
    except ValueError:
        return " ".join([command, *map(shlex.quote, overrides)])
    return shlex.join(drop_replaced_overrides(words))


def drop_replaced_overrides(words: Iterable[str]) -> list[str]:
    """Return the words of a command without overrides that a later word replaces, under a present or a former name."""
    last: dict[str, str] = {}
    for index, word in enumerate(words):
        name, equals, _ = word.partition("=")
        key = rename_override(name, None, {})[0] if equals and not word.startswith("-") else f"{index} "
        last.pop(key, None)  # the place of the last one counts
        last[key] = word
    return list(last.values())


def shorten_command(command: str, config: RunConfig, root: Path) -> str | None:
    """Return the shortest command that trains the recipe of a command with other settings.

    Args:
        command: A training command that names a recipe.
        config: Settings that the result must have.
        root: Directory to which the path of the recipe is relative.

    Returns:
        The command; None if the recipe cannot be read, or if overrides cannot turn it into the settings.
    """
    recipe, _ = split_train_command(command)
    if not recipe or Path(recipe).is_absolute() or ".." in Path(recipe).parts:
        return None
    try:
        overrides = find_overrides(read_recipe(root / recipe), config)
        result = read_recipe(root / recipe, overrides)
    except ValueError:
        return None
    if flatten_settings(result) != flatten_settings(config):
        return None
    return shlex.join([*TRAIN_WORDS, recipe, *overrides])


def find_overrides(recipe: RunConfig, config: RunConfig) -> list[str]:
    """Return the overrides that turn the settings of a recipe into others, without those of one computer or account."""
    before, after = flatten_settings(recipe), flatten_settings(config)
    return format_overrides({name: value for name, value in after.items() if before.get(name, ...) != value})


def flatten_settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings of a run by dotted name, without those of one computer or account."""
    values = config.model_dump(mode="json", exclude=set(LOCAL_GROUPS))
    local_names = config.machine_local_settings
    flat: dict[str, Any] = {}
    for name, value in values.items():
        items = {f"{name}.{key}": item for key, item in value.items()} if isinstance(value, dict) else {name: value}
        flat |= {key: item for key, item in items.items() if key not in local_names}
    return flat

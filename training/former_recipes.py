"""Recipes of version 0.1 that are stages of other recipes since 0.2.0.

Published checkpoints and runs state the commands that they were trained with, which name these files.
"""

import re
from dataclasses import dataclass

RECIPE_PATTERN = re.compile(r"(?:^|[\s/])(?P<name>[a-z0-9-]+)\.yaml(?:\s|$)")


@dataclass(frozen=True)
class FormerRecipe:
    """A recipe that is no longer a file.

    Attributes:
        name: Its name, below `configs/` and without suffix.
        successor: Name of the recipe that replaces it.
        stage: Number of its stage there; 0 if the successor trains in another way.
    """

    name: str
    successor: str
    stage: int

    def describe(self) -> str:
        """Return what replaces the recipe, as a sentence."""
        if self.stage:
            return (
                f"The recipe `{self.name}` of 0.1 is stage {self.stage} of `configs/{self.successor}.yaml` since 0.2.0."
            )
        return f"The recipe `{self.name}` of 0.1 is replaced by `configs/{self.successor}.yaml` since 0.2.0, which trains in another way."


FORMER_RECIPES = {
    recipe.name: recipe
    for recipe in (
        FormerRecipe("chain-on", "chain-untaught", 2),
        FormerRecipe("mazes-15-small", "mazes-15-untaught", 1),
        FormerRecipe("mazes-15-wide", "mazes-15-untaught", 2),
        FormerRecipe("parity-64-expanded", "parity-64", 0),
        FormerRecipe("qamnist-on", "qamnist-untaught", 2),
    )
}


def find_former_recipe(text: str) -> FormerRecipe | None:
    """Return the former recipe that a command or a path names; None if it names none.

    Args:
        text: A command line such as `python -m training train configs/chain-on.yaml`, or a path.
    """
    for match in RECIPE_PATTERN.finditer(text):
        if recipe := FORMER_RECIPES.get(match["name"]):
            return recipe
    return None

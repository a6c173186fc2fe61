"""Strict YAML reader for recipes and settings.

Aliases and duplicate keys are errors: an alias can expand a short text into a huge value, and a duplicate key hides a
value.
"""

from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from ctm.messages import truncate_repr


class StrictYAMLLoader(yaml.SafeLoader):
    """YAML loader that rejects aliases and duplicate keys, and constructs only plain values."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node; raise an error for an alias."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="write the value out instead of an alias", problem_mark=mark)
        return super().compose_node(parent, index)

    def compose_mapping_node(self, anchor: Any) -> Any:
        """Compose a mapping; raise an error for a duplicate key."""
        node = super().compose_mapping_node(anchor)
        keys: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in keys:
                problem = f"{truncate_repr(key.value)} is there twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            keys.add(key.value)
        return node


for kind in ("binary", "omap", "pairs", "set"):  # types that no setting has
    StrictYAMLLoader.add_constructor(f"tag:yaml.org,2002:{kind}", StrictYAMLLoader.construct_undefined)


def parse_yaml(text: str, name: str) -> Any:
    """Parse a YAML text.

    Args:
        text: YAML text.
        name: Name of the text in messages.

    Raises:
        ValueError: The text is not valid YAML, or uses a feature that settings do not need.
    """
    try:
        return yaml.load(text, StrictYAMLLoader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}, " if error.problem_mark else ""
        problem = line + " ".join(str(error.problem).split())[:150]
    except yaml.YAMLError:
        problem = "it holds letters that are none"
    except RecursionError:
        problem = "it is nested too deeply"
    except (ValueError, LookupError, TypeError, AttributeError):  # a constructor trusts the tag
        problem = "a value in it is not what its form or its tag says"
    raise ValueError(f"{name} is not YAML that can be read: {problem}.")


def read_yaml_file(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping; an empty file gives {}.

    Raises:
        ValueError: The file is not readable, is not valid YAML, or does not hold a mapping.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a YAML file that can be read: {' '.join(str(error).split())}.") from None
    values = parse_yaml(text, str(path))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold `name: value` lines, got {truncate_repr(values)}.")
    return {str(key): value for key, value in values.items()}

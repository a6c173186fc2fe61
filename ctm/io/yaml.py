"""Strict YAML reader and writer for recipes and settings.

Plain values have the types of the core schema of YAML 1.2, without the surprises of YAML 1.1: `no`, `off` and `on` are
strings, which a switch still accepts, `010` is ten, and `1:30` is a string. Aliases and duplicate keys are errors: an
alias can expand a short text into a huge value, and a duplicate key hides a value.
"""

import re
from pathlib import Path
from typing import Any

import yaml

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


class StrictYAMLDumper(yaml.SafeDumper):
    """YAML dumper that quotes what `StrictYAMLLoader` would read as another type."""


# Core schema of YAML 1.2.2, section 10.3.2: tag, pattern, first characters.
CORE_SCHEMA = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
)
for schema_user in (StrictYAMLLoader, StrictYAMLDumper):
    schema_user.yaml_implicit_resolvers = {}
    for tag, pattern, first in CORE_SCHEMA:
        schema_user.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$"), first)


def construct_integer(loader: StrictYAMLLoader, node: yaml.ScalarNode) -> int:
    """Return a decimal, octal (0o) or hexadecimal (0x) integer; leading zeros do not change its base."""
    text = loader.construct_scalar(node)
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


def reject_type(loader: StrictYAMLLoader, node: yaml.Node) -> None:
    """Raise the error of an unknown type."""
    loader.construct_undefined(node)


StrictYAMLLoader.add_constructor("tag:yaml.org,2002:int", construct_integer)
for kind in ("binary", "omap", "pairs", "set"):  # types that no setting has
    StrictYAMLLoader.add_constructor(f"tag:yaml.org,2002:{kind}", reject_type)


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


def format_yaml(values: Any) -> str:
    """Format plain values as YAML that `parse_yaml` reads as the same values; keys keep their order."""
    return yaml.dump(values, Dumper=StrictYAMLDumper, sort_keys=False, allow_unicode=True)


def read_yaml_file(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping; an empty file gives {}.

    Raises:
        ValueError: The file is not readable, is not valid YAML, or does not hold a mapping.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a YAML file that can be read: {' '.join(str(error).split())}.") from None
    values = parse_yaml(text, str(path))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold `name: value` lines, got {truncate_repr(values)}.")
    return {str(key): value for key, value in values.items()}

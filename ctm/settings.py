"""Base class of all settings: frozen, bounded and strict.

A field states its default, help text and bounds once. The YAML reader, `--help`, the forms of the page and the error
messages all read them from there.
"""

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ctm.messages import format_name, truncate_repr

SettingsT = TypeVar("SettingsT", bound="Settings")
MAX_PROBLEMS = 20  # reported in one message


class Settings(BaseModel):
    """Base of every group of settings.

    Instances are immutable. Unknown names, NaN and infinity are errors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(cls: type[SettingsT], values: Any, prefix: str = "") -> SettingsT:
        """Validate plain data, such as a YAML mapping.

        Args:
            values: Setting name -> value; nested groups are mappings.
            prefix: Dotted prefix of setting names in messages, such as `model`.

        Raises:
            ValueError: The values are not valid. The message has one line per problem (at most `MAX_PROBLEMS`) with
                the setting, the value and the remedy.
        """
        if not isinstance(values, Mapping):
            raise ValueError(
                f"{prefix or 'settings'} must be a group of `name: value` lines, got {truncate_repr(values)}."
            )
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            problems = [cls._format_problem(problem, prefix) for problem in error.errors()[:MAX_PROBLEMS]]
            if (more := error.error_count() - MAX_PROBLEMS) > 0:
                problems.append(f"There are {more:,} more problems.")
            raise ValueError("\n".join(problems)) from None

    @classmethod
    def _format_problem(cls, problem: Any, prefix: str) -> str:
        """Return one line for a problem that pydantic reports."""
        path = [*([prefix] if prefix else []), *map(format_name, problem["loc"])]
        name = ".".join(path)
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(path[-1], cls._collect_field_names(), n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(sorted(cls.model_fields))}."
            return f"Unknown setting `{name}`; {hint}"
        if problem["type"] == "missing":
            return f"Setting `{name}` is missing."
        text = problem["msg"].removeprefix("Value error, ")
        text = text[0].lower() + text[1:] if problem["type"] != "value_error" else text
        if problem["type"] == "value_error" and not problem["loc"]:
            return text
        return f"{f'Setting `{name}`' if name else 'The settings'}: {text} (got {truncate_repr(problem['input'])})."

    @classmethod
    def _collect_field_names(cls) -> set[str]:
        """Return the field names of this group and of all nested groups, to suggest close matches."""
        names = set(cls.model_fields)
        for field in cls.model_fields.values():
            if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
                names |= field.annotation._collect_field_names()
        return names

"""Rules of the settings of a run: which of them may change when the run is resumed.

The rule of a setting is part of its declaration: `steps: Changeable[int] = Field(...)`. A class of `RunSettings` with a
setting that has no rule cannot be defined. Settings of tasks and models have no base of this kind: they determine inputs,
labels and weights, so a setting without a rule is fixed there.
"""

from enum import Enum
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic.fields import FieldInfo

from ctm.settings import Settings

ValueT = TypeVar("ValueT")


class ResumeRule(Enum):
    """What a resumed run may do with a setting."""

    CHANGEABLE = "may change: it is operational, or continues the same experiment"
    BATCH_SPLIT = "may change if batch size x accumulation steps x processes stays the same"
    FIXED = "must stay: another value makes another model or another experiment"


Changeable: TypeAlias = Annotated[ValueT, ResumeRule.CHANGEABLE]
BatchSplit: TypeAlias = Annotated[ValueT, ResumeRule.BATCH_SPLIT]
Fixed: TypeAlias = Annotated[ValueT, ResumeRule.FIXED]


class RunSettings(Settings):
    """Base of the settings of a run, which all have a `ResumeRule`."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Check that every setting has a rule; a nested group has those of its own settings.

        Raises:
            TypeError: A setting has no rule.
        """
        super().__pydantic_init_subclass__(**kwargs)
        for name, info in cls.model_fields.items():
            is_group = isinstance(info.annotation, type) and issubclass(info.annotation, RunSettings)
            if not is_group and find_rule(info) is None:
                raise TypeError(f"{cls.__name__}.{name} has no rule: declare it as Changeable, BatchSplit or Fixed.")


def find_rule(info: FieldInfo) -> ResumeRule | None:
    """Return the rule of a setting; None if it has none."""
    return next((item for item in info.metadata if isinstance(item, ResumeRule)), None)


def is_changeable(info: FieldInfo) -> bool:
    """Return whether a setting of a task may change when a run is resumed; one without a rule may not."""
    return find_rule(info) is ResumeRule.CHANGEABLE

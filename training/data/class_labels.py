"""Class labels of data sets: whole numbers, numbers in other types, truth values, and words.

A data set names its classes in the metadata of a `ClassLabel` column. Other columns hold the names themselves, or numbers.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ctm.messages import format_name, format_name_list, truncate_repr

MAX_INFERRED_CLASSES = 1_000  # different values of a column without names
TRUTH_NAMES = ("false", "true")


@dataclass(frozen=True)
class ClassLabels:
    """Classes of a task.

    Whole numbers are positions in `names`, unless all names are whole numbers themselves: these are compared as numbers.
    Words are names.

    Attributes:
        names: Name of each class.
        positions: Class of each position that a file uses, where its order of the names is another one; else None.
    """

    names: tuple[str, ...]
    positions: tuple[int, ...] | None = field(default=None)

    @cached_property
    def _class_by_name(self) -> dict[str, int]:
        """Class of each name, and of its lower case where that is unambiguous."""
        lower: dict[str, list[int]] = {}
        for index, name in enumerate(self.names):
            lower.setdefault(name.strip().lower(), []).append(index)
        return {name: indices[0] for name, indices in lower.items() if len(indices) == 1} | {
            name.strip(): index for index, name in enumerate(self.names)
        }

    @cached_property
    def _class_by_number(self) -> dict[int, int] | None:
        """Class of each number, where all names are whole numbers."""
        numbers = [parse_whole_number(name) for name in self.names]
        return (
            None if None in numbers else {number: index for index, number in enumerate(numbers) if number is not None}
        )

    def get_index(self, label: Any, where: str) -> int:
        """Return the class of a label.

        Args:
            label: Value of the label column.
            where: Data set, split and row, for the message.

        Raises:
            ValueError: The label is none of the classes.
        """
        index = self._find_index(label)
        if index is None:
            raise ValueError(
                f"{where}: the class must be {self._describe()}, got {truncate_repr(label)}. See task.label_column and "
                "task.names; a split without classes is none to learn from or to test on."
            )
        return index

    def _find_index(self, label: Any) -> int | None:
        if isinstance(label, str) and (index := self._find_name(label)) is not None:
            return index
        if isinstance(label, bool) and (index := self._find_name(TRUTH_NAMES[label])) is not None:
            return index
        number = parse_whole_number(label)
        if number is None:
            return None
        if self.positions is None and self._class_by_number is not None:
            return self._class_by_number.get(number)
        if self.positions is not None:
            number = self.positions[number] if 0 <= number < len(self.positions) else -1
        return number if 0 <= number < len(self.names) else None

    def _find_name(self, word: str) -> int | None:
        word = word.strip()
        return self._class_by_name.get(word, self._class_by_name.get(word.lower()))

    def _describe(self) -> str:
        numbers = f"a whole number from 0 to {len(self.names) - 1}"
        if self._class_by_number is not None:
            return numbers if sorted(self._class_by_number) == list(range(len(self.names))) else self._describe_names()
        return f"{numbers} or {self._describe_names()}"

    def _describe_names(self) -> str:
        return f"one of {format_name_list([format_name(name) for name in self.names], quote=chr(34))}"


def parse_whole_number(value: Any) -> int | None:
    """Return the whole number that a value is or, as a text, states; None if it is none."""
    if isinstance(value, int):  # truth values are 0 and 1
        return int(value)
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value == int(value) else None
    if isinstance(value, str) and len(value) <= 20:
        text = value.strip()
        digits = text.removeprefix("-").removesuffix(".0")
        return int(text.removesuffix(".0")) if digits.isascii() and digits.isdigit() else None
    return None


def infer_class_names(labels: Iterable[Any], where: str) -> tuple[str, ...]:
    """Return the names of the classes of a column that does not name them: its different values, sorted.

    Args:
        labels: All values of the column. Missing and negative ones are no classes.
        where: Data set and column, for the message.

    Raises:
        ValueError: The values are no classes, or there are fewer than two or more than `MAX_INFERRED_CLASSES`.
    """
    names = set[str]()
    for label in labels:
        name = _get_name(label, where)
        if name is not None:
            names.add(name)
        if len(names) > MAX_INFERRED_CLASSES:
            raise ValueError(
                f"{where} holds more than {MAX_INFERRED_CLASSES:,} different values, too many to be classes. See "
                "task.label_column and task.names."
            )
    if len(names) < 2:
        raise ValueError(f"{where} names no classes, and has fewer than two different values; give them in task.names.")
    numbers = {name: parse_whole_number(name) for name in names}
    if all(number is not None for number in numbers.values()):
        return tuple(sorted(names, key=lambda name: numbers[name] or 0))
    return tuple(sorted(names))


def _get_name(label: Any, where: str) -> str | None:
    """Return the name that a value stands for; None if it stands for no class."""
    if label is None or (isinstance(label, float) and math.isnan(label)):
        return None
    if isinstance(label, bool):
        return TRUTH_NAMES[label]
    if isinstance(label, str):
        return label.strip() or None
    number = parse_whole_number(label)
    if number is None:
        raise ValueError(
            f"{where} holds values that are no classes, such as {truncate_repr(label)}. See task.label_column."
        )
    return str(number) if number >= 0 else None


def map_positions(file_names: Sequence[str], names: Sequence[str], where: str) -> tuple[int, ...] | None:
    """Return the class of each position of a file whose classes are in another order; None if the order is the same.

    Args:
        file_names: Names of the classes in the file.
        names: Names of the classes in the train split.
        where: The file, for the message.

    Raises:
        ValueError: The file has other classes.
    """
    if list(file_names) == list(names[: len(file_names)]):
        return None
    unknown = [name for name in file_names if name not in names]
    if unknown:
        listed = format_name_list([format_name(name) for name in unknown], quote="'")
        raise ValueError(f"{where} has classes that the train split does not have: {listed}.")
    return tuple(list(names).index(name) for name in file_names)

"""Check annotations at run time; `pyproject.toml` names the packages whose functions are checked.

jaxtyping binds all arguments at each call to compare the shapes of arrays. That takes longer than many functions themselves, so
beartype alone checks the functions that have no array in their annotations, and both check only the first calls of a function in each
test.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

CHECKED_CALLS = 5  # calls of a function in one test whose types are checked
check_shapes = jaxtyping.jaxtyped


class CurrentTest:
    """Number of the current test, so that every test has checked calls of its own."""

    number = 0


def has_array_annotations(function: Callable) -> bool:
    """Return whether an annotation of a function may contain the type of an array."""
    annotations = getattr(function, "__annotations__", {}).values()
    return any(
        "[" in annotation if isinstance(annotation, str) else "jaxtyping." in repr(annotation)
        for annotation in annotations
    )


def check_without_shapes(function: Callable) -> Callable:
    """Decorate a function with beartype, which raises the error of jaxtyping and can be disabled as that."""
    checked = beartype(conf=BeartypeConf(violation_type=jaxtyping.TypeCheckError))(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return (function if jaxtyping.config.jaxtyping_disable else checked)(*args, **kwargs)

    return call


def check_first_calls(function: Callable, add_checks: Callable[[Callable], Callable]) -> Callable:
    """Return a function that is checked in the first `CHECKED_CALLS` calls of each test.

    Args:
        function: Function without checks.
        add_checks: Decorator that adds the checks; it runs at the first call, because it takes longer than most functions.
    """
    checked: Callable | None = None
    test, calls = 0, 0

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal checked, test, calls
        if test != CurrentTest.number:
            test, calls = CurrentTest.number, 0
        calls += 1
        if calls > CHECKED_CALLS:
            return function(*args, **kwargs)
        checked = checked or add_checks(function)
        return checked(*args, **kwargs)

    return call


def check_types(function: Any = None, /, **options: Any) -> Any:
    """Decorate a function or a class as `jaxtyping.jaxtyped` does, without shapes where there are no arrays."""
    if function is not None:
        return check_shapes(function, **options)
    with_shapes = check_shapes(**options)

    def decorate(function: Any) -> Any:
        if dataclasses.is_dataclass(function):
            function.__init__ = decorate(function.__init__)
        if not inspect.isfunction(function):
            return function if inspect.isclass(function) else with_shapes(function)
        return check_first_calls(function, with_shapes if has_array_annotations(function) else check_without_shapes)

    return decorate


def install() -> None:
    """Let the import hook of jaxtyping use `check_types`; call it before the packages are imported."""
    jaxtyping.jaxtyped = check_types

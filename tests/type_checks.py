"""Check annotations at run time; `pyproject.toml` names the packages whose functions are checked.

jaxtyping binds all arguments at each call to compare the shapes of arrays. That takes longer than many functions themselves, so
beartype alone checks the functions that have no array in their annotations.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

check_shapes = jaxtyping.jaxtyped


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


def check_types(function: Any = None, /, **options: Any) -> Any:
    """Decorate a function or a class as `jaxtyping.jaxtyped` does, without shapes where there are no arrays."""
    if function is not None:
        return check_shapes(function, **options)

    def decorate(function: Any) -> Any:
        if inspect.isfunction(function) and not has_array_annotations(function):
            return check_without_shapes(function)
        return check_shapes(function, **options)

    return decorate


def install() -> None:
    """Let the import hook of jaxtyping use `check_types`; call it before the packages are imported."""
    jaxtyping.jaxtyped = check_types

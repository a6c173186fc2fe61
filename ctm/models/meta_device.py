"""Build models on the meta device, to check their parameters without memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


class SkipNormalInit(TorchFunctionMode):
    """Skip the normal distribution of initial weights: on the meta device, PyTorch imports its compiler for it.

    That import takes about two seconds, and a tensor without memory has no values.
    """

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of PyTorch, but for the one that is skipped."""
        arguments = dict(kwargs or {})
        if func is nn.init.normal_:
            return args[0] if args else arguments["tensor"]
        return func(*args, **arguments)


@contextmanager
def use_meta_device() -> Iterator[None]:
    """Create all tensors on the meta device, which allocates no memory."""
    with torch.device("meta"), SkipNormalInit():
        yield

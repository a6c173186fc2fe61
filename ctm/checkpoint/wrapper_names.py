"""Names of weights inside wrappers of training tools: data-parallel, compiled, Lightning and moving averages.

| wrapper | names |
|---|---|
| `DataParallel`, `DistributedDataParallel` | `module.` before the name, or before that of a wrapped part |
| `torch.compile` | `_orig_mod.`, likewise |
| Lightning | the attribute of the module before the name, such as `model.` |
| `torch.optim.swa_utils.AveragedModel` | `module.` before the name, and a counter `n_averaged` |
| ema-pytorch | `ema_model.` for the average and `online_model.` for the trained weights, and counters `initted` and `step` |
"""

import logging
import re
from collections.abc import Iterable

from ctm.messages import format_name, format_name_list

WRAPPER_PARTS = {"module", "_orig_mod"}  # no part of a published name is called like that
COUNTERS = {"n_averaged", "initted", "step"}
# A weight that all models have, below the name of the model in its wrapper.
ANCHOR_PATTERN = re.compile(r"(?:(.+)\.)?output_projector\.[0-9]+\.weight")

logger = logging.getLogger(__name__)


def unwrap_names(names: Iterable[str]) -> dict[str, str]:
    """Map the names of the weights in a file to those of the model without its wrappers.

    If the file holds an average besides the trained weights, the average is mapped. Tensors of the wrapper itself, such as
    counters, are left out.

    Args:
        names: Names in the file.

    Raises:
        ValueError: The file holds several models, or two names would be the same.
    """
    short_names = {name: drop_wrapper_parts(name) for name in names}
    prefix = find_model_prefix(short_names.values())
    has_wrapper = bool(prefix) or any(name != short_name for name, short_name in short_names.items())
    unwrapped: dict[str, str] = {}
    used_names: set[str] = set()
    for name, short_name in short_names.items():
        if not short_name.startswith(prefix) or (has_wrapper and short_name in COUNTERS):
            continue
        new_name = short_name.removeprefix(prefix)
        if new_name in used_names:
            raise ValueError(
                f"Several tensors would be `{format_name(new_name)}`; keep one of them and save the file again."
            )
        used_names.add(new_name)
        unwrapped[name] = new_name
    return unwrapped


def drop_wrapper_parts(name: str) -> str:
    """Return a name without the parts that data-parallel and compiled modules add, at any place and in any order."""
    return ".".join(part for part in name.split(".") if part not in WRAPPER_PARTS) or name


def find_model_prefix(names: Iterable[str]) -> str:
    """Return what stands before the names of the model, with its dot; "" if nothing does.

    Raises:
        ValueError: There are several models, and not exactly one of them is an average.
    """
    matches = (ANCHOR_PATTERN.fullmatch(name) for name in names)
    prefixes = sorted({match[1] or "" for match in matches if match})
    if len(prefixes) < 2:
        return f"{prefixes[0]}." if prefixes and prefixes[0] else ""
    averages = [prefix for prefix in prefixes if re.search(r"(^|[._])ema([._]|$)", prefix)]
    listed = format_name_list([format_name(prefix) if prefix else "no prefix" for prefix in prefixes])
    if len(averages) != 1:
        raise ValueError(f"The weights hold several models ({listed}); keep one of them and save the file again.")
    logger.warning("The weights hold several copies of the model (%s); the average, %s, is used.", listed, averages[0])
    return f"{averages[0]}."

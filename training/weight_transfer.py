"""Initial weights from another model, and frozen parameters (`init_from`, `train.init_mode`, `train.freeze`)."""

from torch import Tensor, nn

from ctm import TickModel
from ctm.modules.backbones import BasicBlock, Bottleneck
from training.energy.losses import ENERGY_HEAD_PREFIX

# The core is the recurrent part, which does not depend on the kind of input or answer.
CORE_PARAMETER_PREFIXES = ("start_", "synapses.", "trace_processor.", "lstm.")
NEURON_INDICES_INFIX = "_neuron_indices_"  # buffers that select the synchronised neurons of the core


def load_initial_weights(
    model: TickModel, source: TickModel, init_mode: str = "all", source_name: str = "init_from"
) -> None:
    """Copy the weights of another model into a new one, in place.

    Args:
        model: The new model.
        source: The model whose weights are copied.
        init_mode: `train.init_mode`. "all": both models have the same weights, except for the energy head. "matching": the
            weights of equal name and shape. "expand": also smaller weights, into the leading slice of larger ones;
            residual blocks that `source` lacks return their input. "core": the core alone.
        source_name: What gives the weights, for error messages.

    Raises:
        ValueError: Names or shapes differ where they must not, or no weight fits.
    """
    own = model.state_dict()
    incoming = source.state_dict()
    if init_mode == "core":
        own = select_core_tensors(own)
        incoming = select_core_tensors(incoming)
    if init_mode == "expand":
        incoming = {
            name: copy_into_leading_slice(value, own[name]) if name in own and ENERGY_HEAD_PREFIX not in name else value
            for name, value in incoming.items()
        }
    if init_mode in ("matching", "expand"):
        incoming = {name: value for name, value in incoming.items() if name in own and value.shape == own[name].shape}
        own = {name: own[name] for name in incoming}
    mismatches = [
        f"`{name}` is {list(incoming[name].shape) if name in incoming else 'missing'} there, {list(own[name].shape)} here"
        for name in own
        if ENERGY_HEAD_PREFIX not in name and (name not in incoming or incoming[name].shape != own[name].shape)
    ]
    mismatches += [f"`{name}` is only there" for name in incoming.keys() - own.keys() if ENERGY_HEAD_PREFIX not in name]
    if not own:
        mismatches = ["none of its weights has a name and a shape of this model"]
    if mismatches:
        more = f", and {len(mismatches) - 3} more" if len(mismatches) > 3 else ""
        remedy = " Set train.init_mode=matching to copy the weights that fit." if init_mode == "all" else ""
        raise ValueError(f"{source_name} does not fit this run's model: {'; '.join(mismatches[:3])}{more}.{remedy}")
    matching = {name: tensor for name, tensor in incoming.items() if name in own and tensor.shape == own[name].shape}
    model.load_state_dict(matching, strict=False)
    if init_mode == "expand":
        start_new_blocks_as_identity(model, source)


def start_new_blocks_as_identity(model: nn.Module, source: nn.Module) -> None:
    """Make residual blocks return their input if the source has no block of this name, in place.

    The last batch norm of such a block gets the weight 0 (Goyal et al. 2017, section 5.1).
    """
    known = dict(source.named_modules())
    for name, block in model.named_modules():
        if isinstance(block, BasicBlock | Bottleneck) and block.downsample is None and name not in known:
            last_norm = block.bn2 if isinstance(block, BasicBlock) else block.bn3
            nn.init.zeros_(last_norm.weight)


def copy_into_leading_slice(source: Tensor, target: Tensor) -> Tensor:
    """Return a copy of `target` whose leading slice along every axis is `source`.

    Returns:
        The copy, or `source` itself if it is larger than `target` along some axis or has another number of axes.
    """
    if source.dim() != target.dim() or any(
        size > limit for size, limit in zip(source.shape, target.shape, strict=True)
    ):
        return source
    result = target.clone()
    result[tuple(slice(size) for size in source.shape)] = source
    return result


def select_core_tensors(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the core, with the indices of its synchronised neurons."""
    return {
        name: tensor
        for name, tensor in state_dict.items()
        if name.startswith(CORE_PARAMETER_PREFIXES) or NEURON_INDICES_INFIX in name
    }


def freeze_parameters(model: TickModel, mode: str) -> None:
    """Freeze or unfreeze the core, in place.

    Args:
        model: The model.
        mode: `train.freeze`: "core" freezes the core; "none" trains all parameters.

    Raises:
        ValueError: The model has no core to freeze.
    """
    core = [parameter for name, parameter in model.named_parameters() if name.startswith(CORE_PARAMETER_PREFIXES)]
    if mode == "core" and not core:
        raise ValueError("train.freeze=core needs a model with a core; a feed-forward one has none.")
    for parameter in core:
        parameter.requires_grad_(mode != "core")

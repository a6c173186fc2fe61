"""Modules that torch exports as graphs: `encode` and `tick` of a model over flat tensors.

encode: inputs -> encoded input, start state, ticks, input_ticks
tick:   encoded input, state -> next state, logits, certainty, energy
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ctm.export.example_inputs import build_example_input
from ctm.export.interfaces import BATCH, CTMInterface, FFInterface, LSTMInterface, ModelInterface, TensorSpec
from ctm.export.scheduled_interface import ScheduledInterface
from ctm.models.base import TickModel

DURATION_SPECS = (
    TensorSpec("ticks", (), "number of ticks of the unroll"),
    TensorSpec("input_ticks", (BATCH,), "ticks of the input: an answer counts at later ticks"),
)
LOGITS = TensorSpec("logits", (BATCH, "logits"), "answer logits, classes of a position next to each other")
CERTAINTY = TensorSpec("certainty", (BATCH, "positions"), "one minus normalised entropy of every position, in [0, 1]")
ENERGY = TensorSpec("energy", (BATCH,), "output of the energy head, low if the answer is likely correct")
NEXT_PREFIX = "next_"  # of the names of state tensors that a tick gives
INTERFACES: dict[str, type[ModelInterface]] = {"ctm": CTMInterface, "lstm": LSTMInterface, "ff": FFInterface}


@dataclass(frozen=True)
class Graph:
    """Module to export, with example arguments.

    Attributes:
        name: "encode" or "tick".
        module: Module whose arguments and results are the tensors of the specs.
        inputs: Example arguments, by their descriptions.
        outputs: Results for the example, by their descriptions.
    """

    name: str
    module: nn.Module
    inputs: dict[TensorSpec, Tensor]
    outputs: dict[TensorSpec, Tensor]


class EncodeModule(nn.Module):
    """Encoded input, start state and durations of a batch."""

    def __init__(self, interface: ModelInterface) -> None:
        super().__init__()
        self.model = interface.model
        self.interface = interface

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Encode the inputs."""
        encoded = self.interface.encode(inputs)
        return *encoded, *self.interface.start(encoded), *self.interface.compute_durations(encoded)


class TickModule(nn.Module):
    """Next state and output of a tick."""

    def __init__(self, interface: ModelInterface) -> None:
        super().__init__()
        self.model = interface.model
        self.interface = interface

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Compute a tick from the tensors of the encoded input and of the state."""
        count = len(self.interface.encoded_specs)
        state, output = self.interface.tick(tensors[count:], tensors[:count])
        energy = () if output.energy is None else (output.energy,)
        return *state, output.answer, output.certainty, *energy


def build_interface(model: TickModel, example_input: Tensor) -> ModelInterface:
    """Return the flat view of a model."""
    scheduled: type[ModelInterface] = ScheduledInterface
    kind = scheduled if model.config.has_input_schedule else INTERFACES[model.config.model_type]
    return kind(model, model.encode(example_input))


@torch.no_grad()
def build_graphs(model: TickModel) -> tuple[Graph, Graph]:
    """Return the graphs `encode` and `tick` of a model in eval mode."""
    assert not model.training, "a model is exported in eval mode"
    input_spec, example_input = build_example_input(model)
    interface = build_interface(model, example_input)
    tick_inputs = (*interface.encoded_specs, *interface.state_specs)
    next_state = tuple(replace(spec, name=f"{NEXT_PREFIX}{spec.name}") for spec in interface.state_specs)
    energy = (ENERGY,) if model.config.energy_head_enabled else ()
    encode = build_graph(
        "encode", EncodeModule(interface), {input_spec: example_input}, (*tick_inputs, *DURATION_SPECS)
    )
    tick = build_graph(
        "tick",
        TickModule(interface),
        {spec: encode.outputs[spec] for spec in tick_inputs},
        (*next_state, LOGITS, CERTAINTY, *energy),
    )
    return encode, tick


def build_graph(
    name: str, module: nn.Module, inputs: dict[TensorSpec, Tensor], output_specs: tuple[TensorSpec, ...]
) -> Graph:
    """Return a graph with the results of its module for the example arguments."""
    outputs = module.eval()(*inputs.values())
    return Graph(name, module, inputs, dict(zip(output_specs, outputs, strict=True)))

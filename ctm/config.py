"""Model configs: the published constructor keys, with bounds.

Paper (arXiv 2505.05522) symbol -> key: T -> iterations, D -> d_model, M -> memory_length, D_out -> n_synch_out,
D_action -> n_synch_action, d_input -> d_input. Every checkpoint of the original code uses these keys, so `config.json`
is a config of this module, dumped flat. `read_config` infers the model type from the keys.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from ctm.messages import truncate_repr
from ctm.settings import Settings

RESNETS = tuple(f"resnet{depth}-{stage}" for depth in (18, 34, 50, 101, 152) for stage in (1, 2, 3, 4))
BACKBONES = (*RESNETS, "shallow-wide", "mnist_backbone", "parity_backbone", "none")
SCHEDULE_KEYS = ("iterations_per_digit", "iterations_per_question_part", "iterations_for_answering")
SCHEDULED_BACKBONE = "qamnist_backbone"  # the input changes from tick to tick: see `ctm.modules.input_schedule`
DEEP_RESNET_PATTERN = re.compile(r"resnet-64x([1-9]|[1-5][0-9]|6[0-4])")  # blocks of the only stage
TOKENS_PATTERN = re.compile(r"tokens-([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")
GRID_PATTERN = re.compile(r"grid-([1-9][0-9]{0,2})x([1-9][0-9]{0,4})")
MAX_TICKS = 2_000
ENERGY_HEAD_INPUT_FLAGS = (
    "energy_sees_certainty",
    "energy_sees_neurons",
)  # settings that select optional inputs of the energy head
# Energy heads that this project trains. The field defaults are those of the energy-halting fork, which has fewer keys.
ENERGY_HEAD_DEFAULTS = {
    "energy_head_enabled": True,
    **dict.fromkeys(ENERGY_HEAD_INPUT_FLAGS, True),
    "energy_hidden_dim": 128,
}
# Keys that transformers, Lightning, PyTorchModelHubMixin and similar tools add to config.json. None of them changes a number
# of a model of this project. Keys that start with an underscore are bookkeeping by the same convention.
FOREIGN_KEYS = {
    "architectures",
    "auto_map",
    "custom_pipelines",
    "dtype",
    "finetuning_task",
    "id2label",
    "label2id",
    "language",
    "library_name",
    "license",
    "model_name",
    "model_type",
    "name_or_path",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "pipeline_tag",
    "problem_type",
    "return_dict",
    "tags",
    "task_specific_params",
    "tokenizer_class",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "use_cache",
    "use_return_dict",
}
IMAGE_POSITIONAL_EMBEDDINGS = ("learnable-fourier", "multi-learnable-fourier", "custom-rotational")


class ModelConfig(Settings):
    """Config keys that all model types share.

    Attributes:
        model_type: Name of the model type, a key of `CONFIG_CLASSES`.
    """

    model_type: ClassVar[str]

    d_model: int = Field(
        ge=1, le=65_536, title="Neurons", description="neurons (D), or width of the state of a baseline"
    )
    backbone_type: str = Field(title="Input encoder", description="module that encodes the input before the first tick")
    positional_embedding_type: Literal[
        "none", "learnable-fourier", "multi-learnable-fourier", "custom-rotational", "custom-rotational-1d"
    ] = Field("none", title="Positional encoding", description="positional encoding that is added to the features")
    out_dims: int = Field(ge=1, le=1_000_000, title="Answer size", description="length of the answer vector")
    prediction_reshaper: tuple[int, ...] = Field(
        (-1,),
        min_length=1,
        max_length=4,
        title="Answer shape",
        description="shape of a structured answer, classes last; [-1] for one choice",
    )
    dropout: float = Field(
        0.0, ge=0, lt=1, title="Dropout", description="dropout in attention and synapses while training"
    )
    energy_head_enabled: bool = Field(
        False, title="Energy head", description="learn an energy that is low when the answer is correct"
    )
    energy_hidden_dim: int = Field(
        64, ge=1, le=65_536, title="Energy head width", description="hidden width of the energy head"
    )
    energy_sees_certainty: bool = Field(
        False, title="Energy reads the certainty", description="give the energy head the certainty of the answer, too"
    )
    energy_sees_neurons: bool = Field(
        False, title="Energy reads the neurons", description="give the energy head the activation of every neuron, too"
    )

    @field_validator("backbone_type")
    @classmethod
    def _check_backbone_type(cls, value: str) -> str:
        if (
            value not in (*BACKBONES, SCHEDULED_BACKBONE)
            and not DEEP_RESNET_PATTERN.fullmatch(value)
            and not TOKENS_PATTERN.fullmatch(value)
            and not GRID_PATTERN.fullmatch(value)
        ):
            raise ValueError(
                "must be resnet{18,34,50,101,152}-{1..4}, resnet-64x{1..64}, shallow-wide, mnist_backbone, parity_backbone, "
                "qamnist_backbone, none, tokens-VxL (V symbols, at most L of them), or grid-GxL (at most L cells of a grid of G x G)"
            )
        return value

    @model_validator(mode="after")
    def _check_consistency(self) -> "ModelConfig":
        for problem in self._find_problems():
            raise ValueError(problem)
        return self

    def _find_problems(self) -> Iterator[str]:
        """Yield one sentence for each setting that contradicts another."""
        takes_images = self.backbone_type.startswith("resnet") or self.backbone_type in (
            "shallow-wide",
            "mnist_backbone",
        )
        if self.backbone_type == "none" and self.positional_embedding_type != "none":
            yield "Without a backbone there are no positions to encode: set positional_embedding_type to none."
        if self.positional_embedding_type in IMAGE_POSITIONAL_EMBEDDINGS and not takes_images:
            yield f"positional_embedding_type={self.positional_embedding_type} needs a backbone for images."
        if self.positional_embedding_type == "custom-rotational-1d" and takes_images:
            yield "positional_embedding_type=custom-rotational-1d needs a backbone for sequences."
        if self.has_input_schedule and self.model_type != "ctm":
            yield f"backbone_type={SCHEDULED_BACKBONE} needs model type ctm: got {self.model_type}."
        try:
            self.answer_shape  # noqa: B018 -- raises when the shape does not fit
        except ValueError as error:
            yield str(error)

    @property
    def has_input_schedule(self) -> bool:
        """Whether the input changes from tick to tick; the input then determines the number of ticks."""
        return self.backbone_type == SCHEDULED_BACKBONE

    @property
    def answer_shape(self) -> tuple[int, int]:
        """(positions, classes) of the answer vector, from `prediction_reshaper` and `out_dims`.

        Raises:
            ValueError: `prediction_reshaper` does not fit `out_dims`, or there are fewer than 2 classes.
        """
        classes = self.prediction_reshaper[-1]
        product = 1
        num_free = 0
        for size in self.prediction_reshaper:
            if size == 0 or size < -1:
                raise ValueError(
                    f"prediction_reshaper must hold sizes of at least 1, or one -1: got {truncate_repr(size)}."
                )
            if size == -1:
                num_free += 1
            else:
                product *= size
        if num_free > 1 or self.out_dims % product or (not num_free and product != self.out_dims):
            raise ValueError(
                f"prediction_reshaper={truncate_repr(list(self.prediction_reshaper))} does not fit "
                f"out_dims={self.out_dims}."
            )
        classes = self.out_dims // product if classes == -1 else classes
        if classes < 2:
            raise ValueError(f"An answer needs at least 2 classes to choose from: got {classes}.")
        return self.out_dims // classes, classes

    def to_dict(self) -> dict[str, Any]:
        """Return the constructor arguments of the published code.

        Energy keys are included only if there is an energy head. `energy_sees_*` are included only if set, because the
        energy-halting fork does not know them.
        """
        values = self.model_dump(mode="json")
        if not self.energy_head_enabled:
            del values["energy_head_enabled"], values["energy_hidden_dim"]
        for flag in ENERGY_HEAD_INPUT_FLAGS:
            if not (self.energy_head_enabled and values[flag]):
                del values[flag]
        return values


class CTMConfig(ModelConfig):
    """Config of a Continuous Thought Machine, under the published names."""

    model_type: ClassVar[str] = "ctm"

    iterations: int = Field(ge=1, le=MAX_TICKS, title="Ticks", description="internal ticks (T in the paper)")
    d_input: int = Field(ge=1, le=65_536, title="Attention width", description="width of the attention output")
    heads: int = Field(
        ge=0,
        le=1_024,
        title="Attention heads",
        description="attention heads; 0 feeds the raw input to the neurons at every tick",
    )
    n_synch_out: int = Field(
        ge=1,
        le=65_536,
        title="Neurons read for the answer",
        description="neurons whose synchronisation gives the answer",
    )
    n_synch_action: int = Field(
        ge=0,
        le=65_536,
        title="Neurons read for attention",
        description="neurons whose synchronisation gives the attention query",
    )
    synapse_depth: int = Field(
        ge=1, le=64, title="Synapse depth", description="1 for a single layer, more for a U-Net of that depth"
    )
    memory_length: int = Field(
        ge=1, le=4_096, title="Neuron memory", description="ticks in the history of a neuron (M)"
    )
    deep_nlms: bool = Field(
        True, title="Hidden layer in neuron models", description="neuron-level models with a hidden layer"
    )
    memory_hidden_dims: int = Field(
        ge=1, le=4_096, title="Neuron model width", description="hidden width of a neuron-level model"
    )
    do_layernorm_nlm: bool = Field(
        False, title="Normalise neuron histories", description="normalise the history of each neuron"
    )
    dropout_nlm: float | None = Field(
        None, ge=0, lt=1, title="Dropout of neuron histories", description="dropout on histories; default: `dropout`"
    )
    neuron_select_type: Literal["first-last", "random", "random-pairing"] = Field(
        "random-pairing", title="Choice of neuron pairs", description="how synchronised neuron pairs are chosen"
    )
    n_random_pairing_self: int = Field(
        0, ge=0, le=65_536, title="Neurons paired with themselves", description="neurons paired with themselves"
    )
    iterations_per_digit: int | None = Field(
        None, ge=1, le=200, title="Ticks per image", description="input schedule: ticks per image"
    )
    iterations_per_question_part: int | None = Field(
        None, ge=1, le=200, title="Ticks per question token", description="input schedule: ticks per question token"
    )
    iterations_for_answering: int | None = Field(
        None, ge=1, le=200, title="Ticks for the answer", description="input schedule: ticks after the longest row"
    )

    @model_validator(mode="before")
    @classmethod
    def _infer_backbone_type(cls, values: Any) -> Any:
        """Set `backbone_type` of a config with phases: the published class has a single backbone and no such key."""
        if isinstance(values, dict) and all(values.get(key) is not None for key in SCHEDULE_KEYS):
            return {"backbone_type": SCHEDULED_BACKBONE} | values
        return values

    def _find_problems(self) -> Iterator[str]:
        if self.heads and self.d_input % self.heads:
            yield f"d_input must be a multiple of heads: got d_input={self.d_input}, heads={self.heads}."
        if self.heads and not self.n_synch_action:
            yield "Attention needs a query: set n_synch_action above 0, or heads to 0."
        if not self.heads and self.backbone_type != "none":
            yield f"heads=0 hands over the raw input: set backbone_type to none (got {self.backbone_type})."
        yield from self._find_schedule_problems()
        if self.neuron_select_type == "first-last" and self.d_model < self.n_synch_out + self.n_synch_action:
            yield (
                "first-last needs d_model of at least n_synch_out + n_synch_action: "
                f"got {self.d_model} < {self.n_synch_out} + {self.n_synch_action}."
            )
        if self.neuron_select_type == "random-pairing":
            for name in ("n_synch_out", "n_synch_action"):
                count = getattr(self, name)
                if count and count <= self.n_random_pairing_self:
                    yield f"{name} must exceed n_random_pairing_self: got {count}, {self.n_random_pairing_self}."
        elif max(self.n_synch_out, self.n_synch_action) > 1_024:
            yield f"{self.neuron_select_type} pairs all with all: n_synch_out and n_synch_action may be 1024 at most."
        if self.d_model * (self.memory_length + self.iterations) > 100_000_000:
            yield "Histories of all neurons would not fit memory: lower d_model, memory_length or iterations."
        yield from super()._find_problems()

    def _find_schedule_problems(self) -> Iterator[str]:
        """Yield one sentence for each problem of the input schedule."""
        keys = [key for key in SCHEDULE_KEYS if getattr(self, key) is not None]
        if bool(keys) != self.has_input_schedule or 0 < len(keys) < len(SCHEDULE_KEYS):
            yield (
                f"backbone_type={SCHEDULED_BACKBONE} and {', '.join(SCHEDULE_KEYS)} need each other: set all of them or "
                "none."
            )
        if self.has_input_schedule and self.positional_embedding_type != "none":
            yield f"backbone_type={SCHEDULED_BACKBONE} adds no positions: set positional_embedding_type to none."
        if self.has_input_schedule and self.d_input % 2:
            yield f"backbone_type={SCHEDULED_BACKBONE} needs an even d_input: got {self.d_input}."

    def compute_synch_size(self, neurons: int) -> int:
        """Return the number of pairs that `neurons` selected neurons form.

        Paper section 3.4; published as `calculate_synch_representation_size`.
        """
        return neurons if self.neuron_select_type == "random-pairing" else neurons * (neurons + 1) // 2

    def to_dict(self) -> dict[str, Any]:
        """Return the constructor arguments of the published code; see `ModelConfig.to_dict`.

        The published class for input schedules takes fewer keys.
        """
        values = super().to_dict()
        if self.has_input_schedule:
            del values["backbone_type"], values["positional_embedding_type"]
            if self.dropout_nlm is None:
                del values["dropout_nlm"]
        else:
            for key in SCHEDULE_KEYS:
                del values[key]
        return values


class LSTMConfig(ModelConfig):
    """Config of the published LSTM baseline.

    The hidden state of the last layer gives the attention query and the readout input.
    """

    model_type: ClassVar[str] = "lstm"

    iterations: int = Field(ge=1, le=MAX_TICKS, title="Ticks", description="internal ticks (T in the paper)")
    d_input: int = Field(ge=1, le=65_536, title="Attention width", description="width of the attention output")
    heads: int = Field(ge=1, le=1_024, title="Attention heads", description="attention heads")
    num_layers: int = Field(1, ge=1, le=64, title="LSTM layers", description="layers of the LSTM")

    def _find_problems(self) -> Iterator[str]:
        if self.d_input % self.heads:
            yield f"d_input must be a multiple of heads: got d_input={self.d_input}, heads={self.heads}."
        yield from super()._find_problems()


class FFConfig(ModelConfig):
    """Config of the published feed-forward baseline: mean over all positions, one hidden layer, one tick."""

    model_type: ClassVar[str] = "ff"
    iterations: ClassVar[int] = 1
    heads: ClassVar[int] = 0

    @property
    def d_input(self) -> int:
        """Width of sequence embeddings; the published class takes images only and has no key for it."""
        return self.d_model

    def to_dict(self) -> dict[str, Any]:
        """Return the published constructor arguments.

        Keys of this project are included only if they differ from the default; energy keys as in `ModelConfig.to_dict`.
        """
        fields = type(self).model_fields
        return {
            name: value
            for name, value in super().to_dict().items()
            if name in ("dropout", "backbone_type")
            or name.startswith("energy_")
            or getattr(self, name) != fields[name].default
        }


class ModelTypeConfig(Settings):
    """Model type that a recipe or a form selects.

    Published configs have no such key: see `infer_model_type`.
    """

    kind: Literal["ctm", "lstm", "ff"] = Field(
        "ctm", title="Architecture", description="model type: CTM, or for comparison an LSTM or a feed-forward network"
    )


Config = CTMConfig | LSTMConfig | FFConfig
CONFIG_CLASSES: dict[str, type[CTMConfig] | type[LSTMConfig] | type[FFConfig]] = {
    "ctm": CTMConfig,
    "lstm": LSTMConfig,
    "ff": FFConfig,
}


def read_config(values: Any, prefix: str = "") -> Config:
    """Validate the constructor keys of any model type.

    Args:
        values: Config keys, with `kind` or without; without it the model type is inferred from the keys.
        prefix: Dotted prefix of setting names in messages.

    Raises:
        ValueError: The values are not valid; one line per problem.
    """
    if not isinstance(values, Mapping):
        return CTMConfig.parse(values, prefix)  # raises the error
    kind = values.get("kind", infer_model_type(values))
    if not isinstance(kind, str) or kind not in CONFIG_CLASSES:
        name = f"{prefix}.kind" if prefix else "kind"
        raise ValueError(f"Setting `{name}` must be one of {', '.join(CONFIG_CLASSES)}: got {truncate_repr(kind)}.")
    return CONFIG_CLASSES[kind].parse({key: value for key, value in values.items() if key != "kind"}, prefix)


def read_published_config(values: Any, prefix: str = "") -> Config:
    """Validate the content of a `config.json`, which may have keys of other tools; see `read_config`.

    Raises:
        ValueError: The values are not valid; one line per problem.
    """
    return read_config(drop_foreign_keys(values) if isinstance(values, Mapping) else values, prefix)


def drop_foreign_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config without `FOREIGN_KEYS` and without keys that start with an underscore."""
    return {key: value for key, value in values.items() if key not in FOREIGN_KEYS and not str(key).startswith("_")}


def infer_model_type(config_dict: Mapping[str, Any]) -> str:
    """Return the model type of a published config.

    Only an LSTM has `num_layers`, and only a feed-forward baseline has no ticks.
    """
    if "num_layers" in config_dict:
        return "lstm"
    ff_keys = set(FFConfig.model_fields)
    if config_dict.keys() & ff_keys and not config_dict.keys() & (CTMConfig.model_fields.keys() - ff_keys):
        return "ff"
    return "ctm"


def get_max_ticks(config_dict: Mapping[str, Any]) -> int:
    """Return the maximum number of ticks of an unroll.

    With an input schedule the number of ticks depends on the input, not on `iterations`.
    """
    return MAX_TICKS if get_backbone_type(config_dict) == SCHEDULED_BACKBONE else config_dict.get("iterations", 1)


def get_backbone_type(config_dict: Mapping[str, Any]) -> str | None:
    """Return the `backbone_type` of a published config; configs with phases omit the key."""
    return SCHEDULED_BACKBONE if all(key in config_dict for key in SCHEDULE_KEYS) else config_dict.get("backbone_type")

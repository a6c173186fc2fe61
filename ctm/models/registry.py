"""Registry of model types, and functions that select the class by the config."""

from ctm.config import Config
from ctm.models.base import TickModel
from ctm.models.baselines import FFBaseline, LSTMBaseline
from ctm.models.ctm import ContinuousThoughtMachine

MODEL_TYPES: dict[str, type[TickModel]] = {"ctm": ContinuousThoughtMachine, "lstm": LSTMBaseline, "ff": FFBaseline}


def build_model(config: Config, in_features: int | None = None, seed: int = 0) -> TickModel:
    """Build the model of a config.

    Args:
        config: Config of any model type.
        in_features: See `TickModel`.
        seed: See `TickModel`.

    Raises:
        ValueError: See `TickModel`.
    """
    return MODEL_TYPES[config.model_type](config, in_features, seed)


def count_parameters(config: Config, in_features: int | None = None) -> int:
    """Return the number of weights that a checkpoint of this config holds, without allocating any."""
    return MODEL_TYPES[config.model_type].count_parameters(config, in_features)


def check_parameter_limit(config: Config, in_features: int | None) -> None:
    """Check that a model of this config holds at most `MAX_PARAMETERS` numbers.

    Raises:
        ValueError: See `TickModel.check_parameter_limit`.
    """
    MODEL_TYPES[config.model_type].check_parameter_limit(config, in_features)

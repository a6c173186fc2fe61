"""Every kind of thinker by its config: the one place that knows them all."""

from ctm.config import Config
from ctm.models.base import TickModel, check_class_parameter_limit, count_class_parameters
from ctm.models.baselines import FFBaseline, LSTMBaseline
from ctm.models.ctm import ContinuousThoughtMachine

MODEL_TYPES: dict[str, type[TickModel]] = {"ctm": ContinuousThoughtMachine, "lstm": LSTMBaseline, "ff": FFBaseline}


def build_model(config: Config, in_features: int | None = None, seed: int = 0) -> TickModel:
    """The thinker that a config is of; arguments and errors as `TickModel` has them."""
    return MODEL_TYPES[config.model_type](config, in_features, seed)


def count_parameters(config: Config, in_features: int | None = None) -> int:
    """Number of weights of a thinker, as its file will hold them, without allocating any."""
    return count_class_parameters(MODEL_TYPES[config.model_type], config, in_features)


def check_parameter_limit(config: Config, in_features: int | None) -> None:
    """Raise `ValueError` where a thinker would be too large to be made."""
    check_class_parameter_limit(MODEL_TYPES[config.model_type], config, in_features)

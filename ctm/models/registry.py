"""Every kind of thinker by its config: the one place that knows them all."""

from ctm.config import Config
from ctm.models.base import Thinker, count_of, refuse_size_of
from ctm.models.baselines import FFBaseline, LSTMBaseline
from ctm.models.ctm import ContinuousThoughtMachine

KINDS: dict[str, type[Thinker]] = {"ctm": ContinuousThoughtMachine, "lstm": LSTMBaseline, "ff": FFBaseline}


def make(config: Config, in_features: int | None = None, seed: int = 0) -> Thinker:
    """The thinker that a config is of; arguments and errors as `Thinker` has them."""
    return KINDS[config.kind](config, in_features, seed)


def count_parameters(config: Config, in_features: int | None = None) -> int:
    """Number of weights of a thinker, as its file will hold them, without allocating any."""
    return count_of(KINDS[config.kind], config, in_features)


def refuse_absurd_size(config: Config, in_features: int | None) -> None:
    """Raise `ValueError` where a thinker would be too large to be made."""
    refuse_size_of(KINDS[config.kind], config, in_features)

"""View model of the gallery: a card per checkpoint, groups, and findings, as JSON data."""

import logging
from collections.abc import Mapping
from typing import Any

from ctm.config import get_max_ticks, infer_model_type
from inference.halting.evidence import format_accuracy
from training.tasks import Task
from ui.services.gallery_metrics import (
    Evaluation,
    build_figure,
    fill_text,
    get_evaluation,
    get_position_accuracy,
)
from ui.services.gallery_settings import DEFAULT_GROUP, CheckpointText, GallerySettings, Study

GROUPS = {
    "think": "Solve by thinking",
    "compare": "Compare architectures",
    "experiments": "Experiments",
    "runs": "Trained here",
    "hub": "From the Hub",
}
INPUT_NAMES = {"image": "picture", "text": "sequence"}
MODEL_NAMES = {"ctm": "", "lstm": "LSTM", "ff": "feed-forward"}
MAX_RARE_ACCURACY = 0.5  # up to here, the accuracy of single positions says more
FALLBACK_ACTIONS = {"image": "Give it a picture.", "text": "Type an input."}

log = logging.getLogger(__name__)


def build_card(
    name: str,
    origin: str,
    task: Task | None,
    config: Mapping[str, Any],
    metrics: dict[str, Any],
    text: CheckpointText | None = None,
) -> dict[str, Any]:
    """Return the card of a checkpoint whose metadata is known.

    Args:
        name: Name of the checkpoint.
        origin: "bundled", "run" or "hub".
        task: Its task; None if it is not known.
        config: Contents of config.json.
        metrics: Contents of metrics.json.
        text: Title, group and action from gallery.yaml.
    """
    evaluation = get_evaluation(metrics)
    model_type = infer_model_type(config)
    input_type = task.input_type if task else ""
    return {
        "name": name,
        "title": text.title if text else (task.title if task else shorten_name(name)),
        "detail": "" if origin == "bundled" else shorten_name(name),
        "group": {"run": "runs", "hub": "hub"}.get(origin, text.group if text else DEFAULT_GROUP),
        "action": text.action if text else FALLBACK_ACTIONS.get(input_type, ""),
        "accuracy": evaluation["accuracy_halted"] if evaluation else None,
        "note": describe_positions(evaluation),
        "ticks": evaluation["mean_ticks"] if evaluation else None,
        "iterations": evaluation["iterations"] if evaluation else get_max_ticks(dict(config)),
        "tags": list_tags(origin, input_type, model_type),
        "model": MODEL_NAMES.get(model_type, ""),
        "status": "",
        "thumbnail": "",
    }


def build_unknown_card(name: str, origin: str, status: str) -> dict[str, Any]:
    """Return the card of a checkpoint of which only the name is known.

    Args:
        name: Name of the checkpoint.
        origin: "bundled", "run" or "hub".
        status: Why no more is known.
    """
    return {
        "name": name,
        "title": shorten_name(name),
        "group": {"run": "runs", "hub": "hub"}.get(origin, DEFAULT_GROUP),
        "tags": list_tags(origin, "", "ctm"),
        "status": status,
        "thumbnail": "",
    }


def describe_positions(evaluation: Evaluation | None) -> str:
    """Return the accuracy of single positions where whole answers are rarely correct; else an empty text."""
    places = get_position_accuracy(evaluation) if evaluation else None
    if evaluation is None or places is None or evaluation["accuracy_halted"] > MAX_RARE_ACCURACY:
        return ""
    return f"{format_accuracy(places)} of single positions"


def list_tags(origin: str, input_type: str, model_type: str) -> list[str]:
    """Return what the filters of the gallery look at."""
    tags = [INPUT_NAMES[input_type]] if input_type in INPUT_NAMES else []
    tags += ["baseline"] if model_type != "ctm" else []
    return tags + {"run": ["run"], "hub": ["hub"]}.get(origin, [])


def shorten_name(name: str) -> str:
    """Return a name without prefix, and with an abbreviated commit."""
    bare = name.removeprefix("run:")
    repo, separator, rest = bare.partition("@")
    return f"{repo} @ {rest[:7]}" if separator and "/" in repo else bare


def order_cards(cards: list[dict[str, Any]], settings: GallerySettings) -> list[dict[str, Any]]:
    """Return cards in the order of gallery.yaml; others keep their order, after those of their group."""
    ranks = {name: rank for rank, name in enumerate(settings.checkpoints)}
    return sorted(cards, key=lambda card: (list(GROUPS).index(card["group"]), ranks.get(card["name"], len(ranks))))


def build_studies(settings: GallerySettings, metrics: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the findings whose checkpoints are there and were measured.

    Args:
        settings: Contents of gallery.yaml.
        metrics: metrics.json by checkpoint.
    """
    studies = []
    for study in settings.studies:
        try:
            evaluations = read_evaluations(study, metrics)
            studies.append(
                {
                    "group": study.group,
                    "title": study.title,
                    "text": fill_text(study.text, evaluations),
                    "checkpoints": study.checkpoints,
                    "figure": build_figure(study.figure, study.axis, get_labels(study, settings), evaluations),
                }
            )
        except ValueError as error:  # a checkpoint was removed or is not measured
            log.warning("The study %r is left out: %s", study.title, error)
    return studies


def get_labels(study: Study, settings: GallerySettings) -> dict[str, str]:
    """Return the label of every checkpoint in the figure of a study; without one its title."""
    texts = settings.checkpoints
    titles = {name: texts[name].title if name in texts else name for name in study.checkpoints}
    return titles | dict(zip(study.checkpoints, study.labels, strict=False))


def read_evaluations(study: Study, metrics: Mapping[str, dict[str, Any]]) -> dict[str, Evaluation]:
    """Return the evaluation of every checkpoint of a study.

    Raises:
        ValueError: A checkpoint does not exist or was not measured.
    """
    evaluations = {}
    for name in study.checkpoints:
        evaluation = get_evaluation(metrics.get(name, {}))
        if evaluation is None:
            raise ValueError(f"{name} does not exist or was not measured")
        evaluations[name] = evaluation
    return evaluations

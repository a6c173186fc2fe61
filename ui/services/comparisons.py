"""Comparisons: the same input with other halting policies, or with other checkpoints of the same task."""

from collections.abc import Callable
from typing import Any, Protocol

from ctm.config import infer_model_type
from ui.services.image_decoding import decode_image
from ui.services.model_catalog import ModelCatalog

MAX_COMPARED = 3  # rows of a comparison besides the prediction itself
ROW_KEYS = ("policy", "ticks", "iterations", "answer_tick", "certainty", "halted_by", "milliseconds", "verdict")
MODEL_NAMES = {"ctm": "CTM", "lstm": "LSTM", "ff": "Feed-forward model"}
UNKNOWN_CHOICE = "This cannot be compared: choose a rule or a model of the same task."


class Predictor(Protocol):
    """What runs a prediction, see `InferenceService.predict`."""

    def __call__(self, name: str, user_input: Any, policy: str) -> dict[str, Any]:
        """Return the record of the unroll."""


class Comparisons:
    """Lists and runs what a prediction can be compared with.

    Args:
        catalog: Catalog of checkpoints.
        predict: Runs a prediction.
        get_info: Returns what the page shows of a checkpoint.
        get_label: Returns the label of a checkpoint.
        get_manifest: Returns what a browser needs to run a checkpoint; None if only the server can.
    """

    def __init__(
        self,
        catalog: ModelCatalog,
        predict: Predictor,
        get_info: Callable[[str], Any],
        get_label: Callable[[str], str],
        get_manifest: Callable[[str], dict[str, Any] | None],
    ) -> None:
        self._catalog = catalog
        self._predict = predict
        self._get_info = get_info
        self._get_label = get_label
        self._get_manifest = get_manifest

    def list_choices(self, name: str) -> list[dict[str, Any]]:
        """Return what a prediction of a checkpoint can be compared with.

        Returns:
            One dictionary per choice: `value` for `run`, `name` for the visitor, `policy` of a rule, type `model` of another
            checkpoint, and `is_baseline`: whether that checkpoint answers the same task with the same settings and is of
            another type.

        Raises:
            ValueError: The checkpoint does not exist or is invalid.
        """
        info = self._get_info(name)
        task, metadata = self._catalog.read_local(name)
        own_type = get_model_type(metadata["config"])
        policies = info.policy_options.items() if info.iterations > 1 else ()
        choices = [
            {"value": f"rule:{policy}", "name": f"Rule: {option.name}", "policy": policy, "model": ""}
            for policy, option in policies
        ]
        for other in self._catalog.list_names():
            if other == name or (found := self._read_task(other)) is None or found[0].title != task.title:
                continue
            other_type = get_model_type(found[1]["config"])
            is_baseline = other_type != own_type and found[0].settings == task.settings
            label = f"{MODEL_NAMES[other_type]} ({other})" if is_baseline else f"Model: {self._get_label(other)}"
            choices.append(
                {
                    "value": f"model:{other}",
                    "name": label,
                    "policy": "",
                    "model": other_type,
                    "is_baseline": is_baseline,
                }
            )
        return choices

    def _read_task(self, name: str) -> tuple[Any, dict[str, Any]] | None:
        """Return task and metadata of a checkpoint; None if it is invalid, which is reported once it is selected."""
        try:
            return self._catalog.read_local(name)
        except (ValueError, OSError):
            return None

    def get_manifests(self, name: str, values: Any) -> dict[str, dict[str, Any] | None]:
        """Return the manifest of the checkpoint of each choice, see `build_manifest`; None where only the server can run it.

        Args:
            name: The selected checkpoint.
            values: Values of `list_choices`, from a client.
        """
        chosen = self._select(name, values)
        return {value: self._get_manifest(checkpoint) for value, (checkpoint, _) in chosen.items()}

    def run(self, name: str, user_input: Any, values: Any) -> dict[str, dict[str, Any]]:
        """Predict an input with other policies or checkpoints.

        Args:
            name: The selected checkpoint.
            user_input: A text, or an image as a `data:` URL, from a client.
            values: Values of `list_choices`, from a client; the first `MAX_COMPARED` are used.

        Returns:
            The row of each choice, see `build_comparison_row`; a `problem` where it failed.
        """
        try:
            content = self._read_input(name, user_input)
        except ValueError as error:
            return {value: {"problem": str(error)} for value in read_values(values)}
        chosen = self._select(name, values)
        rows = {}
        for value in read_values(values):
            if value not in chosen:
                rows[value] = {"problem": UNKNOWN_CHOICE}
                continue
            try:
                rows[value] = build_comparison_row(self._predict(chosen[value][0], content, chosen[value][1]))
            except ValueError as error:
                rows[value] = {"problem": str(error)}
        return rows

    def _read_input(self, name: str, user_input: Any) -> Any:
        """Return the input as a prediction takes it.

        Raises:
            ValueError: It is no text, or no image as a `data:` URL. A path would name a file of this host.
        """
        text = user_input if isinstance(user_input, str) else ""
        if self._get_info(name).input_type == "text":
            return text
        return decode_image(text if text.startswith("data:") else None)

    def _select(self, name: str, values: Any) -> dict[str, tuple[str, str]]:
        """Return checkpoint and policy of the choices that exist."""
        try:
            known = {choice["value"]: choice["policy"] for choice in self.list_choices(name)}
        except ValueError:
            return {}
        return {
            value: (name, known[value]) if value.startswith("rule:") else (value.removeprefix("model:"), "")
            for value in read_values(values)
            if value in known
        }


def read_values(values: Any) -> list[str]:
    """Return the choices of a client; at most `MAX_COMPARED`."""
    return [value for value in values if isinstance(value, str)][:MAX_COMPARED] if isinstance(values, list) else []


def get_model_type(config: dict[str, Any]) -> str:
    """Return the type of a model: "ctm", "lstm" or "ff"."""
    kind = str(config.get("kind") or infer_model_type(config))
    return kind if kind in MODEL_NAMES else "ctm"


def build_comparison_row(record: dict[str, Any]) -> dict[str, Any]:
    """Return the row of a comparison for one prediction."""
    return {"answers": record["labels_by_tick"], **{key: record[key] for key in ROW_KEYS}}

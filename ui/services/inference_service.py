"""Inference for the tabs: plain data in, plain data out.

Tabs pass the name of a checkpoint and the user's input; they receive dictionaries of numbers and sentences.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ctm.checkpoint.preview import Preview
from ctm.config import get_max_ticks
from inference.dynamic_batcher import MAX_BATCH_SIZE
from training.pipeline import MAX_TEXT_CHARS, build_response
from training.tasks import Task
from training.tasks.base import IncompleteInputError
from ui.services.browser_checkpoint import BrowserCheckpoints, build_manifest
from ui.services.example_files import ExampleFiles
from ui.services.halting_view_model import PolicyOption, build_halting_view, build_policy_options, summarize_metrics
from ui.services.image_decoding import decode_image, encode_data_url
from ui.services.model_cache import ModelCache
from ui.services.model_catalog import ModelCatalog, split_purpose

MAX_COMPARED = 3  # rows of a comparison besides the prediction itself


@dataclass(frozen=True)
class CheckpointInfo:
    """What the Think tab shows of a checkpoint before a prediction.

    Attributes:
        name: Name in the catalog.
        title: Title of its task.
        input_type: "image" or "text".
        supports_drawing: Whether a drawing is a sensible input.
        supports_generation: Whether `generate_input` creates new inputs.
        input_editor: Editor of inputs, see `Task.input_editor`; None if there is none.
        input_hint: What the task expects.
        examples: Paths of example images, or example texts.
        policy_options: Halting policies by their text, the default first.
        iterations: Maximum number of ticks.
        summary: One line of measured figures.
    """

    name: str
    title: str
    input_type: str
    supports_drawing: bool
    supports_generation: bool
    input_editor: dict[str, Any] | None
    input_hint: str
    examples: list[Any]
    policy_options: dict[str, PolicyOption]
    iterations: int
    summary: str


class InferenceService:
    """Describes checkpoints and runs predictions with them. Thread-safe.

    Args:
        catalog: Catalog of checkpoints.
        max_batch_size: Maximum number of requests in one batch of a model.
    """

    def __init__(self, catalog: ModelCatalog, max_batch_size: int = MAX_BATCH_SIZE) -> None:
        self.catalog = catalog
        self._models = ModelCache(catalog, max_batch_size)
        self._example_files = ExampleFiles()
        self.browser_checkpoints = BrowserCheckpoints(
            catalog.get_local_dir, lambda name: self._models.load(name).pipeline
        )

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def list_checkpoint_names(self) -> list[str]:
        """Return the names of the local checkpoints, the default one first."""
        return self.catalog.list_names()

    def get_checkpoint_info(self, name: str) -> CheckpointInfo:
        """Return what the Think tab shows of a local checkpoint. Does not load its weights.

        Raises:
            ValueError: The checkpoint does not exist or is invalid.
        """
        task, metadata = self.catalog.read_local(name)
        iterations = get_max_ticks(metadata["config"])
        return CheckpointInfo(
            name=name,
            title=task.title,
            input_type=task.input_type,
            supports_drawing=task.supports_drawing,
            supports_generation=task.supports_generation,
            input_editor=task.input_editor,
            input_hint=task.input_hint,
            examples=self._list_examples(task, metadata["preview"]),
            policy_options=build_policy_options(metadata["halting"], iterations, bool(task.get_spec().ctc_length)),
            iterations=iterations,
            summary=summarize_metrics(metadata["metrics"]),
        )

    def _list_examples(self, task: Task, preview: Preview | None) -> list[Any]:
        """Return the example inputs of a checkpoint: those that were published with it, else those of its task."""
        if preview is None or preview.input_type != task.input_type:
            return task.get_examples()
        examples = preview.inputs if preview.input_type == "text" else self._example_files.list_paths(preview)
        return list(examples) or task.get_examples()

    def get_browser_manifest(self, name: str) -> dict[str, Any] | None:
        """Return what a browser needs to run a checkpoint, see `build_manifest`; None if only the server can.

        Loads the checkpoint the first time.
        """
        try:
            checkpoint = self.browser_checkpoints.get(name)
        except (ValueError, OSError):  # the user who runs it gets the error
            return None
        return None if checkpoint is None else build_manifest(checkpoint, f"weights/{checkpoint.digest}")

    def get_halting_view(self, name: str) -> dict[str, Any]:
        """Return the data of the halting view of a local checkpoint, see `build_halting_view`."""
        metadata = self.catalog.read_local(name)[1]
        return build_halting_view(metadata["halting"], metadata["metrics"], get_max_ticks(metadata["config"]))

    def list_comparison_choices(self, name: str) -> list[tuple[str, str]]:
        """Return what a prediction can be compared with: other policies, and other checkpoints of the same task.

        Returns:
            Pairs of label and value, for `compare`.
        """
        info = self.get_checkpoint_info(name)
        titles = {other: self._get_title(other) for other in self.list_checkpoint_names() if other != name}
        options = info.policy_options.items() if info.iterations > 1 else ()
        policies = [(f"Rule: {option.name}", f"rule:{policy}") for policy, option in options]
        same_task = [other for other, title in titles.items() if title == info.title]
        return policies + [
            (f"Model: {format_checkpoint_label(other, info.title)}", f"model:{other}") for other in same_task
        ]

    def compare(self, record: dict[str, Any], user_input: Any, choices: list[str]) -> list[dict[str, Any]]:
        """Predict the same input with other policies or checkpoints.

        Args:
            record: Record of the prediction to compare with.
            user_input: Its input, see `predict`.
            choices: Values of `list_comparison_choices`; the first `MAX_COMPARED` are used.

        Returns:
            One row per prediction, the given one first. A row that failed has a `problem`.
        """
        name = record["checkpoint"]
        labels = {choice: label for label, choice in self.list_comparison_choices(name)}
        rows = [build_comparison_row("Your rule", record)]
        for choice in choices[:MAX_COMPARED]:
            kind, _, value = choice.partition(":")
            checkpoint, policy = (name, value) if kind == "rule" else (value, "")
            try:
                rows.append(build_comparison_row(labels[choice], self.predict(checkpoint, user_input, policy)))
            except (ValueError, KeyError) as error:
                rows.append({"name": labels.get(choice, "?"), "problem": str(error)})
        return rows

    def list_checkpoint_labels(self) -> list[tuple[str, str]]:
        """Return label and name of every local checkpoint."""
        return [(format_checkpoint_label(name, self._get_title(name)), name) for name in self.list_checkpoint_names()]

    def _get_title(self, name: str) -> str:
        try:
            return self.catalog.read_local(name)[0].title
        except ValueError:  # invalid, or of an unknown task: reported once it is selected
            return ""
        except Exception:  # one invalid checkpoint must not hide the others
            logging.getLogger(__name__).exception("The checkpoint %s cannot be described", name)
            return ""

    # --- models --------------------------------------------------------------------------------------------------

    def list_catalog(self) -> list[tuple[str, str]]:
        """Return label and name of every local checkpoint, then of the listed Hub models that are not downloaded."""
        return [*self.list_checkpoint_labels(), *self.list_remote()]

    def list_remote(self) -> list[tuple[str, str]]:
        """Return label and name of the listed Hub models that are not downloaded."""
        return [(f"{name} · on the Hub", name) for name in self.catalog.list_remote()]

    def describe(self, name: str) -> dict[str, Any]:
        """Return everything that the Models tab shows of a checkpoint. May query the Hub, so it may block for seconds."""
        entry = self.catalog.describe(name)
        description = entry.description
        return {
            "name": entry.name,
            "origin": entry.origin,
            "page": self.catalog.get_hub_url(entry.name),
            "is_downloaded": description.is_downloaded,
            "is_ready": bool(description.is_downloaded and entry.task),
            "title": entry.task.title if entry.task else "",
            "choices": list(entry.task_choices),
            "revision": description.revision,
            "updated": description.last_modified,
            "size": description.size_bytes,
            "summary": summarize_metrics(description.metrics),
            "config": description.config,
            "halting": description.halting,
            "metrics": description.metrics,
            "published": self.catalog.get_publication_status(entry.name),
            "card": description.card,
            "example": get_preview_sentence(description.preview),
        }

    def download(self, name: str) -> None:
        """Start to download a checkpoint from the Hub in the background."""
        self.catalog.download(name)

    def cancel_download(self, name: str) -> None:
        """Cancel a download, if it is running."""
        if download := self.catalog.get_download(name):
            download.cancel()

    def get_download_status(self, name: str) -> dict[str, Any] | None:
        """Return the status of a download, or None if there is none."""
        download = self.catalog.get_download(name)
        if download is None:
            return None
        share = download.downloaded_bytes / download.total_bytes if download.total_bytes else 0.0
        return {
            "running": download.is_running,
            "sentence": download.describe_status(),
            "share": share,
            "state": download.state,
        }

    # --- predictions ------------------------------------------------------------------------------------------------

    def warm_up(self) -> None:
        """Run one prediction with the default checkpoint, because loading it takes longest."""
        for name in self.list_checkpoint_names()[:1]:
            try:
                info = self.get_checkpoint_info(name)
                example = info.examples[0]
                self.predict(name, decode_image(str(example)) if info.input_type == "image" else example, "")
            except Exception:  # the user who selects it gets the error
                logging.getLogger(__name__).warning("The checkpoint %s could not be tried", name, exc_info=True)

    def generate_input(self, name: str, seed: int) -> Any:
        """Return a new input for a checkpoint whose info has `supports_generation`."""
        return self._models.load(name).pipeline.task.generate_input(seed)

    def get_editor_image(self, name: str, image: np.ndarray) -> str:
        """Return an image as the task of a checkpoint reads it, for its editor.

        Args:
            name: Name of the checkpoint.
            image: Pixels of shape (H, W, 3) in [0, 1].

        Returns:
            A `data:` URL; parts that are not recognised are missing, and a user can add them.

        Raises:
            ValueError: The task cannot read the image. The message is one sentence for the user.
        """
        task, _ = self.catalog.read_local(name)
        try:
            display = task.parse_input(image).display
        except IncompleteInputError as error:
            display = error.display
        return encode_data_url(display["pixels"])

    def predict(self, name: str, user_input: Any, policy: str) -> dict[str, Any]:
        """Run the model of a checkpoint on a user's input.

        Args:
            name: Name of the checkpoint.
            user_input: A text, or pixels of shape (H, W, 3) in [0, 1].
            policy: Halting policy as text; empty for the default of the checkpoint.

        Returns:
            The record of the unroll, see `build_thought_record`.

        Raises:
            ValueError: The input, the policy or the checkpoint is invalid. The message is one sentence for the user.
        """
        return self._models.load(name).pipeline.build_record(user_input, policy, name)

    def answer(self, name: str, user_input: Any, policy: str, notes: Sequence[str] = ()) -> dict[str, Any]:
        """Run the model of a checkpoint on a user's input, for programs.

        Args:
            name: Name of the checkpoint.
            user_input: See `predict`.
            policy: See `predict`.
            notes: Sentences about how the file of the input was read.

        Returns:
            The part of the record that programs need, see `training.pipeline.build_response`.

        Raises:
            ValueError: See `predict`.
        """
        return build_response(self.predict(name, user_input, policy), notes)


def get_preview_sentence(preview: Preview | None) -> str:
    """Return the sentence of the prediction in a preview; empty if there is none."""
    sentence = preview.record.get("sentence") if preview and preview.record else None
    return sentence[:MAX_TEXT_CHARS] if isinstance(sentence, str) else ""


def build_comparison_row(name: str, record: dict[str, Any]) -> dict[str, Any]:
    """Return the row of a comparison for one prediction."""
    copied_keys = ("ticks", "iterations", "answer_tick", "certainty", "halted_by", "milliseconds", "verdict")
    return {
        "name": name,
        "policy": record["policy"],
        "answers": record["labels_by_tick"],
        **{key: record[key] for key in copied_keys},
    }


def format_checkpoint_label(name: str, title: str) -> str:
    """Return the label of a checkpoint: commit hashes are abbreviated."""
    bare, purpose = split_purpose(name)
    if "@" in bare:
        repo, _, rest = bare.partition("@")
        revision, _, subfolder = rest.partition(":")
        bare = f"{repo} @ {revision[:7]}" + (f" : {subfolder}" if subfolder else "")
    label = bare + (f" as {purpose}" if purpose else "")
    return f"{title} ({label})" if title and "@" not in label else label

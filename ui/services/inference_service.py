"""Inference for the tabs: plain data in, plain data out.

Tabs pass the name of a checkpoint and the user's input; they receive dictionaries of numbers and sentences.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ctm.checkpoint.preview import Preview
from ctm.config import get_max_ticks
from inference.dynamic_batcher import MAX_BATCH_SIZE
from training.pipeline import MAX_TEXT_CHARS, Pipeline, build_response
from training.record_stream import RecordStream
from training.tasks import Task
from training.tasks.samples import IncompleteInputError
from ui.services.browser_checkpoint import BrowserCheckpoints, build_manifest
from ui.services.comparisons import Comparisons
from ui.services.difficulty import build_difficulty_scale, describe_example
from ui.services.example_files import ExampleFiles
from ui.services.gallery import Gallery
from ui.services.halting_view_model import PolicyOption, build_halting_view, build_policy_options, summarize_metrics
from ui.services.image_decoding import decode_image, encode_data_url
from ui.services.inside_service import InsideService, RememberedInput
from ui.services.model_cache import ModelCache
from ui.services.model_catalog import ModelCatalog, split_purpose


class PolicyError(ValueError):
    """A halting policy is invalid. The message is one sentence for the user."""


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
        example_labels: Label of each example that has a measured difficulty, else empty.
        difficulty: Measured accuracy by difficulty, see `build_difficulty_scale`; None if there is nothing to choose.
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
    example_labels: list[str]
    difficulty: dict[str, Any] | None
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
        self.gallery = Gallery(catalog)
        self._models = ModelCache(catalog, max_batch_size)
        self._example_files = ExampleFiles()
        self._difficulties: dict[str, int | None] = {}  # of example images
        self.browser_checkpoints = BrowserCheckpoints(catalog.get_local_dir, self._load_pipeline)
        self.inside = InsideService(self._load_pipeline)
        self.comparisons = Comparisons(
            catalog, self.predict, self.get_checkpoint_info, self._get_label, self.get_browser_manifest
        )

    def _load_pipeline(self, name: str) -> Pipeline:
        return self._models.load(name).pipeline

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
        examples = self._list_examples(task, metadata["preview"])
        difficulty = build_difficulty_scale(task, metadata["metrics"])
        return CheckpointInfo(
            name=name,
            title=task.title,
            input_type=task.input_type,
            supports_drawing=task.supports_drawing,
            supports_generation=task.supports_generation,
            input_editor=task.input_editor,
            input_hint=task.input_hint,
            examples=examples,
            example_labels=[self._describe_example(task, difficulty, example) for example in examples],
            difficulty=difficulty,
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

    def _describe_example(self, task: Task, difficulty: dict[str, Any] | None, example: Any) -> str:
        """Return the label of an example image with a measured difficulty; empty for other examples."""
        if difficulty is None or task.input_type != "image":
            return ""
        key = f"{task.name} {example}"
        if key not in self._difficulties:
            self._difficulties[key] = task.measure_difficulty(task.parse_input(decode_image(str(example))))
        return describe_example(difficulty, self._difficulties[key])

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

    def list_checkpoint_labels(self) -> list[tuple[str, str]]:
        """Return label and name of every local checkpoint."""
        return [(self._get_label(name), name) for name in self.list_checkpoint_names()]

    def _get_label(self, name: str) -> str:
        return format_checkpoint_label(name, self._get_title(name))

    def _get_title(self, name: str) -> str:
        try:
            return self.catalog.read_local(name)[0].title
        except ValueError:  # invalid, or of an unknown task: reported once it is selected
            return ""
        except Exception:  # one invalid checkpoint must not hide the others
            logging.getLogger(__name__).exception("The checkpoint %s cannot be described", name)
            return ""

    # --- models --------------------------------------------------------------------------------------------------

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
            "plain_name": self.gallery.get_title(entry.name) if entry.origin == "bundled" else "",
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
            "halting_view": build_halting_view(
                description.halting, description.metrics, get_max_ticks(description.config)
            ),
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
        """Run one prediction with the default checkpoint, because loading it takes longest; then draw the thumbnails."""
        for name in self.list_checkpoint_names()[:1]:
            try:
                info = self.get_checkpoint_info(name)
                example = info.examples[0]
                self.predict(name, decode_image(str(example)) if info.input_type == "image" else example, "")
            except Exception:  # the user who selects it gets the error
                logging.getLogger(__name__).warning("The checkpoint %s could not be tried", name, exc_info=True)
        threading.Thread(target=self.gallery.compute_thumbnails, name="thumbnails", daemon=True).start()

    def generate_input(self, name: str, seed: int, level: Any = None) -> Any:
        """Return a new input for a checkpoint whose info has `supports_generation`.

        Args:
            name: Name of the checkpoint.
            seed: Seed.
            level: Index of a level of its `difficulty`, from a client; another value, or a checkpoint without, gives any input.
        """
        task = self._models.load(name).pipeline.task
        scale = self.get_checkpoint_info(name).difficulty
        levels = scale["levels"] if scale else []
        if not isinstance(level, int) or not 0 <= level < len(levels):
            return task.generate_input(seed)
        return task.generate_input(seed, levels[level]["level"])

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

    def start(self, name: str, user_input: Any, policy: str) -> RecordStream:
        """Start the prediction of `predict` and return its record while it grows. The inside view can answer requests about it.

        Args:
            name: See `predict`.
            user_input: See `predict`.
            policy: See `predict`.

        Raises:
            PolicyError: The policy is invalid.
            ValueError: See `predict`.
        """
        pipeline = self._models.load(name).pipeline
        try:
            pipeline.parse_policy(policy)
        except ValueError as error:
            raise PolicyError(str(error)) from None
        stream = pipeline.start_record(user_input, policy, name)
        self.inside.remember(stream.record_id, RememberedInput(name, stream.task_input, stream.policy))
        return stream

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


def format_checkpoint_label(name: str, title: str) -> str:
    """Return the label of a checkpoint: commit hashes are abbreviated."""
    bare, purpose = split_purpose(name)
    if "@" in bare:
        repo, _, rest = bare.partition("@")
        revision, _, subfolder = rest.partition(":")
        bare = f"{repo} @ {revision[:7]}" + (f" : {subfolder}" if subfolder else "")
    label = bare + (f" as {purpose}" if purpose else "")
    return f"{title} ({label})" if title and "@" not in label else label

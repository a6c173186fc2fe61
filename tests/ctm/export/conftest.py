"""Exports of checkpoints and of golden cases, each made once per process."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import jaxtyping
import numpy as np
import pytest

from ctm import TickModel
from ctm.checkpoint import Checkpoint, load
from tests.ctm.models.test_published import load_case
from tests.paths import ROOT

INSTALL_HINT = "the export needs its optional packages: pip install onnx onnxscript onnxruntime"


@contextmanager
def disable_shape_checks() -> Iterator[None]:
    """Disable the checks of annotated shapes: while torch traces a model, its sizes are symbols."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def without_shape_checks():
    """Disable the checks of annotated shapes during a test."""
    with disable_shape_checks():
        yield


class OnnxModel:
    """Exported model, run by onnxruntime.

    Attributes:
        folder: Directory of the export.
        metadata: Contents of metadata.json.
        model: Model that was exported.
        checkpoint: Checkpoint that was exported.
    """

    def __init__(self, checkpoint: Checkpoint, folder: Path) -> None:
        onnxruntime = pytest.importorskip("onnxruntime", reason=INSTALL_HINT)
        pytest.importorskip("onnxscript", reason=INSTALL_HINT)
        from ctm.export.onnx_export import export_onnx  # noqa: PLC0415 -- after the check of the packages

        self.checkpoint = checkpoint
        self.model: TickModel = checkpoint.model
        with disable_shape_checks():
            self.folder = export_onnx(checkpoint, folder)
        self.metadata = json.loads((folder / "metadata.json").read_text("utf-8"))
        self.sessions = {name: onnxruntime.InferenceSession(folder / f"{name}.onnx") for name in ("encode", "tick")}

    def encode(self, inputs: np.ndarray) -> tuple[dict[str, np.ndarray], int, np.ndarray]:
        """Return the inputs of the first tick, the number of ticks, and the input ticks of every row."""
        values = self._run("encode", {"inputs": inputs})
        return values, int(values.pop("ticks")), values.pop("input_ticks")

    def tick(self, values: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return the inputs of the next tick, and the outputs of this one."""
        outputs = self._run("tick", values)
        return values | {tensor["name"]: outputs[tensor["next"]] for tensor in self.metadata["state"]}, outputs

    def unroll(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Return logits, certainty and energy of all ticks, batch first, ticks last."""
        values, ticks, _ = self.encode(inputs)
        log = []
        for _ in range(ticks):
            values, outputs = self.tick(values)
            log.append(outputs)
        names = [tensor["name"] for tensor in self.metadata["outputs"]]
        return {name: np.stack([outputs[name] for outputs in log], -1) for name in names}

    def _run(self, name: str, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        session = self.sessions[name]
        return dict(zip([output.name for output in session.get_outputs()], session.run(None, values), strict=True))


@pytest.fixture(scope="session")
def onnx_model(tmp_path_factory):
    """Provide a function that exports a bundled checkpoint or a golden case."""

    @cache
    def export(name: str, is_golden: bool = False) -> OnnxModel:
        checkpoint = Checkpoint(load_case(name)[2]) if is_golden else load(ROOT / "checkpoints" / name)
        return OnnxModel(checkpoint, tmp_path_factory.mktemp("onnx") / name)

    return export

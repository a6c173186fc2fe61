"""Tests of what cannot be exported: one sentence, and nothing is written or lost."""

import pytest
import torch
from torch import nn

from ctm.checkpoint import Checkpoint
from ctm.export import onnx_export
from ctm.export.__main__ import main
from ctm.export.onnx_export import export_onnx
from tests.ctm.export.conftest import INSTALL_HINT
from tests.paths import ROOT


class BranchingBackbone(nn.Module):
    """Backbone whose computation depends on the values of its input, which no graph can follow."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, tokens):
        return self.backbone(tokens if tokens.sum().item() > 0 else 1 - tokens)


def test_a_missing_package_is_named_with_its_remedy(monkeypatch, make_model, tmp_path):
    monkeypatch.setattr(onnx_export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs onnx, onnxscript: run `pip install onnx onnxscript onnxruntime`"):
        export_onnx(Checkpoint(make_model()), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_other_files_are_not_overwritten(monkeypatch, make_model, tmp_path):
    monkeypatch.setattr(onnx_export, "REQUIRED_PACKAGES", ())
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds other files than an export, which would be lost: notes\.txt"):
        export_onnx(Checkpoint(make_model()), tmp_path)
    with pytest.raises(ValueError, match=r"notes\.txt is a file: name a directory"):
        export_onnx(Checkpoint(make_model()), tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_the_command_reports_a_missing_checkpoint(tmp_path):
    with pytest.raises(SystemExit, match=r"^Error: There is no checkpoint at"):
        main(["onnx", str(tmp_path / "nothing"), "--out", str(tmp_path / "out")])


def test_a_part_that_cannot_be_exported_is_named(make_model, tmp_path, without_shape_checks):
    pytest.importorskip("onnxscript", reason=INSTALL_HINT)
    model = make_model()
    model.backbone = BranchingBackbone(model.backbone)
    with pytest.raises(ValueError, match=r"The graph `encode` of this model .*backbone_type=tokens-7x6") as raised:
        export_onnx(Checkpoint(model.eval()), tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir()), "a failed export leaves no file"


def test_an_axis_that_the_model_fixes_is_named(make_model, tmp_path, without_shape_checks, monkeypatch):
    pytest.importorskip("onnxscript", reason=INSTALL_HINT)
    model = make_model()
    embed = model._embed_input
    monkeypatch.setattr(model, "_embed_input", lambda tokens: embed(tokens) + torch.zeros(int(tokens.shape[0]), 1, 1))
    with pytest.raises(ValueError, match="The graph `encode` of this model"):
        export_onnx(Checkpoint(model), tmp_path / "out")


def test_the_example_is_documented():
    assert "examples/onnx_inference.py" in (ROOT / "docs/export.md").read_text("utf-8")

"""Compare exported graphs under onnxruntime with the eager model, the engine and the outputs of the original code."""

import ast
import json
import runpy
import subprocess
import sys

import numpy as np
import pytest
import torch

from ctm.modules.input_schedule import pack_frames
from inference import Engine, parse
from inference.halting.threshold_policies import ThresholdPolicy
from tests.ctm.export.conftest import INSTALL_HINT
from tests.ctm.models.test_published import CASES, load_case, load_inputs
from tests.paths import ROOT
from training.evaluation import build_split_batches
from training.tasks import build_task

onnx = pytest.importorskip("onnx", reason=INSTALL_HINT)
pytest.importorskip("onnxruntime", reason=INSTALL_HINT)

EXAMPLE = ROOT / "examples" / "onnx_inference.py"
predict = runpy.run_path(str(EXAMPLE))["predict"]
CHECKPOINTS = sorted(path.parent.name for path in (ROOT / "checkpoints").glob("*/config.json"))
WITHOUT_BUNDLED_DATA = {"fashion"}
FAST_CHECKPOINTS = ("digits", "parity-16", "qamnist")
FAST_CASES = ("image-fourier-linear-nlm", "lstm-baseline")
UNSUPPORTED_CASES = {"rl-classic-control"}
POLICY_NAMES = ("energy", "certainty", "certainty of the least certain position")
MAX_DIFFERENCE = 1e-4  # of logits, relative to the largest; of scores from the threshold
MAX_NEAR_FRACTION = 1 / 500


def list_cases() -> list:
    """Return (checkpoint, number of samples): few samples of some checkpoints, and 256 of all in the slow tests."""
    fast = [pytest.param(name, 24, id=f"{name}-few") for name in FAST_CHECKPOINTS]
    return fast + [pytest.param(name, 256, marks=pytest.mark.slow) for name in CHECKPOINTS]


def load_samples(exported, count: int) -> torch.Tensor:
    """Return held-out inputs; random pictures where no data is bundled."""
    if exported.folder.name in WITHOUT_BUNDLED_DATA:
        return torch.randn(count, exported.model.in_features, 28, 28, generator=torch.Generator().manual_seed(0))
    task = build_task(exported.checkpoint.task)
    return torch.cat([batch.inputs for batch in build_split_batches(task, "test", 4 * count)])[:count]


def find_near_rows(policy: ThresholdPolicy, model, inputs: torch.Tensor) -> np.ndarray:
    """Return the rows whose score lies within `MAX_DIFFERENCE` of the threshold at a tick."""
    if not len(inputs):
        return np.zeros(0, bool)
    with torch.inference_mode():
        encoded = model.encode(inputs)
        state = model.initial_state(encoded)
        scores = []
        for _ in range(encoded.ticks):
            state, output = model.tick(state, encoded)
            certainty = output.certainty.amin(1) if "min" in str(policy) else output.certainty.mean(1)
            scores.append(output.energy if policy.needs_energy else certainty)
    return ((torch.stack(scores) - policy.threshold).abs() <= MAX_DIFFERENCE).any(0).numpy()


def get_threshold_policies(exported) -> list[str]:
    """Return the policies of a checkpoint that the example knows."""
    records = exported.checkpoint.halting["policies"]
    return [records[name]["policy"] for name in POLICY_NAMES if name in records] or ["certainty>1"]


def check_close(actual: np.ndarray, expected: np.ndarray, scale: float) -> None:
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= MAX_DIFFERENCE * scale


@pytest.mark.parametrize(("name", "count"), list_cases())
def test_the_example_halts_and_answers_like_the_engine(onnx_model, name, count):
    exported = onnx_model(name)
    inputs = load_samples(exported, count)
    assert len(inputs) == count
    is_ctc = exported.checkpoint.halting["default"] == "said"
    for text in get_threshold_policies(exported):
        policy = parse(text)
        expected = Engine(exported.model, policy, fallback="last" if is_ctc else "best").run(inputs)
        actual = predict(exported.folder, inputs.numpy(), text)
        same = actual["ticks"] == expected.ticks.numpy()
        if not is_ctc:  # a CTC answer consists of the emissions of all ticks
            same &= actual["answer_ticks"] == expected.answer_tick.numpy()
        rows = np.flatnonzero(~same)
        assert len(rows) <= max(1, MAX_NEAR_FRACTION * count), f"{text}: rows {rows} halt at another tick"
        assert find_near_rows(policy, exported.model, inputs[rows]).all(), f"{text}: rows {rows} halt at another tick"
        if is_ctc:
            check_emissions(exported, inputs, actual["ticks"])
            continue
        scale = expected.answer.abs().max().item()
        check_close(actual["logits"][same], expected.answer.numpy()[same], scale)
        shape = (len(inputs), *exported.model.config.answer_shape)
        choices = actual["logits"].reshape(shape).argmax(2)
        assert (choices == expected.answer.numpy().reshape(shape).argmax(2))[same].all()


def check_emissions(exported, inputs: torch.Tensor, ticks: np.ndarray) -> None:
    """Check that both runtimes emit the same labels up to a tick of each row."""
    decoder = build_task(exported.checkpoint.task).decoder
    actual = torch.from_numpy(exported.unroll(inputs.numpy())["logits"])
    with torch.inference_mode():
        expected = exported.model(inputs).answers
    check_close(actual.numpy(), expected.numpy(), expected.abs().max().item())
    for row, tick in enumerate(ticks):
        answers = [decoder.decode(decoder.choices(logits)[row].T)[tick - 1] for logits in (actual, expected)]
        assert answers[0] == answers[1]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in FAST_CASES else pytest.mark.slow)
        for name in CASES
        if name not in UNSUPPORTED_CASES
    ],
)
def test_outputs_equal_those_of_the_original_code(onnx_model, name):
    exported = onnx_model(name, is_golden=True)
    _, tensors, _ = load_case(name)
    actual = exported.unroll(load_inputs(exported.model.config, tensors).numpy())
    expected = tensors["out.predictions"].numpy()
    check_close(actual["logits"].reshape(expected.shape), expected, np.abs(expected).max())
    if "out.certainties" in tensors:
        check_close(actual["certainty"].mean(1), tensors["out.certainties"][:, 1].numpy(), 1)
    for key in ("out.energy", "out.energies"):
        if key in tensors and tensors[key].numel():
            expected = tensors[key].numpy()
            check_close(actual["energy"].reshape(expected.shape), expected, np.abs(expected).max())


@pytest.mark.parametrize("name", ["qamnist", "parity-16"])
def test_a_row_does_not_depend_on_its_batch(onnx_model, name):
    exported = onnx_model(name)
    inputs = load_samples(exported, 24).numpy()[:6]
    batch = exported.unroll(inputs)
    for index in range(len(inputs)):
        row = exported.unroll(inputs[index : index + 1])
        ticks = row["logits"].shape[-1]
        for output, values in row.items():
            expected = batch[output][index : index + 1, ..., :ticks]
            np.testing.assert_allclose(values, expected, rtol=1e-4, atol=2e-4, err_msg=output)


def test_rows_at_different_ticks_form_a_batch(onnx_model):
    exported = onnx_model("qamnist")
    inputs = load_samples(exported, 24).numpy()[:4]
    axes = {tensor["name"]: tensor["batch_axis"] for key in ("encoded", "state") for tensor in exported.metadata[key]}
    parts = []
    for rows, ticks in ((slice(0, 3), 5), (slice(3, 4), 2)):
        values, _, _ = exported.encode(inputs[rows])
        for _ in range(ticks):
            values, _ = exported.tick(values)
        parts.append(values)
    joined = {name: np.concatenate([part[name] for part in parts], axis) for name, axis in axes.items()}
    _, actual = exported.tick(joined)
    separate = [exported.tick(part)[1] for part in parts]
    for name in ("logits", "certainty", "energy"):
        expected = np.concatenate([outputs[name] for outputs in separate])
        np.testing.assert_allclose(actual[name], expected, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("length", [1, 7, 16])
def test_sequences_of_any_length_are_accepted(onnx_model, length):
    exported = onnx_model("parity-16")
    inputs = torch.randint(2, (3, length), generator=torch.Generator().manual_seed(length))
    with torch.inference_mode():
        expected = exported.model(inputs).answers
    check_close(exported.unroll(inputs.numpy())["logits"], expected.numpy(), expected.abs().max().item())


def test_pictures_of_any_size_are_accepted(onnx_model):
    exported = onnx_model("digits")
    inputs = torch.randn(2, 1, 21, 33, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = exported.model(inputs).answers
    check_close(exported.unroll(inputs.numpy())["logits"], expected.numpy(), expected.abs().max().item())


def test_frames_of_any_number_are_accepted(onnx_model):
    exported = onnx_model("qamnist")
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(count, 1, 32, 32, generator=generator) for count in (1, 3)]
    inputs = pack_frames(images, [[0], [2, -1, 0, -2, 1]])
    with torch.inference_mode():
        expected = exported.model(inputs)
    check_close(
        exported.unroll(inputs.numpy())["logits"], expected.answers.numpy(), expected.answers.abs().max().item()
    )
    _, ticks, input_ticks = exported.encode(inputs.numpy())
    assert ticks == expected.answers.size(2) and input_ticks.tolist() == expected.input_ticks.tolist()


def test_metadata_describe_the_graphs(onnx_model):
    exported = onnx_model("qamnist")
    metadata = exported.metadata
    for name in ("config", "task", "halting"):
        assert metadata[name] == json.loads((ROOT / f"checkpoints/qamnist/{name}.json").read_text())
    for name in ("encode", "tick"):
        model = onnx.load(exported.folder / f"{name}.onnx")
        onnx.checker.check_model(model, full_check=True)
        assert {prop.key: json.loads(prop.value) for prop in model.metadata_props} == {
            f"ctm.{key}": value for key, value in metadata.items()
        }
        assert [opset.version for opset in model.opset_import if not opset.domain] == [metadata["opset"]]
        assert b".py" not in (exported.folder / f"{name}.onnx").read_bytes(), "the graph names source files"
    tensors = {key: [tensor["name"] for tensor in metadata[key]] for key in ("inputs", "encoded", "state", "durations")}
    names = {
        name: [[value.name for value in values] for values in (session.get_inputs(), session.get_outputs())]
        for name, session in exported.sessions.items()
    }
    tick_inputs = tensors["encoded"] + tensors["state"]
    assert names["encode"] == [tensors["inputs"], tick_inputs + tensors["durations"]]
    outputs = [tensor["name"] for tensor in metadata["outputs"]]
    assert names["tick"] == [tick_inputs, [tensor["next"] for tensor in metadata["state"]] + outputs]
    records = {tensor["name"]: tensor["shape"] for key in ("encoded", "state") for tensor in metadata[key]}
    assert {value.name: value.shape for value in exported.sessions["tick"].get_inputs()} == records


def test_the_example_needs_nothing_of_this_project():
    tree = ast.parse(EXAMPLE.read_text("utf-8"))
    imports = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imports | modules == {"json", "numpy", "onnxruntime", "pathlib", "re", "sys"}


def test_the_example_names_the_policies_it_knows(onnx_model):
    with pytest.raises(ValueError, match="got said=10"):
        predict(onnx_model("parity-16").folder, np.zeros((1, 16), int), "said=10")


def test_the_example_runs_as_a_program(onnx_model, tmp_path):
    exported = onnx_model("parity-16")
    inputs = load_samples(exported, 24).numpy()[:4]
    np.save(tmp_path / "inputs.npy", inputs)
    command = [sys.executable, str(EXAMPLE), str(exported.folder), str(tmp_path / "inputs.npy"), "certainty>0.9"]
    output = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    lines = dict(line.split(": ", 1) for line in output.splitlines())
    expected = predict(exported.folder, inputs, "certainty>0.9")
    assert lines["ticks"] == str(expected["ticks"].tolist()) and lines.keys() == expected.keys()

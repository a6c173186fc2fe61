"""Run an exported model with numpy and onnxruntime: a row stops at the tick at which its score passes a threshold.

python -m ctm.export onnx checkpoints/parity-16 --out exports/parity-16
python examples/onnx_inference.py exports/parity-16 INPUTS.npy
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def run(session: onnxruntime.InferenceSession, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the outputs of a graph by name."""
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, values), strict=True))


def compute_margin(logits: np.ndarray, classes: int) -> np.ndarray:
    """Return the lead of the most probable class over the next one, at the least sure position of each row."""
    logits = logits.reshape(len(logits), -1, classes if classes > 0 else logits.shape[1])
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    second, first = np.moveaxis(np.sort(odds / odds.sum(-1, keepdims=True)), -1, 0)[-2:]
    return (first - second).min(1)


def predict(folder: str | Path, inputs: np.ndarray, policy: str | None = None) -> dict[str, np.ndarray]:
    """Return for every row the answer logits, the tick that gave them, and the number of ticks."""
    metadata = json.loads(Path(folder, "metadata.json").read_text("utf-8"))
    encode, tick = (onnxruntime.InferenceSession(Path(folder, f"{name}.onnx")) for name in ("encode", "tick"))
    policies, default = (metadata["halting"].get(key) or {} for key in ("policies", "default"))
    policy = policy or (policies[default]["policy"] if default else "certainty>1")
    match = re.fullmatch(r"(energy<|certainty>|certainty\.min>|margin>)([-+.\de]+)", policy)
    if not match:
        raise ValueError(f"This example knows energy<X, certainty>X, certainty.min>X and margin>X: got {policy}.")

    values = run(encode, {"inputs": inputs})
    max_ticks, input_ticks = values.pop("ticks"), values.pop("input_ticks")
    ticks, answer_ticks = np.zeros((2, len(inputs)), int)
    logits, best = 0.0, np.full(len(inputs), -np.inf)
    for number in range(1, max_ticks + 1):
        outputs = run(tick, values)
        values |= {tensor["name"]: outputs[tensor["next"]] for tensor in metadata["state"]}
        certainty = outputs["certainty"].mean(1)
        margin = compute_margin(outputs["logits"], metadata["config"].get("prediction_reshaper", [-1])[-1])
        scores = {"energy<": outputs.get("energy"), "certainty>": certainty, "margin>": margin}
        value = scores.get(match[1], outputs["certainty"].min(1))
        passes = value < float(match[2]) if match[1] == "energy<" else value > float(match[2])
        can_answer = (ticks == 0) & (number > input_ticks)  # the row has not stopped, and has seen its whole input
        answers = can_answer & (passes | (certainty > best))  # without a stop, the most certain tick answers
        logits = np.where(answers[:, None], outputs["logits"], logits)
        answer_ticks, best = np.where(answers, number, answer_ticks), np.where(answers, certainty, best)
        ticks[can_answer & passes] = number
        if ticks.all():
            break
    return {"logits": logits, "answer_ticks": answer_ticks, "ticks": np.where(ticks, ticks, max_ticks)}


if __name__ == "__main__":
    for name, row_values in predict(sys.argv[1], np.load(sys.argv[2]), *sys.argv[3:]).items():
        print(f"{name}: {row_values.tolist()}")

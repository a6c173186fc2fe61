"""Samples of fake runs: what a small untrained checkpoint answers for three fixed inputs, as a run writes them."""

from pathlib import Path
from typing import Any

from ctm.checkpoint import load
from training.pipeline import Pipeline
from training.run_dir import RunDir
from training.tasks import make_task


def make_samples(checkpoint_dir: Path, task_kind: str, texts: list[str]) -> list[dict[str, Any]]:
    """Return the samples of one evaluation.

    Args:
        checkpoint_dir: Directory of the checkpoint that answers.
        task_kind: Its task, one with inputs of text.
        texts: The inputs.
    """
    pipeline = Pipeline(load(checkpoint_dir), make_task({"kind": task_kind}), "step 1")
    records = [pipeline.build_record(text) for text in texts]
    return [
        {"title": text, "is_correct": record["verdict"] == "correct", "record": record}
        for text, record in zip(texts, records, strict=True)
    ]


def write_samples(run_dir: RunDir, steps: list[int], samples: list[dict[str, Any]]) -> None:
    """Write the same samples for several evaluations, each with its step in the titles."""
    run_dir.samples_file.unlink(missing_ok=True)
    for number, step in enumerate(steps, 1):
        titled = [sample | {"title": f"{sample['title']} at {step}"} for sample in samples]
        run_dir.samples.append({"step": step, "evaluation": number, "samples": titled})

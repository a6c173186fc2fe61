"""Runs that are in the folder of runs alone: begun on the command line, or brought from another machine."""

from collections.abc import Container, Iterator
from pathlib import Path

from ctm.io.preallocated import read_preallocated
from ctm.stores.base import is_complete_checkpoint
from training.jobs.store import Job, JobState
from training.run_dir import RunDir


def discover_untracked_runs(runs_dir: Path, known_ids: Container[str]) -> Iterator[Job]:
    """A job for every run folder that nobody trains in and no job is known of."""
    for recipe in runs_dir.glob("[!.]*/config.yaml"):
        folder = RunDir(recipe.parent)
        name = folder.path.name
        if name in known_ids or folder.is_locked:
            continue
        began, ended = recipe.stat().st_mtime, read_preallocated(folder.path / "status.json").get("time")
        state: JobState = "succeeded" if is_complete_checkpoint(folder.final_checkpoint_dir) else "interrupted"
        says = "finished" if state == "succeeded" else "ended before its last step"
        yield Job(
            name,
            state,
            submitted=began,
            queued=began,
            started=began,
            ended=float(ended) if isinstance(ended, int | float) else began,
            sentence=f"Found in the folder of runs, {says}.",
        )

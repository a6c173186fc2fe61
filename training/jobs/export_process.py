"""Export of a checkpoint as a static Space, in a separate process: training does not import the page."""

import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path

from training.jobs.cpu_limits import count_available_cpus
from training.jobs.process_group import JOB_TAG_ENV, build_job_environment, launch

EXPORT_TIMEOUT_S = 600.0
ERROR_PREFIX = "Error: "


def export_static_space(
    checkpoint_dir: Path,
    out_dir: Path,
    model_repo: str,
    environment: Mapping[str, str] = os.environ,
    timeout_s: float = EXPORT_TIMEOUT_S,
) -> None:
    """Write a static Space that runs a checkpoint in the browser, with `python -m ui.export space`.

    The process gets no token and makes no request. It belongs to the job of this process, if there is one.

    Args:
        checkpoint_dir: Checkpoint directory.
        out_dir: Directory to write.
        model_repo: Repository of the checkpoint, `namespace/name`, which the page links.
        environment: Environment of this process.
        timeout_s: Seconds after which the process is killed.

    Raises:
        ValueError: The checkpoint cannot run in a browser, or the export fails. The message is one sentence.
    """
    command = [sys.executable, "-m", "ui.export", "space", str(checkpoint_dir.resolve())]
    command += ["--out", str(out_dir.resolve()), "--model-repo", model_repo]
    tag = environment.get(JOB_TAG_ENV) or f"export {uuid.uuid4().hex[:12]}"
    job_environment = build_job_environment(environment, count_available_cpus(environment))
    with tempfile.TemporaryDirectory(prefix="ctm-export-") as log_dir:
        log = Path(log_dir, "log.txt")
        _, process = launch(command, tag, log, job_environment | {"HF_HUB_OFFLINE": "1"})
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ValueError(f"The export of the static Space takes more than {timeout_s:.0f} seconds here.") from None
        finally:
            process.kill()
            process.wait()
        lines = log.read_text("utf-8", "replace").strip().splitlines()
    if process.returncode:
        errors = [line for line in lines if line.startswith(ERROR_PREFIX)] or lines[-1:] or ["no message"]
        raise ValueError(errors[-1].removeprefix(ERROR_PREFIX)[:500])

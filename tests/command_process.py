"""Run `python -m training` in a process that a fork server starts, which has imported the large packages already.

A new interpreter imports PyTorch for three to five seconds of processor time. The fork server imports it once. The packages of the
project and the Hub client are imported by each process for itself, after its environment variables are set.
"""

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.paths import ROOT

PRELOADED_MODULES = ["torch", "torch._dynamo", "matplotlib.figure", "accelerate", "pydantic", "rich.table", "PIL.Image"]

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(PRELOADED_MODULES)


class CommandProcess:
    """Process of `python -m training` whose output is collected in a file.

    Args:
        arguments: Arguments of the command.
        environment: Environment variables; those of the tests by default.
        prelude: Python code to run first.
    """

    def __init__(self, *arguments: object, environment: Mapping[str, str] | None = None, prelude: str = "") -> None:
        descriptor, name = tempfile.mkstemp(suffix=".log")
        os.close(descriptor)
        self._log_path = Path(name)
        words = [str(argument) for argument in arguments]
        self._process = context.Process(
            target=run_training_command, args=(words, dict(environment or os.environ), prelude, name), daemon=True
        )
        self._process.start()

    @property
    def pid(self) -> int:
        """Process id."""
        pid = self._process.pid
        assert pid is not None
        return pid

    def is_running(self) -> bool:
        """Return whether the process has not ended."""
        return self._process.is_alive()

    def wait(self, timeout_s: float = 240.0) -> tuple[int, str]:
        """Wait for the end; return the exit code and the output."""
        self._process.join(timeout_s)
        code = self._process.exitcode
        output = self._log_path.read_text("utf-8")
        if code is None:
            self._process.kill()
            raise TimeoutError(f"The command still runs after {timeout_s} s: {output}")
        self._log_path.unlink()
        return code, output


def run_training_command(arguments: list[str], environment: dict[str, str], prelude: str, log_path: str) -> None:
    """Run the command in this process, as a new interpreter would."""
    multiprocessing.process.current_process().daemon = False  # it may start processes of its own
    descriptor = os.open(log_path, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    exec(prelude, {})
    sys.argv[1:] = arguments
    runpy.run_module("training", run_name="__main__", alter_sys=True)

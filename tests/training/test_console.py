"""Tests of `write_line`: it writes lines to stdout, and does not fail if stdout has no reader."""

import subprocess
import sys

from tests.paths import ROOT

PROGRAM = "import sys; from training.console import write_line; sys.stdin.readline(); write_line('a'); write_line('b')"


def run_program(has_reader: bool) -> tuple[int, str]:
    """Run the program with or without a reader of its output; return its exit code and output."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        if not has_reader:
            process.stdout.close()
        process.stdin.write("\n")
        process.stdin.close()
        output = process.stdout.read() if has_reader else ""
        return process.wait(), output


def test_write_line_writes_to_stdout():
    assert run_program(has_reader=True) == (0, "a\nb\n")


def test_write_line_ignores_a_closed_stdout():
    assert run_program(has_reader=False) == (0, "")

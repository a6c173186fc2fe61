"""Tests of the redaction of the token in texts and streams."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT
from training.jobs.redaction import REPLACEMENT, StreamRedactor, redact_token

TOKEN = "hf_hf_secret"
TEXT = f"a {TOKEN} b hf_hf hf_{TOKEN}{TOKEN} c"
EXPECTED = f"a {REPLACEMENT} b hf_hf hf_{REPLACEMENT}{REPLACEMENT} c"


def test_redact_token_replaces_the_token_in_a_text():
    assert redact_token(TEXT, TOKEN) == EXPECTED
    assert redact_token(TEXT, "") == TEXT


@pytest.mark.parametrize("size", range(1, len(TEXT) + 1))
def test_token_in_a_stream_is_replaced_for_every_chunk_size(size):
    redactor = StreamRedactor(TOKEN)
    content = TEXT.encode()
    parts = [redactor.feed(content[start : start + size]) for start in range(0, len(content), size)]
    assert (b"".join(parts) + redactor.flush()).decode() == EXPECTED


def test_output_that_cannot_be_part_of_the_token_is_not_delayed():
    redactor = StreamRedactor(TOKEN)
    assert redactor.feed(b"10%\r") == b"10%\r"
    assert redactor.feed(b"20% hf_") == b"20% "
    assert redactor.flush() == b"hf_"


def test_stream_is_unchanged_if_there_is_no_token():
    assert StreamRedactor("").feed(b"hf_") == b"hf_"


def build_supervised_command(exit_file: Path, code: str) -> list[str]:
    """Return the command that runs Python code under a supervisor."""
    return [sys.executable, "-m", "training.jobs.supervisor", str(exit_file), sys.executable, "-c", code]


def test_the_supervisor_redacts_all_output_and_records_the_exit_code(tmp_path):
    code = "import os, sys; print(os.environ['HF_TOKEN'], flush=True); os.write(2, b'err hf_hf_sec'); os.write(2, b'ret!'); sys.exit(3)"
    command = build_supervised_command(tmp_path / "exit.json", code)
    result = subprocess.run(command, cwd=ROOT, env={"HF_TOKEN": TOKEN}, capture_output=True, timeout=60)
    assert result.returncode == 3 and '"code": 3' in (tmp_path / "exit.json").read_text()
    assert result.stdout.decode() == f"{REPLACEMENT}\nerr {REPLACEMENT}!"
    assert TOKEN.encode() not in result.stderr


def test_process_that_outlives_the_training_does_not_delay_the_exit_code(tmp_path):
    code = (
        "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(30)']); print('done')"
    )
    command = build_supervised_command(tmp_path / "exit.json", code)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.wait(20) == 0
        os.killpg(process.pid, signal.SIGKILL)
        assert process.stdout is not None and process.stdout.read() == b"done\n"
    assert '"code": 0' in (tmp_path / "exit.json").read_text()

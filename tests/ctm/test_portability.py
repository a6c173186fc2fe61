"""Test that the model, its checkpoints, the stores and the engine import no module that exists on Unix only."""

import subprocess
import sys

UNIX_MODULES = ("fcntl", "grp", "pwd", "resource")
PORTABLE_MODULES = ("ctm", "ctm.checkpoint", "ctm.convert", "ctm.stores", "inference", "training.config")
IMPORT_WITHOUT_UNIX_MODULES = f"""
import importlib, sys
for name in {UNIX_MODULES}:
    sys.modules[name] = None  # makes `import name` fail
for name in {PORTABLE_MODULES}:
    importlib.import_module(name)
"""


def test_modules_can_be_imported_without_the_modules_of_unix():
    command = [sys.executable, "-c", IMPORT_WITHOUT_UNIX_MODULES]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr

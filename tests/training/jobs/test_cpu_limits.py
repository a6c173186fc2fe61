"""Tests of the CPU limit of a container and of the thread variables derived from it."""

import os

import pytest

from training.jobs import cpu_limits
from training.jobs.cpu_limits import count_available_cpus, fix_thread_env


@pytest.mark.parametrize("value", ["3500m", "", "0", "two", "7"])
def test_invalid_thread_counts_are_replaced(value):
    variables = {"OMP_NUM_THREADS": value, "CPU_CORES": "1900m"}
    fix_thread_env(variables)
    assert variables["OMP_NUM_THREADS"] == ("7" if value == "7" else "1")
    assert "MKL_NUM_THREADS" not in variables


@pytest.mark.parametrize("text, quota", [("150000 100000", 1.5), ("max 100000", 0.0), ("", 0.0), ("nonsense", 0.0)])
def test_available_cpus_are_limited_by_the_cgroup_quota(text, quota, tmp_path, monkeypatch):
    monkeypatch.setattr(cpu_limits, "CGROUP_CPU_QUOTA", tmp_path / "cpu.max")
    (tmp_path / "cpu.max").write_text(text)
    assert cpu_limits.read_cpu_quota() == quota
    assert count_available_cpus({}) == (1 if quota else len(os.sched_getaffinity(0)))
    assert count_available_cpus({"CPU_CORES": "1"}) == 1  # the environment has precedence over the quota

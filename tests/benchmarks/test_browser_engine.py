"""Test the benchmark of the JavaScript engine on the smallest checkpoints."""

from benchmarks.browser_engine import get_node_version, measure, render_table


def test_the_benchmark_measures_full_unrolls_and_halting_thoughts():
    rows = measure(["arithmetic", "brackets-ff"], 2, 1)
    assert [row["checkpoint"] for row in rows] == ["arithmetic", "brackets-ff"]
    arithmetic, feed_forward = rows
    assert arithmetic["full"]["ticks"] == 20 > arithmetic["halted"]["ticks"] and feed_forward["full"]["ticks"] == 1
    for row in rows:
        assert row["load"] > 0 and row["samples"] == 2
        assert 0 < row["full"]["median"] <= row["full"]["p95"] and 0 < row["halted"]["median"] <= row["halted"]["p95"]
    table = render_table({"rows": rows, "hardware": {"processor": "a processor", "node": get_node_version()}})
    assert table.count("\n| arithmetic | 20 | ") == 1 and "a processor" in table

"""Tables of speed: the model beside the original code, ONNX Runtime beside eager PyTorch, and the page under load."""

from typing import Any


def render_speed(figures: dict[str, Any]) -> str:
    """Render the table of speed relative to the original code, from the figures of `benchmarks.speed`."""
    lines = [
        "| case | inference, B = 1 | inference, B = 64 | training step, B = 32 | peak memory of the step |",
        "|---|---|---|---|---|",
    ]
    cases = dict.fromkeys(row["case"] for row in figures["rows"])
    for case in cases:
        one, many, step = (r for r in figures["rows"] if r["case"] == case)
        peaks = f"{step['ours_peak_mib']:.0f} of {step['original_peak_mib']:.0f} MiB"
        lines.append(
            f"| {case} | {one['ratio']:.1f}x ({one['ours'] * 1e3:.1f} ms) | {many['ratio']:.1f}x ({many['ours'] * 1e3:.0f} ms) "
            f"| {step['ratio']:.1f}x ({step['ours'] * 1e3:.0f} ms) | {peaks} |"
        )
    means = {what: figures["summary"][what]["geometric_mean"] for what in ("thought", "training step")}
    hardware = figures["hardware"]
    lines += [
        "",
        f"Geometric means: inference is {means['thought']:.1f} times as fast as the original code, a training step "
        f"{means['training step']:.1f} times. Inference runs all ticks. Measured on {hardware['processor']}, "
        f"{hardware['threads']} threads, torch {figures['torch']}.",
    ]
    return "\n".join(lines)


def render_onnx(figures: dict[str, Any]) -> str:
    """Render the table of speed relative to eager PyTorch, from the figures of `benchmarks.speed --runtime onnx`."""
    sizes = sorted({row["batch"] for row in figures["rows"]})
    lines = [f"| model | {' | '.join(f'B = {size}' for size in sizes)} |", f"|---{'|---' * len(sizes)}|"]
    for case in dict.fromkeys(row["case"] for row in figures["rows"]):
        cells = [f"{row['ratio']:.1f}x" for row in figures["rows"] if row["case"] == case]
        lines.append(f"| {case} | {' | '.join(cells)} |")
    hardware = figures["hardware"]
    lines += [
        "",
        f"onnxruntime {figures['onnxruntime']}, torch {figures['torch']}, opset {figures['opset']}, on "
        f"{hardware['processor']}, {hardware['threads']} threads. Other programs ran at the same time, so that only ratios "
        "are given.",
    ]
    return "\n".join(lines)


def render_load(figures: dict[str, Any]) -> str:
    """Render the table of latency and throughput under load, from the figures of `benchmarks.load_test`."""
    lines = [
        "| version | visitors | batching | predictions per second | p50 latency | p95 latency | p99 latency | page load (p50) "
        "| peak memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in figures["rows"]:
        name = f"{row.get('version', 'current')} | {row['visitors']} | {row['batching']}"
        half, most, nearly_all = (f"{row['thought'][name]:,.0f} ms" for name in ("p50", "p95", "p99"))
        lines.append(
            f"| {name} | {row['thoughts_per_second']:.1f} | {half} | {most} | {nearly_all} "
            f"| {row['page']['p50']:,.0f} ms | {row['server']['peak_mib_after']:,.0f} MiB |"
        )
    errors = sum(sum(row["errors"].values()) for row in figures["rows"])
    pause = " to ".join(f"{seconds:g}" for seconds in figures["pause"])
    lines += [
        "",
        f"`{figures['command']}`: each visitor waits {pause} seconds between two predictions; {errors} errors. Measured "
        f"{figures['date']} on {figures['hardware']['processor']}, {figures['hardware']['cores']} cores, which the visitors "
        f"share with the server, torch {figures['torch']}.",
    ]
    return "\n".join(lines)

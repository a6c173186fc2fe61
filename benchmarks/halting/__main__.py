"""When to stop: every halting rule on the same trunks, on held-out samples.

    python -m benchmarks.halting [--tasks digits brackets ...] [--seeds N]

Trunks are the bundled checkpoints and, for seeds beyond the first, machines trained with their recipes: those in `trunks/`
beside this file, and those in `runs/`. What a trunk thinks is worked out once and kept in `runs/halting`, as are its figures:
a run that was interrupted goes on. Writes `benchmarks/halting.json` (the figures of the README and of the cards) and
`docs/halting.html` (the frontiers).
"""

import argparse
import datetime
import json
import platform
from pathlib import Path
from typing import Any

import torch

from benchmarks.halting.evaluate import HEAD_SEEDS, compare
from benchmarks.halting.frozen_models import KEPT, VERSION, Trunk, trunks
from benchmarks.halting.plots import write_figures
from benchmarks.halting.policies_under_test import SHIPPED
from benchmarks.halting.summary import summarise
from benchmarks.paths import ROOT
from benchmarks.speed import processor
from training.cli.options import between

TASKS = ("digits", "parity-16", "brackets", "arithmetic", "mazes-15")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.halting", description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), metavar="NAME", help="bundled checkpoints")
    parser.add_argument(
        "--seeds", type=between(1, 100, int), default=3, help="trunks of each, where they were trained (default: 3)"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/halting.json", help="the figures")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/halting.html", help="the frontiers, drawn")
    args = parser.parse_args()
    for path in (args.out, args.page):
        if not path.absolute().parent.is_dir():
            raise SystemExit(f"Error: {path.parent} is no folder.")
    compared = list(trunks(args.tasks, args.seeds))  # all are looked up before any is measured
    found = [measured(trunk) for trunk in compared]
    whole = {
        "command": f"python -m benchmarks.halting --tasks {' '.join(args.tasks)} --seeds {args.seeds}",
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
        "hardware": {"processor": processor(), "threads": torch.get_num_threads(), "system": platform.system()},
        "heads": HEAD_SEEDS[SHIPPED],
        "summary": summarise(found),
        "trunks": [{name: value for name, value in trunk.items() if name != "draws"} for trunk in found],
    }
    args.out.write_text(json.dumps(whole, indent=1) + "\n", "utf-8")
    write_figures(whole, args.page)
    for name, task in whole["summary"].items():
        print(name, json.dumps(task["energy_against_certainty"]))


def measured(trunk: Trunk) -> dict[str, Any]:
    """The figures of a trunk, from the file that keeps them."""
    path = KEPT / f"{trunk.name}-seed{trunk.seed}-{trunk.digest}-v{VERSION}.json"
    if not path.is_file():
        print(f"{trunk.name}, seed {trunk.seed} ...", flush=True)
        part = path.with_suffix(".part")
        text = json.dumps(compare(trunk))
        part.write_text(text, "utf-8")
        part.replace(path)
    return json.loads(path.read_text("utf-8"))


if __name__ == "__main__":
    main()

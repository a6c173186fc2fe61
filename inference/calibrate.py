"""Command `python -m inference.calibrate`; see `training.cli.calibrate`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("training.cli.calibrate", run_name="__main__")

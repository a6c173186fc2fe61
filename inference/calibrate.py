"""Command `python -m inference.calibrate`; see `training.cli.calibrate`."""

import importlib

if __name__ == "__main__":
    # By name, because inference imports nothing of training.
    importlib.import_module("training.cli.calibrate").main()

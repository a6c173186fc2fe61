"""Commands of `python -m training` and `python -m inference.calibrate`."""

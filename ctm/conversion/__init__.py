"""Conversion of checkpoints of the original code."""

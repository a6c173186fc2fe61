"""Halting policies: policies and their parser, thresholds, frontiers, risk control."""

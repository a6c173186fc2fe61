"""Benchmarks of speed, load and halting policies, and tables of their figures."""

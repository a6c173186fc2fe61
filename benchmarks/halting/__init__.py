"""Comparison of halting policies on frozen models."""

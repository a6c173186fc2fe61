"""Modules that models are built from, and the state of their recurrent parts."""

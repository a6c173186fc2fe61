"""Runs as jobs: in line, started in processes of their own, watched and stopped."""

"""Run `python -m ui.export`; see `ui.export.cli`."""

from ui.export.cli import main

main()

"""Export of checkpoints as web pages that run in the browser: one HTML file, or a static Space."""

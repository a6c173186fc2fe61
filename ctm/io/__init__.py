"""Files: atomic writes, JSON, YAML, locks, and files with preallocated space."""

"""Publication of runs: transactional outbox, upload worker, and what a run publishes."""

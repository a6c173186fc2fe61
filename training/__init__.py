"""Training: tasks, data, losses, the training loop, evaluation, jobs and publishing."""

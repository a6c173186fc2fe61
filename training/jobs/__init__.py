"""Job scheduling: a queue of training runs, a process group for each local job, and remote jobs on Hugging Face Jobs."""

"""Job scheduling: a queue of training runs, local process groups, and remote jobs on Hugging Face Jobs."""

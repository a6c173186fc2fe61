"""Remote jobs: training runs on Hugging Face Jobs, monitored from this app."""

"""Export of a model to formats that other runtimes execute."""

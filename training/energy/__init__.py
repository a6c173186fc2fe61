"""Energy head: losses, fitting on held-out samples, and the probability that an answer is correct."""

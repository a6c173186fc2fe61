"""Models: base class and protocols, the Continuous Thought Machine, baselines, outputs."""

"""Meta-training on grid worlds, shared by `experiments.groove` and `experiments.lpg`."""

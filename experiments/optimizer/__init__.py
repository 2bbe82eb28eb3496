"""Meta-training of a learned optimizer on a task, and meta-testing on others."""

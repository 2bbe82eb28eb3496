"""Meta-training a learned optimizer on a task, and measuring it on others."""

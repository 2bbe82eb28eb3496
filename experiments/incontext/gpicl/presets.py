"""Presets: the default run, the sweep over the number of tasks, and the sizes of the paper."""

from experiments.incontext.gpicl.config import (
    EvalConfig,
    MetaConfig,
    ModelConfig,
    StudyConfig,
    SweepConfig,
    TasksConfig,
)

QUICK = StudyConfig()

SWEEP = StudyConfig(
    eval=EvalConfig(datasets=("letters",)),
    sweep=SweepConfig("tasks.num_tasks", (1, 8, 64, 512, 4096, 32768, 0), seeds=3),
)

PAPER = StudyConfig(
    tasks=TasksConfig(dataset="idx:data/mnist", length=100, features=0, min_classes=0, centred=False),
    model=ModelConfig(width=256, layers=4, heads=8, key_size=32),
    meta=MetaConfig(num_steps=100_000, batch_size=512, learning_rate=3e-4, warmup=1000),
    eval=EvalConfig(every=1000, datasets=("idx:data/fashion-mnist", "idx:data/kmnist", "random")),
)

PRESETS = {"quick": QUICK, "sweep": SWEEP, "paper": PAPER}
"""Configurations by name. The paper's learning rate and number of meta-steps are not known to us; replications use
learning rates of 2e-4 to 3e-4."""

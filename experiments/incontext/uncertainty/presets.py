"""Presets: the default (uncertainty), noise-free regression, task diversity, and the sizes of the papers."""

from experiments.incontext.uncertainty.config import (
    FRESH,
    EvalConfig,
    ModelConfig,
    StudyConfig,
    TaskConfig,
    TrainingConfig,
)

QUICK = StudyConfig()

REGRESSION = StudyConfig(task=TaskConfig(objective="mean", length=16, noises=(0.0,)), eval=EvalConfig(min_examples=4))
"""Noise-free regression as in arXiv 2208.01066, compared with least squares, averaging and gradient descent."""

DIVERSITY = StudyConfig(
    task=TaskConfig(objective="mean", length=8, noises=(0.25,), pools=(4, 64, 1024, FRESH)),
    model=ModelConfig(layers=2),
    training=TrainingConfig(num_steps=5000, batch=128),
    eval=EvalConfig(min_examples=4),
)
"""Pools of increasing size as in arXiv 2306.15063, compared with the posteriors over the pool (dMMSE) and over all
functions (ridge)."""

PAPER = StudyConfig(
    task=TaskConfig(dimensions=8, length=44, pools=(4096, 65_536, FRESH)),
    model=ModelConfig(width=256, layers=12, heads=8),
    training=TrainingConfig(num_steps=500_000, learning_rate=1e-4, warmup=5000),
    eval=EvalConfig(every=10_000, min_examples=16),
)

PRESETS = {"quick": QUICK, "regression": REGRESSION, "diversity": DIVERSITY, "paper": PAPER}
"""Configurations by name."""

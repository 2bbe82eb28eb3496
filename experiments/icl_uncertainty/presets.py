"""The sizes at which models are trained; regression and diversity are other questions put to the same study."""

from experiments.icl_uncertainty.config import (
    FRESH,
    EvalConfig,
    ModelConfig,
    StudyConfig,
    TaskConfig,
    TrainingConfig,
)

QUICK = StudyConfig()

REGRESSION = StudyConfig(task=TaskConfig(objective="mean", length=16, noises=(0.0,)), eval=EvalConfig(late=4))
"""Without noise, as arXiv 2208.01066 has it: against least squares, ridge regression and gradient descent."""

DIVERSITY = StudyConfig(
    task=TaskConfig(objective="mean", length=8, noises=(0.25,), pools=(4, 64, 1024, FRESH)),
    model=ModelConfig(layers=2),
    training=TrainingConfig(num_steps=5000, batch=128),
    eval=EvalConfig(late=4),
)
"""From few functions to ever new ones, as arXiv 2306.15063 has it: against the posterior over the pool (dMMSE) and over
all functions (ridge)."""

PAPER = StudyConfig(
    task=TaskConfig(dimensions=8, length=44, pools=(4096, 65_536, FRESH)),
    model=ModelConfig(width=256, layers=12, heads=8),
    training=TrainingConfig(num_steps=500_000, learning_rate=1e-4, warm_up=5000),
    eval=EvalConfig(every=10_000, late=16),
)

PRESETS = {"quick": QUICK, "regression": REGRESSION, "diversity": DIVERSITY, "paper": PAPER}

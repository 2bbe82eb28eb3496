"""Presets: quick (minutes on two cores), small, and the sizes of the papers."""

from experiments.optimizer.config import EvalConfig, MetaConfig, RuleConfig, StudyConfig, TrainingConfig

QUICK = StudyConfig()

SMALL = StudyConfig(
    training=TrainingConfig(num_updates=500, shortest=50, rescale=10.0),
    meta=MetaConfig(num_steps=20_000, num_lifetimes=32),
    eval=EvalConfig(
        every=1000,
        tasks=(
            "digits_deep",
            "digits_conv",
            "digits_autoencoder",
            "breast_cancer",
            "wine",
            "diabetes",
            "quadratic",
            "rosenbrock",
            "text_gru",
            "text_transformer",
        ),
        rates=17,
        tuning_seeds=16,
        seeds=64,
    ),
)

PAPER = StudyConfig(
    training=TrainingConfig(num_updates=2000, shortest=100, rescale=1000.0),
    rule=RuleConfig(step_size=1e-3, exponent=1e-3),
    meta=MetaConfig(num_steps=100_000, num_lifetimes=128, num_updates=50, learning_rate=3e-4),
    eval=EvalConfig(every=2000, tasks=SMALL.eval.tasks, rates=33, tuning_seeds=32, seeds=128),
)

PRESETS = {"quick": QUICK, "small": SMALL, "paper": PAPER}

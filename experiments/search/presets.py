"""Presets: configurations of small, medium and published size."""

from experiments.search.config import EvalConfig, ProxyConfig, SearchConfig, StudyConfig

QUICK = StudyConfig()

SMALL = StudyConfig(
    proxy=ProxyConfig(steps=500),
    search=SearchConfig(steps=400, population=1000, plateau=15_000),
    eval=EvalConfig(
        validation_steps=2000,
        every=20,
        tasks=(*QUICK.eval.tasks, "digits_conv", "text_gru", "text_transformer"),
        num_updates=1000,
        trials=32,
        tuning_seeds=8,
        seeds=32,
    ),
)

PAPER = StudyConfig(
    proxy=ProxyConfig(task="text_transformer", steps=20_000, learners=1),
    search=SearchConfig(steps=2400, multiple=4, population=1000, tournament=2, plateau=None),
    eval=EvalConfig(
        validation="text_gru",
        validation_steps=100_000,
        every=100,
        tasks=SMALL.eval.tasks,
        num_updates=20_000,
        trials=32,
        tuning_seeds=8,
        seeds=32,
    ),
)

PRESETS = {"quick": QUICK, "small": SMALL, "paper": PAPER}

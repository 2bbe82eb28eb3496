"""Presets of LPG: meta-gradients (the sizes of GROOVE without replay), TA-LPG (evolution strategies), imitation."""

import dataclasses

from experiments.cli.evolution import ESConfig
from experiments.grid.config import (
    AgentConfig,
    CurriculumConfig,
    EvalConfig,
    LevelsConfig,
    MetaConfig,
    RuleConfig,
    StudyConfig,
)
from experiments.grid.groove_presets import PRESETS as GROOVE
from lopt.training import RunConfig

RUN = RunConfig(out="runs/lpg")

TA = StudyConfig(
    run=RUN,
    score="uniform",
    levels=LevelsConfig(distribution="small", num_updates=50, shortest=10),
    rule=RuleConfig(hidden=16, prediction_size=4, time="normalised"),
    agent=AgentConfig(num_envs=8, prediction_rate=100.0),
    meta=MetaConfig(
        estimator="es",
        num_steps=400,
        num_lifetimes=64,
        learning_rate=2e-2,
        final_rate=0.1,
        chunk_size=None,
        steps_per_chunk=10,
    ),
    es=ESConfig(episodes=16, pack=16),
    curriculum=CurriculumConfig(episodes=16),
    eval=EvalConfig(every=50),
)

TA_PAPER = StudyConfig(
    run=RUN,
    score="uniform",
    levels=LevelsConfig(num_updates=250, shortest=10),
    rule=RuleConfig(time="normalised"),
    meta=MetaConfig(estimator="es", num_steps=2500, num_lifetimes=512, learning_rate=1e-2, final_rate=0.08),
    es=ESConfig(pack=64),
    eval=EvalConfig(every=100, seeds=10, episodes=64),
)
"""Paper: arXiv 2402.05828. Differs: the learning rate decays by a cosine, to the value that a factor of 0.999 per
meta-step reaches."""

SCHEDULES = StudyConfig(
    run=RunConfig(out="runs/schedules"),
    score="uniform",
    levels=LevelsConfig(num_updates=50),
    rule=RuleConfig(objective="scheduled_a2c"),
    agent=AgentConfig(num_envs=16),
    meta=MetaConfig(estimator="es", num_steps=60, num_lifetimes=96, chunk_size=None, steps_per_chunk=4),
    es=ESConfig(strategy="CMA_ES", population=20, std=0.3, episodes=16, pack=8),
    eval=EvalConfig(every=20),
)
"""A2C with all its constants annealed, found by CMA-ES; a rule that LPG can start from (preset imitation)."""

IMITATION = StudyConfig(
    run=RUN,
    score="uniform",
    levels=LevelsConfig(num_updates=50),
    rule=RuleConfig(hidden=32, time="fraction", normalise=True, start="a2c"),
    agent=AgentConfig(num_envs=16, prediction_rate=60.0),
    meta=MetaConfig(
        estimator="es",
        fitness="second_half",
        num_steps=200,
        num_lifetimes=96,
        learning_rate=5e-4,
        final_rate=0.1,
        chunk_size=None,
        steps_per_chunk=10,
    ),
    es=ESConfig(std=0.02, shaping="rank", b1=0.9, pack=48),
    eval=EvalConfig(every=50),
)
"""LPG with time that starts as an imitation (rule.start: a2c, or a rule file of the preset schedules), then evolution
strategies over whole lifetimes."""

PRESETS = {
    **{name: dataclasses.replace(preset, run=RUN, score="uniform") for name, preset in GROOVE.items()},
    "schedules": SCHEDULES,
    "imitation": IMITATION,
    "ta": TA,
    "ta_paper": TA_PAPER,
}

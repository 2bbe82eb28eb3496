"""Presets of GROOVE: quick (minutes on two cores), small, and the sizes of the paper."""

from experiments.grid.config import (
    AgentConfig,
    CurriculumConfig,
    EvalConfig,
    LevelsConfig,
    MetaConfig,
    RuleConfig,
    StudyConfig,
)
from lopt.training import RunConfig

QUICK = StudyConfig(
    run=RunConfig(out="runs/groove"),
    levels=LevelsConfig(num_updates=50),
    rule=RuleConfig(hidden=32),
    agent=AgentConfig(num_envs=16, prediction_rate=100.0),
    meta=MetaConfig(
        num_steps=800,
        num_lifetimes=48,
        learning_rate=5e-3,
        final_rate=0.05,
        lifetime_norm=0.03,
        policy_entropy=0.07,
        chunk_size=None,
    ),
    curriculum=CurriculumConfig(buffer=500, episodes=16),
    eval=EvalConfig(every=200),
)

SMALL = StudyConfig(
    run=RunConfig(out="runs/groove"),
    levels=LevelsConfig(num_updates=250),
    rule=RuleConfig(hidden=64),
    agent=AgentConfig(num_envs=32, prediction_rate=100.0),
    meta=MetaConfig(
        num_steps=5000,
        num_lifetimes=32,
        learning_rate=3e-3,
        final_rate=0.05,
        lifetime_norm=0.03,
        policy_entropy=0.07,
        chunk_size=None,
    ),
    curriculum=CurriculumConfig(buffer=1000, episodes=32),
    eval=EvalConfig(every=500),
)

PAPER = StudyConfig(
    run=RunConfig(out="runs/groove"),
    levels=LevelsConfig(num_updates=250),
    meta=MetaConfig(num_steps=5000, num_lifetimes=512),
    eval=EvalConfig(every=200, seeds=10, episodes=64),
)

PRESETS = {"quick": QUICK, "small": SMALL, "paper": PAPER}

"""Presets of LPO and TA-LPO: quick and ta (minutes on two cores), and the sizes of the paper."""

import dataclasses

from experiments.cli.evolution import ESConfig
from experiments.drift.build import DriftConfig
from experiments.drift.config import DriftStudyConfig, EvalConfig, MetaConfig
from experiments.drift.settings import InnerConfig

QUICK = DriftStudyConfig(
    envs=("CartPole-v1",),
    test_envs=("Acrobot-v1",),
    drift=DriftConfig(base_drift="none"),
    inner=InnerConfig(
        num_envs=16,
        rollout_length=32,
        total_steps=10_240,
        epochs=16,
        num_minibatches=2,
        learning_rate=1e-2,
        hidden=(32, 32),
    ),
    meta=MetaConfig(num_steps=60, num_lifetimes=16, learning_rate=2e-2, fitness="lifetime", steps_per_chunk=5),
    es=ESConfig(std=0.05, shaping="rank", episodes=16),
    eval=EvalConfig(seeds=32, episodes=32, every=20),
)
"""Short lifetimes with many epochs and a large learning rate, in which the drift has a large effect; f_0 is zero."""

TA = dataclasses.replace(QUICK, drift=DriftConfig(base_drift="none", time="fraction"))

PAPER = DriftStudyConfig(
    envs=("brax/ant",),
    test_envs=("brax/humanoid", "brax/walker2d", "brax/hopper"),
    es=ESConfig(std=0.04, shaping="zscore", episodes=128),
)

PRESETS = {"quick": QUICK, "ta": TA, "paper": PAPER}

"""The sizes at which drifts are meta-trained."""

import dataclasses

from experiments.common.evolution import ESConfig
from experiments.mirror.build import DriftConfig
from experiments.mirror.config import EvalConfig, MetaConfig, MirrorConfig
from experiments.mirror.settings import InnerConfig

QUICK = MirrorConfig(
    envs=("CartPole-v1",),
    test_envs=("Acrobot-v1",),
    drift=DriftConfig(floor="none"),
    inner=InnerConfig(
        num_envs=16,
        rollout_length=32,
        total_steps=10_240,
        epochs=16,
        num_minibatches=2,
        learning_rate=1e-2,
        hidden=(32, 32),
    ),
    meta=MetaConfig(num_steps=60, num_lifetimes=16, learning_rate=2e-2, fitness="life", steps_per_chunk=5),
    es=ESConfig(std=0.05, shaping="rank", episodes=16),
    eval=EvalConfig(seeds=32, episodes=32, every=20),
)
"""Short lives of many epochs and large steps, where what holds a policy back decides; the drift starts from nothing."""

TA = dataclasses.replace(QUICK, drift=DriftConfig(floor="none", time="fraction"))

PAPER = MirrorConfig(
    envs=("brax/ant",),
    test_envs=("brax/humanoid", "brax/walker2d", "brax/hopper"),
    es=ESConfig(std=0.04, shaping="zscore", episodes=128),
)

PRESETS = {"quick": QUICK, "ta": TA, "paper": PAPER}

"""The sizes at which drifts are meta-trained."""

import dataclasses

from experiments.common.evolution import ESConfig
from experiments.mirror.build import DriftConfig
from experiments.mirror.config import EvalConfig, MetaConfig, MirrorConfig
from experiments.mirror.settings import InnerConfig

QUICK = MirrorConfig(
    envs=("CartPole-v1",),
    test_envs=("Acrobot-v1", "Catch-bsuite"),
    inner=InnerConfig(
        num_envs=16, rollout_length=32, total_steps=20_480, num_minibatches=4, learning_rate=3e-3, hidden=(32, 32)
    ),
    meta=MetaConfig(num_steps=100, num_lifetimes=16, learning_rate=2e-2, steps_per_chunk=5),
    es=ESConfig(std=0.04, shaping="rank", episodes=16),
    eval=EvalConfig(seeds=16, episodes=32, every=25),
)

TA = dataclasses.replace(QUICK, drift=DriftConfig(time="fraction"))

PAPER = MirrorConfig(
    envs=("brax/ant",),
    test_envs=("brax/humanoid", "brax/walker2d", "brax/hopper"),
    es=ESConfig(std=0.04, shaping="zscore", episodes=128),
)

PRESETS = {"quick": QUICK, "ta": TA, "paper": PAPER}

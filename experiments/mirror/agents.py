"""Agents trained from scratch under a drift: learning curves and final returns over seeds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from experiments.common import plots
from experiments.common.compiling import often
from experiments.mirror.build import World
from lopt.objectives import Drift
from lopt.types import Key, Theta
from lopt.unroll import unroll


@dataclass(frozen=True)
class Learned:
    """What became of agents: `curve` `[seeds, N]`, mean returns of the episodes that began in each update (unfinished
    ones with what they had earned at the end), and `final` `[seeds]`, mean returns of fresh episodes at the end."""

    curve: np.ndarray
    final: np.ndarray

    @property
    def life(self) -> np.ndarray:
        """Mean returns over the life `[seeds]`: the mean of `curve`."""
        return self.curve.mean(1)


def teach(world: World, drift: Drift, episodes: int) -> Callable[[Key, Theta], Learned]:
    """`(keys [seeds], theta) -> Learned`: agents of all seeds side by side, compiled once."""
    lifetime = world.lifetime(drift, episodes)
    measure = world.measure(lifetime, episodes)

    def one(key, theta):
        key_level, key_birth, key_life, key_measure = jax.random.split(key, 4)
        level = world.levels(key_level)

        def step(key, state):
            return lifetime.step(key, theta, level, state)[0], None

        initial = lifetime.init(key_birth, theta, level)
        state, _ = unroll(step, key_life, initial, world.settings.num_updates)
        return state.returns.curve(state.earned, state.age), measure(key_measure, level, state)

    go = often(jax.vmap(one, (0, None)))

    def learned(keys, theta):
        curve, final = go(keys, theta)
        return Learned(np.asarray(curve), np.asarray(final))

    return learned


def draw(found: Mapping[str, Mapping[str, Learned]], worlds: Mapping[str, World], path: Path) -> None:
    """Learning curves, one panel per environment: means over seeds, and the range of the middle half of them."""
    with plots.figure(path, columns=len(found)) as (drawing, axes):
        for axis, (name, by_drift) in zip(axes[0], found.items(), strict=True):
            settings = worlds[name].settings
            steps = settings.num_envs * settings.rollout_length
            for color, (drift, learned) in zip(plots.COLORS, by_drift.items(), strict=False):
                curves = np.stack([plots.smooth(c, max(1, len(c) // 50)) for c in learned.curve])
                x = steps * np.arange(1, curves.shape[1] + 1)
                low, high = np.percentile(curves, [25, 75], axis=0)
                axis.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
                axis.plot(x, curves.mean(0), color=color, label=drift)
            axis.set(title=name, xlabel="environment steps", ylabel="return")
        drawing.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center")

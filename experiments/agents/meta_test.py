"""Meta-testing with PPO agents: agents trained from scratch, their learning curves and final returns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from experiments.agents.env_setup import EnvSetup
from lopt.agents import MeanReturn
from lopt.evaluation import MetaTester, plots
from lopt.protocols import Lifetime
from lopt.training import jit_once
from lopt.types import Key, Theta


@dataclass(frozen=True)
class MetaTestResult:
    """Returns of agents trained from scratch under a rule.

    Attributes:
        curve: `[seeds, N]`, mean returns of the episodes that began in each update; unfinished episodes count with the
            rewards until the end of the lifetime.
        final: `[seeds]`, mean returns of fresh episodes after the last update.
    """

    curve: np.ndarray
    final: np.ndarray

    @property
    def lifetime_return(self) -> np.ndarray:
        """Mean returns over the lifetime `[seeds]`: the mean of `curve` over updates."""
        return self.curve.mean(1)


def meta_tester(
    env_setup: EnvSetup, lifetime: Lifetime, evaluate: MeanReturn
) -> Callable[[Key, Theta], MetaTestResult]:
    """A function `(keys [seeds], theta) -> MetaTestResult` that trains agents of all seeds side by side.

    It is compiled once. The state of `lifetime` is that of a `PPOLifetime`; `evaluate` measures agents after the last
    update.
    """
    sample = jit_once(jax.vmap(env_setup.levels))

    def measure(key, level, learner):
        return learner.returns.curve(learner.running_return, learner.age), evaluate(key, level, learner)

    tester = MetaTester(lifetime=lifetime, num_updates=env_setup.settings.num_updates, measure=measure)

    def meta_test(keys, theta):
        split = jax.vmap(jax.random.split)(keys)
        levels = sample(split[:, 0])
        curve, final = tester(split[:, 1], theta, levels).final
        return MetaTestResult(np.asarray(curve), np.asarray(final))

    return meta_test


def draw(results: Mapping[str, Mapping[str, MetaTestResult]], env_setups: Mapping[str, EnvSetup], path: Path) -> None:
    """Draw learning curves, one panel per environment: means over seeds, and the range of the middle half of them.

    `results` are by environment and by rule.
    """
    with plots.figure(path, columns=len(results)) as (drawing, axes):
        for axis, (name, by_rule) in zip(axes[0], results.items(), strict=True):
            settings = env_setups[name].settings
            steps = settings.num_envs * settings.rollout_length
            for color, (rule, result) in zip(plots.COLORS, by_rule.items(), strict=False):
                curves = np.stack([plots.smooth(c, max(1, len(c) // 50)) for c in result.curve])
                x = steps * np.arange(1, curves.shape[1] + 1)
                low, high = np.percentile(curves, [25, 75], axis=0)
                axis.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
                axis.plot(x, curves.mean(0), color=color, label=rule)
            axis.set(title=name, xlabel="environment steps", ylabel="return")
        plots.shared_legend(drawing, axes[0, 0])

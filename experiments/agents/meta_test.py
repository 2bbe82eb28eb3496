"""Meta-testing with PPO agents: agents trained from scratch, their learning curves and final returns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from lopt.agents import MeanReturn
from lopt.evaluation import MetaTester, plots
from lopt.protocols import Lifetime
from lopt.training import jit_once
from lopt.types import Key, Level, Theta


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
    distribution: Callable[[Key], Level], num_updates: int, lifetime: Lifetime, evaluate: MeanReturn
) -> Callable[[Key, Theta], MetaTestResult]:
    """A function `(keys [seeds], theta) -> MetaTestResult` that trains agents of all seeds side by side.

    It is compiled once. The state of `lifetime` keeps its returns (`tracked_updates`); `evaluate` measures agents after
    the last update.

    Args:
        distribution: of the levels, with lifetimes of at most `num_updates`.
        num_updates: inner updates of an agent.
        lifetime: of the agents.
        evaluate: `(key, level, learner) -> mean return`.
    """
    sample = jit_once(jax.vmap(distribution))

    def measure(key, level, learner):
        return learner.returns.curve(learner.running_return, learner.age), evaluate(key, level, learner)

    tester = MetaTester(lifetime=lifetime, num_updates=num_updates, measure=measure)

    def meta_test(keys, theta):
        split = jax.vmap(jax.random.split)(keys)
        levels = sample(split[:, 0])
        curve, final = tester(split[:, 1], theta, levels).final
        return MetaTestResult(np.asarray(curve), np.asarray(final))

    return meta_test


def draw(results: Mapping[str, Mapping[str, MetaTestResult]], steps: Mapping[str, int], path: Path) -> None:
    """Draw learning curves, one panel per environment: means over seeds, and the range of the middle half of them.

    Args:
        results: by environment and by rule.
        steps: by environment, the environment steps of an update.
        path: of the image.
    """
    with plots.figure(path, columns=len(results)) as (drawing, axes):
        for axis, (name, by_rule) in zip(axes[0], results.items(), strict=True):
            for i, (rule, result) in enumerate(by_rule.items()):
                style = plots.line_style(i)
                curves = np.stack([plots.smooth(c, max(1, len(c) // 50)) for c in result.curve])
                x = steps[name] * np.arange(1, curves.shape[1] + 1)
                low, high = np.percentile(curves, [25, 75], axis=0)
                axis.fill_between(x, low, high, color=style["color"], alpha=0.2, linewidth=0)
                axis.plot(x, curves.mean(0), label=rule, **style)
            axis.set(title=name, xlabel="environment steps", ylabel="return")
        plots.shared_legend(drawing, axes[0, 0])

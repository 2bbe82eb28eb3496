"""A drift, drawn: the function itself, and the slope of the objective it leaves."""

from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common import plots
from experiments.mirror.build import DRIFTS
from lopt.objectives import Drift, bind_drift
from lopt.types import Progress, Theta

AGES = (0.0, 0.5, 1.0)
"""Fractions n / N of a life."""
ADVANTAGES = (1.0, -1.0)
"""At which slopes are drawn."""


def values(drift: Drift, theta: Theta, ratio: np.ndarray, advantage: np.ndarray, age: float) -> np.ndarray:
    """f `[advantages, ratios]` at the age n / N."""
    return np.asarray(_surface(drift, theta, ratio, advantage, age)[0])


def slopes(drift: Drift, theta: Theta, ratio: np.ndarray, advantage: np.ndarray, age: float) -> np.ndarray:
    """d(r A - f)/dr `[advantages, ratios]` at the age n / N: where it is zero nothing is learned, below zero a policy
    is rolled back."""
    return np.asarray(_surface(drift, theta, ratio, advantage, age)[1])


def _surface(drift, theta, ratio, advantage, age):
    progress = Progress(step=jnp.int32(round(1000 * age)), lifetime=jnp.int32(1000))
    f = bind_drift(drift, theta, progress)

    def objective(r, a):
        return r * a - f(jnp.log(r), a)

    r, a = jnp.meshgrid(jnp.asarray(ratio, jnp.float32), jnp.asarray(advantage, jnp.float32))
    slope = jax.vmap(jax.vmap(jax.grad(objective)))(r, a)
    return f(jnp.log(r), a), slope


def draw(drift: Drift, theta: Theta, path: Path) -> None:
    """The drift over (r, A) at three ages (one, for a drift that is not told), and slopes beside PPO's and DPO's."""
    ages = AGES if drift.time_aware else AGES[:1]
    ratio, advantage = np.linspace(0.4, 1.8, 141), np.linspace(-3, 3, 121)
    surfaces = [values(drift, theta, ratio, advantage, age) for age in ages]
    top = max(float(np.percentile(surface, 99)) for surface in surfaces) or 1.0
    with plots.figure(path, columns=len(ages) + len(ADVANTAGES)) as (drawing, axes):
        for axis, age, surface in zip(axes[0], ages, surfaces, strict=False):
            mesh = axis.pcolormesh(ratio, advantage, surface, vmin=0, vmax=top, cmap="viridis", rasterized=True)
            title = "drift f" if len(ages) == 1 else f"drift f, n/N = {age:g}"
            axis.set(title=title, xlabel="ratio r", ylabel="advantage A")
        drawing.colorbar(mesh, ax=list(axes[0, : len(ages)]))
        for axis, a in zip(axes[0, len(ages) :], ADVANTAGES, strict=True):
            for label, line, look in _lines(drift, theta, ratio, a, ages):
                axis.plot(ratio, line, label=label, **look)
            axis.axhline(0, color="#808080", linewidth=0.8)
            axis.set(title=f"slope of the objective, A = {a:g}", xlabel="ratio r")
        drawing.legend(*axes[0, -1].get_legend_handles_labels(), loc="outside right center")


def _lines(drift, theta, ratio, advantage, ages):
    fixed: Mapping[str, Drift] = DRIFTS
    for color, (name, other) in zip(("#808080", "#000000"), fixed.items(), strict=True):
        line = slopes(other, (), ratio, np.array([advantage]), 0.0)[0]
        yield name.upper(), line, {"color": color, "linestyle": "--", "linewidth": 1.2}
    for color, age in zip(plots.COLORS, ages, strict=False):
        label = "learned" if len(ages) == 1 else f"learned, n/N = {age:g}"
        yield label, slopes(drift, theta, ratio, np.array([advantage]), age)[0], {"color": color}

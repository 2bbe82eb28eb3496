"""Values of a drift f(r, A), slopes of the objective r A - f, and a picture of both."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from lopt.evaluation import plots
from lopt.objectives import DPO, Clip, Drift, bind_drift
from lopt.types import Progress, Theta

BASELINES: dict[str, Drift] = {"PPO": Clip(), "DPO": DPO()}
"""Drifts whose slopes are drawn for comparison."""
FRACTIONS = (0.0, 0.5, 1.0)
"""Values of n / N at which a drift with time inputs is drawn."""
ADVANTAGES = (1.0, -1.0)
"""Advantages at which slopes are drawn."""


def values(drift: Drift, theta: Theta, ratio: np.ndarray, advantage: np.ndarray, fraction: float) -> np.ndarray:
    """f `[advantages, ratios]` at n / N = `fraction`."""
    return np.asarray(_surface(drift, theta, ratio, advantage, fraction)[0])


def slopes(drift: Drift, theta: Theta, ratio: np.ndarray, advantage: np.ndarray, fraction: float) -> np.ndarray:
    """d(r A - f)/dr `[advantages, ratios]` at n / N = `fraction`.

    Where the slope is zero a sample has no gradient. Where its sign is opposite to that of A, the ratio is moved back
    towards 1.
    """
    return np.asarray(_surface(drift, theta, ratio, advantage, fraction)[1])


def _surface(drift, theta, ratio, advantage, fraction):
    progress = Progress(step=jnp.int32(round(1000 * fraction)), num_updates=jnp.int32(1000))
    f = bind_drift(drift, theta, progress)

    def objective(r, a):
        return r * a - f(jnp.log(r), a)

    r, a = jnp.meshgrid(jnp.asarray(ratio, jnp.float32), jnp.asarray(advantage, jnp.float32))
    slope = jax.vmap(jax.vmap(jax.grad(objective)))(r, a)
    return f(jnp.log(r), a), slope


def draw(drift: Drift, theta: Theta, path: Path) -> None:
    """Draw f(r, A) and the slopes of the objective at the FRACTIONS (one, for a drift without time inputs).

    The slopes of PPO and DPO are drawn for comparison.
    """
    fractions = FRACTIONS if drift.time_aware else FRACTIONS[:1]
    ratio, advantage = np.linspace(0.4, 1.8, 141), np.linspace(-3, 3, 121)
    surfaces = [values(drift, theta, ratio, advantage, fraction) for fraction in fractions]
    top = max(float(np.percentile(surface, 99)) for surface in surfaces) or 1.0
    with plots.figure(path, columns=len(fractions) + len(ADVANTAGES)) as (drawing, axes):
        for axis, fraction, surface in zip(axes[0], fractions, surfaces, strict=False):
            mesh = axis.pcolormesh(ratio, advantage, surface, vmin=0, vmax=top, cmap="viridis", rasterized=True)
            title = "drift f" if len(fractions) == 1 else f"drift f, n/N = {fraction:g}"
            axis.set(title=title, xlabel="ratio r", ylabel="advantage A")
        drawing.colorbar(mesh, ax=list(axes[0, : len(fractions)]))
        for axis, a in zip(axes[0, len(fractions) :], ADVANTAGES, strict=True):
            for label, line, style in _lines(drift, theta, ratio, a, fractions):
                axis.plot(ratio, line, label=label, **style)
            axis.axhline(0, color="#808080", linewidth=0.8)
            axis.set(title=f"slope of the objective, A = {a:g}", xlabel="ratio r")
        plots.shared_legend(drawing, axes[0, -1])


def _lines(drift, theta, ratio, advantage, fractions):
    for color, (name, baseline) in zip(("#808080", "#000000"), BASELINES.items(), strict=True):
        line = slopes(baseline, (), ratio, np.array([advantage]), 0.0)[0]
        yield name, line, {"color": color, "linestyle": "--", "linewidth": 1.2}
    for color, fraction in zip(plots.COLORS, fractions, strict=False):
        label = "learned" if len(fractions) == 1 else f"learned, n/N = {fraction:g}"
        yield label, slopes(drift, theta, ratio, np.array([advantage]), fraction)[0], {"color": color}

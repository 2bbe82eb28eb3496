"""PPO's policy loss with any drift, as a function of arrays, for use in other implementations of PPO."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lopt.objectives.drift import DPO, Clip, Drift
from lopt.types import Progress, Theta

DriftFunction = Callable[..., jax.Array]
"""f(log r, A): from two arrays of equal shape to one of that shape; time-aware drifts take a `Progress` as third."""

MAX_LOG_RATIO = 20.0
"""Bound on |log r| in the loss."""


def bind_drift(drift: Drift, theta: Theta = (), progress: Progress | None = None) -> DriftFunction:
    """A drift as a function of arrays, for `ppo_loss`, for plots, or for differentiation.

        drift = lopt.bind_drift(TALPO(base_drift=Clip()), theta)
        f = drift(log_ratio, advantage, Progress(step, lifetime))

    Args:
        drift: the drift.
        theta: its meta-parameters.
        progress: if given, the function is f(log r, A) at this progress; else the function takes the progress as third
            argument, which is optional and ignored where the drift is not time-aware.

    Raises:
        ValueError: a `drift` that is not a `Drift`; when the function is called, a time-aware drift without progress.
    """
    if isinstance(drift, type) or not isinstance(drift, Drift):
        raise ValueError(f"bind_drift: drift must be a Drift, such as Clip() or DPO() (got {drift!r})")
    if progress is not None:
        return lambda log_ratio, advantage: drift(theta, log_ratio, advantage, progress)

    def function(log_ratio: jax.Array, advantage: jax.Array, progress: Progress | None = None) -> jax.Array:
        if progress is None:
            if drift.time_aware:
                raise ValueError(
                    f"{type(drift).__name__}: this drift depends on time and needs the learner's progress (got None), "
                    "for example drift(log_ratio, advantage, Progress(step=jnp.int32(3), lifetime=jnp.int32(10))) in "
                    "the fourth of ten updates, or ppo_loss(..., progress=...); Progress is in lopt.types"
                )
            progress = Progress(step=jnp.zeros((), jnp.int32), num_updates=jnp.ones((), jnp.int32))
        return drift(theta, log_ratio, advantage, progress)

    return function


def clip_drift(epsilon: float = 0.2) -> DriftFunction:
    """PPO's drift (`Clip`) as a function f(log r, A)."""
    return bind_drift(Clip(epsilon))


def dpo_drift(alpha: float = 2.0, beta: float = 0.6) -> DriftFunction:
    """DPO's drift (`DPO`) as a function f(log r, A)."""
    return bind_drift(DPO(alpha, beta))


def ppo_loss(
    log_prob: Float[Array, "*b"],
    old_log_prob: Float[Array, "*b"],
    advantage: Float[Array, "*b"],
    drift: DriftFunction | None = None,
    where: Bool[Array, "*b"] | None = None,
    progress: Progress | None = None,
) -> Float[Array, ""]:
    """The policy loss - mean[ r A - f(r, A) ], with r = exp(log_prob - old_log_prob).

    It replaces the clipped surrogate in any PPO; the value loss and the entropy bonus are unchanged:

        loss = lopt.ppo_loss(log_prob, batch.log_prob, advantage, lopt.dpo_drift()) + value_loss - 0.01 * entropy

    Args:
        log_prob: log pi(a) of the actions taken, under the policy that is trained.
        old_log_prob: log pi_old(a), under the policy that sampled the actions.
        advantage: A, normalised as in PPO; a discovered drift depends on the scale of A.
        drift: f; None is PPO's, `clip_drift()`.
        where: the entries that the mean is over; None for all.
        progress: the learner's progress, for a time-aware drift.

    Raises:
        ValueError: arrays of different shapes, a `Drift` instead of a function, or a time-aware drift without progress.

    Paper: arXiv 2201.02373 (mirror learning); arXiv 2210.05639.
    Differs: log r is clipped to [-20, 20], with zero gradient outside, so that the loss stays finite for a policy that
        has diverged.
    """
    arrays = {"log_prob": log_prob, "old_log_prob": old_log_prob, "advantage": advantage}
    shapes = {name: jnp.shape(x) for name, x in (arrays | ({} if where is None else {"where": where})).items()}
    if len(set(shapes.values())) > 1:
        got = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"ppo_loss: arrays must have one shape (got {got})")
    if isinstance(drift, Drift) or not (drift is None or callable(drift)):
        raise ValueError(
            f"ppo_loss: drift must be a function, such as lopt.dpo_drift() or lopt.bind_drift(DPO()) (got {drift!r})"
        )
    log_ratio = bounded_log_ratio(log_prob, old_log_prob)
    time = () if progress is None else (progress,)
    objective = jnp.exp(log_ratio) * advantage - (drift or clip_drift())(log_ratio, advantage, *time)
    return -jnp.mean(objective, where=where)


def bounded_log_ratio(log_prob: Float[Array, "*b"], old_log_prob: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """log r, clipped to [-20, 20]."""
    return jnp.clip(log_prob - old_log_prob, -MAX_LOG_RATIO, MAX_LOG_RATIO)

"""PPO's policy loss as a function of arrays, to put a discovered drift into a PPO of one's own."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lopt.objectives.dpo import DPO
from lopt.objectives.drift import Clip, Drift
from lopt.types import Progress, Theta

DriftFunction = Callable[..., jax.Array]
"""f: from log r and A, of one shape, to the drift, of that shape; if it depends on time, the `Progress` is third."""

MAX_LOG_RATIO = 20.0


def bind_drift(drift: Drift, theta: Theta = (), progress: Progress | None = None) -> DriftFunction:
    """A drift as a function of arrays: to put into `ppo_loss`, to plot, or to differentiate.

        drift = lopt.bind_drift(TALPO(floor=Clip()), theta)
        f = drift(log_ratio, advantage, Progress(step, lifetime))

    With `progress` it is a function of log r and A alone, at that point of the lifetime. Without, it takes the progress
    as its third argument. A drift that does not depend on time can do without, and ignores it.

    Raises:
        ValueError: no `Drift`; in the function, a drift that depends on time and no progress.
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
            progress = Progress(step=jnp.zeros((), jnp.int32), lifetime=jnp.ones((), jnp.int32))
        return drift(theta, log_ratio, advantage, progress)

    return function


def clip_drift(epsilon: float = 0.2) -> DriftFunction:
    """PPO's drift, see `Clip`."""
    return bind_drift(Clip(epsilon))


def dpo_drift(alpha: float = 2.0, beta: float = 0.6) -> DriftFunction:
    """DPO's drift, see `DPO`."""
    return bind_drift(DPO(alpha, beta))


def ppo_loss(
    log_prob: Float[Array, "*b"],
    old_log_prob: Float[Array, "*b"],
    advantage: Float[Array, "*b"],
    drift: DriftFunction | None = None,
    where: Bool[Array, "*b"] | None = None,
    progress: Progress | None = None,
) -> Float[Array, ""]:
    """- mean[ r A - f(r, A) ] with r = exp(log_prob - old_log_prob), to be minimised.

    It takes the place of the clipped surrogate in any PPO; the value's loss and the entropy bonus stay as they are:

        loss = lopt.ppo_loss(log_prob, batch.log_prob, advantage, lopt.dpo_drift()) + value_loss - 0.01 * entropy

    Args:
        log_prob: of the actions that were taken, under the policy that is being trained.
        old_log_prob: the same under the policy that took them.
        advantage: as PPO uses it, normalised: a discovered drift is not the same function of another scale.
        drift: f; None is PPO's own, `clip_drift()`.
        where: which entries count; None for all of them. The mean is over these.
        progress: where the learner is in its lifetime, for a drift that depends on time.

    Raises:
        ValueError: arrays of different shapes, a `Drift` in the place of a function, or a drift that depends on time
            and no progress.

    Paper: arXiv 2201.02373 (mirror learning); arXiv 2210.05639.
    Differs: the log-ratio is kept within 20 of zero, without slope beyond, so that a policy that has run away does not
        turn the loss into infinity or NaN.
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
    """log r, kept within 20 of zero."""
    return jnp.clip(log_prob - old_log_prob, -MAX_LOG_RATIO, MAX_LOG_RATIO)

"""Returns over a whole lifetime: a learning curve in which unfinished episodes count."""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int


class LifetimeReturns(struct.PyTreeNode):
    """Sum and number of the undiscounted returns of the episodes that began in each update, `[N]`.

    The mean over the episodes that *ended* in an update favours short episodes: long ones have not ended yet, and at
    the end of the lifetime never do. An episode belongs to the update in which it began, whatever its length.

    `begun` is the update in which the episode under way in each environment began, `[B]`; `fresh` says that its first
    step is still to come.
    """

    total: Float[Array, "*n N"]
    count: Int[Array, "*n N"]
    begun: Int[Array, "*n B"]
    fresh: Bool[Array, "*n B"]

    @classmethod
    def zeros(cls, num_updates: int, num_envs: int) -> "LifetimeReturns":
        """No episode yet; room for N updates."""
        return cls(
            total=jnp.zeros(num_updates),
            count=jnp.zeros(num_updates, jnp.int32),
            begun=jnp.zeros(num_envs, jnp.int32),
            fresh=jnp.ones(num_envs, bool),
        )

    def add(self, update: Int[Array, ""], last: Bool[Array, "T B"], sums: Float[Array, "T B"]) -> "LifetimeReturns":
        """With the rollout of the given update: where episodes ended, and their returns up to each step."""
        earlier = jnp.cumsum(last, 0) - last
        carried = last & (earlier == 0) & ~self.fresh[None]
        own = jnp.where(last & ~carried, sums, 0.0).sum()
        total = self.total.at[self.begun].add(jnp.where(carried, sums, 0.0).sum(0)).at[update].add(own)
        new = last[:-1].sum(0) + self.fresh
        return LifetimeReturns(
            total=total,
            count=self.count.at[update].add(new.sum().astype(self.count.dtype)),
            begun=jnp.where(new > 0, update, self.begun),
            fresh=last[-1],
        )

    def curve(self, earned: Float[Array, " B"], age: Int[Array, ""]) -> Float[Array, " N"]:
        """Mean return of the episodes that began in each update, an unfinished one with what it has `earned` so far.

        An update in which no episode began has the value of the one before it; NaN from `age` on.
        """
        total = self.total.at[self.begun].add(jnp.where(self.fresh, 0.0, earned))
        number = jnp.arange(self.total.shape[0])
        known = jax.lax.cummax(jnp.where(self.count > 0, number, 0))
        mean = total / jnp.maximum(self.count, 1)
        return jnp.where(number < age, mean[known], jnp.nan)

    def mean(self, earned: Float[Array, " B"], age: Int[Array, ""]) -> Float[Array, ""]:
        """The mean of `curve` over the updates done; 0 before the first."""
        return jnp.nan_to_num(jnp.nanmean(self.curve(earned, age)), nan=0.0)

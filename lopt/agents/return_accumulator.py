"""Returns of all episodes of a lifetime, unfinished ones included: the learning curve of an agent."""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int


class ReturnAccumulator(struct.PyTreeNode):
    """Sum and number of the undiscounted returns of the episodes that started in each of N updates.

    The mean over the episodes that *ended* in an update is biased towards short episodes: long ones end later, or not
    before the end of the lifetime. Here an episode counts for the update in which it started, whatever its length.

    Attributes:
        total: sum of the returns of the episodes that started in an update and have ended.
        count: number of the episodes that started in an update.
        start: the update in which the episode in progress in each environment started.
        at_start: whether that episode has made no step yet; it is not counted then.
    """

    total: Float[Array, "*n N"]
    count: Int[Array, "*n N"]
    start: Int[Array, "*n B"]
    at_start: Bool[Array, "*n B"]

    @classmethod
    def zeros(cls, num_updates: int, num_envs: int) -> "ReturnAccumulator":
        """The accumulator before the first of N updates."""
        return cls(
            total=jnp.zeros(num_updates),
            count=jnp.zeros(num_updates, jnp.int32),
            start=jnp.zeros(num_envs, jnp.int32),
            at_start=jnp.ones(num_envs, bool),
        )

    def add(self, update: Int[Array, ""], last: Bool[Array, "T B"], sums: Float[Array, "T B"]) -> "ReturnAccumulator":
        """The accumulator after one more rollout.

        Args:
            update: index of the update.
            last: where an episode ended.
            sums: return of the current episode up to and including each step (`lopt.returns.running_returns`).
        """
        ended_before = jnp.cumsum(last, 0) - last
        # episodes that started in an earlier update, and those that started in this one
        carried = last & (ended_before == 0) & ~self.at_start[None]
        own = jnp.where(last & ~carried, sums, 0.0).sum()
        total = self.total.at[self.start].add(jnp.where(carried, sums, 0.0).sum(0)).at[update].add(own)
        started = last[:-1].sum(0) + self.at_start
        return ReturnAccumulator(
            total=total,
            count=self.count.at[update].add(started.sum().astype(self.count.dtype)),
            start=jnp.where(started > 0, update, self.start),
            at_start=last[-1],
        )

    def curve(self, running_return: Float[Array, " B"], age: Int[Array, ""]) -> Float[Array, " N"]:
        """Learning curve: the mean return of the episodes that started in each update.

        An unfinished episode counts with its return so far. An update in which no episode started has the value of the
        update before it. Entries from `age` on are NaN.

        Args:
            running_return: return so far of the episode in progress in each environment.
            age: the number of updates done.
        """
        total = self.total.at[self.start].add(jnp.where(self.at_start, 0.0, running_return))
        index = jnp.arange(self.total.shape[0])
        latest = jax.lax.cummax(jnp.where(self.count > 0, index, 0))
        mean = total / jnp.maximum(self.count, 1)
        return jnp.where(index < age, mean[latest], jnp.nan)

    def mean(self, running_return: Float[Array, " B"], age: Int[Array, ""]) -> Float[Array, ""]:
        """The mean of `curve` over the updates done; 0 before the first."""
        return jnp.nan_to_num(jnp.nanmean(self.curve(running_return, age)), nan=0.0)

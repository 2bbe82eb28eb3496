"""Supervised initialisation of a learned policy gradient: LPG's targets regressed on those of a hand-made objective."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float

from lopt.agents.lifetime import RLLifetime
from lopt.objectives import LPG, ScheduledA2C
from lopt.types import AgentOutput, Key, Level, Metrics, Progress, Theta, Trajectory
from lopt.unroll import unroll


@dataclass(frozen=True)
class ValueCode:
    """How a value V is represented by LPG's prediction y: logits of y that are proportional to a bounded value.

        logits(V) = weights u(V),  u(V) = bound tanh(scale V / bound)

    Attributes:
        weights: a factor for each of the first entries of y; all others are zero.
        scale: factor of V where |V| is small.
        bound: largest |u|.

    Raises:
        ValueError: no weights, or a scale or bound that is not positive.
    """

    weights: tuple[float, ...] = (1.0, -1.0)
    scale: float = 0.5
    bound: float = 3.5

    def __post_init__(self) -> None:
        if not self.weights or not any(self.weights):
            raise ValueError(f"ValueCode: expected weights that are not all zero (got {self.weights})")
        for name in ("scale", "bound"):
            if not getattr(self, name) > 0:
                raise ValueError(f"ValueCode: {name} must be positive (got {getattr(self, name)})")

    def __call__(self, value: Float[Array, "*n"], width: int) -> Float[Array, "*n M"]:
        """Logits of `width` entries; at least as many as there are weights."""
        return self.logits(self.bounded(value), width)

    def logits(self, bounded: Float[Array, "*n"], width: int) -> Float[Array, "*n M"]:
        """Logits of `width` entries for values that are bounded already."""
        weights = jnp.zeros(width).at[: len(self.weights)].set(jnp.array(self.weights))
        return jnp.tensordot(self.scale * bounded, weights, 0)

    def bounded(self, value: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """u(V) / scale: the value that can be read from the code."""
        return self.bound / self.scale * jnp.tanh(self.scale / self.bound * value)


class Demonstrations(struct.PyTreeNode):
    """Rollouts of agents under the teacher `[D, T, B]`, what they predicted, and their progress `[D]`."""

    traj: Trajectory
    out: AgentOutput
    out_next: AgentOutput
    progress: Progress


def demonstrations(key: Key, lifetime: RLLifetime, theta: Theta, levels: Level, num_updates: int) -> Demonstrations:
    """The rollouts of all updates of one agent on each of L levels, D = L x `num_updates`, without observations.

    Args:
        key: for agents and rollouts.
        lifetime: of agents under the teacher.
        theta: the teacher's meta-parameters.
        levels: `[L]`, with lifetimes of at least `num_updates`.
        num_updates: per agent.
    """

    def agent(key: Key, level: Level) -> Demonstrations:
        key_init, key_steps = jax.random.split(key)

        def step(key, state):
            _, traj = lifetime.rollout(jax.random.clone(key), level, state)
            out, out_next = (lifetime.agent.outputs(state.agent, obs) for obs in (traj.obs, traj.next_obs))
            progress = Progress(step=lifetime.age(state), num_updates=level.num_updates)
            state, _ = lifetime.step(key, theta, level, state)
            return state, Demonstrations(traj.replace(obs=(), next_obs=()), out, out_next, progress)

        return unroll(step, key_steps, lifetime.init(key_init, theta, level), num_updates)[1]

    keys = jax.random.split(key, levels.num_updates.shape[0])
    collected = jax.lax.map(lambda xs: agent(*xs), (keys, levels), batch_size=16)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), collected)


@dataclass(frozen=True, kw_only=True)
class Imitation:
    """Regression of LPG's targets on those of a hand-made actor-critic, from rollouts of agents under the latter.

    The value of the teacher's critic is written into y by a `ValueCode`; y_hat is regressed on the code of the value
    target, and pi_hat on the teacher's weight of log pi(a_t), w_t, both by their squared errors:

        mean[ (pi_hat - w)^2 ] / mean[ w^2 ]  +  mean[ |y_hat - mean(y_hat) - logits(V_target)|^2 ].

    Rewards and values are scaled by a random factor, values get correlated noise, and the teacher's targets are
    computed from what results, so that the rule is also right where an agent's predictions are wrong. It takes about
    a minute, and equal keys give equal results on one machine.

    Attributes:
        teacher: the objective; its default theta is A2C's.
        code: how V is represented by y.
        num_steps: steps of Adam.
        batch_size: rollouts per step.
        learning_rate: of Adam; it decays to a fiftieth by a cosine.
        smallest: smallest random factor of rewards.
        largest: largest random factor of rewards.
        noise: scale of the noise of values, in units of reward.

    Raises:
        ValueError: a number that is not positive, `smallest` above `largest`, or a teacher that counts visits.
    """

    teacher: ScheduledA2C = ScheduledA2C()
    code: ValueCode = ValueCode()
    num_steps: int = 4000
    batch_size: int = 16
    learning_rate: float = 5e-3
    smallest: float = 0.3
    largest: float = 2.0
    noise: float = 0.3

    def __post_init__(self) -> None:
        for name in ("num_steps", "batch_size", "learning_rate", "smallest", "largest"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Imitation: {name} must be positive (got {getattr(self, name)})")
        if self.teacher.counts:
            raise ValueError("Imitation: y holds a value and no count of visits (got a teacher with counts)")
        if self.smallest > self.largest:
            raise ValueError(f"Imitation: smallest must not exceed largest (got {self.smallest} and {self.largest})")

    def __call__(self, key: Key, rule: LPG, theta: Theta, data: Demonstrations) -> tuple[Theta, Metrics]:
        """Meta-parameters of `rule`, and the losses "pi_hat" and "y_hat" of each step `[num_steps]`.

        Args:
            key: for the initialisation of the rule, the batches and the noise.
            rule: the rule, with a prediction at least as wide as the code.
            theta: the teacher's meta-parameters.
            data: rollouts of agents under the teacher.

        Raises:
            ValueError: a prediction of the rule that is narrower than the code.
        """
        if rule.prediction_size < len(self.code.weights):
            raise ValueError(
                "Imitation: prediction_size of the rule must be at least the number of weights of the code "
                f"(got {rule.prediction_size} and {len(self.code.weights)})"
            )
        return jax.jit(partial(self._fit, rule))(key, theta, data)

    def _fit(self, rule: LPG, key: Key, theta: Theta, data: Demonstrations) -> tuple[Theta, Metrics]:
        key_rule, key_steps = jax.random.split(key)
        rate = optax.cosine_decay_schedule(self.learning_rate, self.num_steps, 0.02)
        optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))
        size = data.progress.step.shape[0]

        def loss(fitted: Theta, keys: Key, batch: Demonstrations) -> tuple[Any, Metrics]:
            pi_hat, y_hat = jax.vmap(partial(self._errors, rule), (None, None, 0, 0))(fitted, theta, keys, batch)
            return pi_hat.mean() + y_hat.mean(), {"pi_hat": pi_hat.mean(), "y_hat": y_hat.mean()}

        def step(carry, key):
            fitted, state = carry
            key_batch, key_noise = jax.random.split(key)
            rows = jax.random.randint(key_batch, (self.batch_size,), 0, size)
            batch = jax.tree.map(lambda x: x[rows], data)
            (_, metrics), grads = jax.value_and_grad(loss, has_aux=True)(
                fitted, jax.random.split(key_noise, self.batch_size), batch
            )
            updates, state = optimizer.update(grads, state, fitted)
            return (optax.apply_updates(fitted, updates), state), metrics

        fitted = rule.init(key_rule)
        (fitted, _), metrics = jax.lax.scan(
            step, (fitted, optimizer.init(fitted)), jax.random.split(key_steps, self.num_steps)
        )
        return fitted, metrics

    def _errors(
        self, rule: LPG, fitted: Theta, theta: Theta, key: Key, data: Demonstrations
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The two squared errors on one rollout `[T, B]`."""
        key_scale, key_amplitude, key_walk, key_offset, key_y = jax.random.split(key, 5)
        length, num_envs = data.traj.reward.shape
        factor = jnp.exp(jax.random.uniform(key_scale, minval=jnp.log(self.smallest), maxval=jnp.log(self.largest)))
        # a random walk along time for each environment, of a random amplitude
        amplitude = jax.random.uniform(key_amplitude, (num_envs,)) ** 2
        walk = jnp.cumsum(self.noise * jax.random.normal(key_walk, (length + 1, num_envs)), 0)
        noise = amplitude[None] * (walk + jax.random.normal(key_offset, (1, num_envs)))
        value, value_next = (
            self.code.bounded(factor * out.prediction[..., 0] + extra)
            for out, extra in ((data.out, noise[:-1]), (data.out_next, noise[1:]))
        )
        traj = data.traj.replace(reward=factor * data.traj.reward)
        critic, critic_next = (
            data.out.replace(prediction=value[..., None]),
            data.out_next.replace(prediction=value_next[..., None]),
        )
        wanted = self.teacher.targets(theta, traj, critic, critic_next, data.progress)
        width = rule.prediction_size
        small = 0.02 * jax.random.normal(key_y, (2, length, num_envs, width))
        seen = (
            data.out.replace(prediction=self.code.logits(value, width) + small[0]),
            data.out_next.replace(prediction=self.code.logits(value_next, width) + small[1]),
        )
        got = rule.targets(fitted, traj, *seen, data.progress)
        pi_hat = ((got.pi_hat - wanted.advantage) ** 2).mean() / ((wanted.advantage**2).mean() + 1e-3)
        centred = got.y_hat - got.y_hat.mean(-1, keepdims=True)
        y_hat = ((centred - self.code(wanted.value, width)) ** 2).mean()
        return pi_hat, y_hat

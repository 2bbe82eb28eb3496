"""Five small environments with known values, to find which part of a learning algorithm fails.

They test, in this order: fitting values, using observations, bootstrapping, improving the policy, and a policy that
depends on observations. All observations are `TabularObs`, all episodes last one or two steps.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from envs.draws import uniforms
from lopt.types import Key, Level, TabularObs, TimeStep

END = -1
"""The entry of `Probe.successor` for a state and action that end the episode."""


class ProbeLevel(struct.PyTreeNode):
    """The parameters of a probe: `scale` multiplies every reward, and so every value."""

    scale: Float[Array, "*n"]


class ProbeState(struct.PyTreeNode):
    """The index of the state, and the steps done in the episode."""

    index: Int[Array, "*n"]
    time: Int[Array, "*n"]


@dataclass(frozen=True)
class Probe:
    """A deterministic tabular environment given by its tables of rewards and successors.

    Attributes:
        reward: `[state][action]`.
        successor: `[state][action]`, a state or `END`.
        num_starts: episodes start in a uniformly random one of the states 0 ... num_starts - 1.
        num_updates: length of a lifetime on the probe, in inner updates.

    Raises:
        ValueError: tables that do not fit together.
    """

    reward: tuple[tuple[float, ...], ...]
    successor: tuple[tuple[int, ...], ...]
    num_starts: int = 1
    num_updates: int = 100

    def __post_init__(self) -> None:
        shapes = np.shape(self.reward), np.shape(self.successor)
        if shapes[0] != shapes[1] or len(shapes[0]) != 2:
            raise ValueError(f"Probe: reward and successor must both be [state][action] (got shapes {shapes})")
        if not 1 <= self.num_starts <= self.num_states:
            raise ValueError(f"Probe: need 1 <= num_starts <= {self.num_states} (got {self.num_starts})")
        if not np.isin(self.successor, np.arange(END, self.num_states)).all():
            raise ValueError(
                f"Probe: successors must be states 0 ... {self.num_states - 1} or END (got {self.successor})"
            )

    @property
    def num_states(self) -> int:
        """Number of states."""
        return len(self.reward)

    @property
    def num_actions(self) -> int:
        """A, the number of discrete actions."""
        return len(self.reward[0])

    @property
    def max_steps(self) -> int:
        """The largest number of steps of an episode: no state occurs twice."""
        return self.num_states

    @property
    def environment(self) -> "Probe":
        """The probe itself, which is also a distribution of levels."""
        return self

    def __call__(self, key: Key) -> Level:
        """The level with rewards as in the table (scale 1)."""
        return Level(
            params=ProbeLevel(scale=jnp.ones((), jnp.float32)), num_updates=jnp.asarray(self.num_updates, jnp.int32)
        )

    def reset(self, key: Key, params: ProbeLevel) -> tuple[TabularObs, ProbeState]:
        """Start an episode: `(obs, state)`."""
        (u,) = uniforms(key, 1)
        index = (u * self.num_starts).astype(jnp.int32)
        state = ProbeState(index=index, time=jnp.zeros((), jnp.int32))
        return _observe(state), state

    def step(
        self, key: Key, state: ProbeState, action: Int[Array, ""], params: ProbeLevel
    ) -> tuple[TimeStep, ProbeState]:
        """Take one step, and reset if it ends the episode: `(timestep, state)`."""
        successor = jnp.asarray(self.successor, jnp.int32)[state.index, action]
        ended = successor == END
        # A terminal state has no index; it is observed as the state before it, and never bootstrapped from.
        after = ProbeState(index=jnp.where(ended, state.index, successor), time=state.time + 1)
        new = jax.tree.map(lambda a, b: jnp.where(ended, a, b), self.reset(key, params)[1], after)
        timestep = TimeStep(
            obs=_observe(new),
            reward=params.scale * jnp.asarray(self.reward, jnp.float32)[state.index, action],
            discount=1 - ended.astype(jnp.float32),
            truncated=jnp.zeros((), bool),
            final_obs=_observe(after),
        )
        return timestep, new

    def action_values(self, gamma: float, policy: Float[np.ndarray, "S A"] | None = None) -> Float[np.ndarray, "S A"]:
        """Exact q(s, a) = r + gamma v(s') at scale 1, of `policy` (a distribution per row) or optimal if it is None."""
        reward, successor = np.asarray(self.reward), np.asarray(self.successor)
        q = np.zeros(reward.shape)
        for _ in range(self.num_states):  # exact: no episode is longer than there are states
            v = q.max(-1) if policy is None else (policy * q).sum(-1)
            q = reward + gamma * np.where(successor == END, 0.0, v[successor])
        return q


def _observe(state: ProbeState) -> TabularObs:
    return TabularObs(index=state.index, time=0.001 * state.time.astype(jnp.float32))


CONSTANT_VALUE = Probe(reward=((1.0, 1.0),), successor=((END, END),))
"""One state, one step, reward 1 for every action: v = 1. Tests that values are fitted at all."""
VALUE_FROM_OBS = Probe(reward=((-1.0, -1.0), (1.0, 1.0)), successor=((END, END), (END, END)), num_starts=2)
"""A random state, one step, reward -1 in state 0 and 1 in state 1: v = (-1, 1). Tests that observations are used."""
DISCOUNTING = Probe(reward=((0.0, 0.0), (1.0, 1.0)), successor=((1, 1), (END, END)))
"""State 0, then state 1, then reward 1: v = (gamma, 1). Tests bootstrapping and the discount."""
ACTION_MATTERS = Probe(reward=((-1.0, 1.0),), successor=((END, END),))
"""One state, one step, reward -1 for action 0 and 1 for action 1: q = (-1, 1). Tests that the policy improves."""
ACTION_FROM_OBS = Probe(reward=((1.0, -1.0), (-1.0, 1.0)), successor=((END, END), (END, END)), num_starts=2)
"""A random state, one step, reward 1 for the action equal to the state's index, else -1: v* = (1, 1), and 0 for the
uniform policy. Tests that the policy uses observations."""
PROBES = (CONSTANT_VALUE, VALUE_FROM_OBS, DISCOUNTING, ACTION_MATTERS, ACTION_FROM_OBS)
"""All five, in the order in which to use them for debugging."""

"""Delayed chain MDPs: the first of two actions decides the reward of the last step, later actions have no effect."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from envs.draws import uniforms
from envs.int_distributions import Fixed, IntDistribution, Uniform
from lopt.types import Key, Level, TabularObs, TimeStep


class ChainLevel(struct.PyTreeNode):
    """The parameters of a chain.

    Attributes:
        length: steps per episode.
        good_action: the first action, 0 or 1, that makes the last reward 1; unused by a `Chain` with `redraw`.
    """

    length: Int[Array, "*n"]
    good_action: Int[Array, "*n"]


class ChainState(struct.PyTreeNode):
    """The state of an episode.

    Attributes:
        position: steps done.
        first: the first action; 0 before it is taken.
        good: the good action of this episode.
    """

    position: Int[Array, "*n"]
    first: Int[Array, "*n"]
    good: Int[Array, "*n"]


@dataclass(frozen=True)
class IndexView:
    """The state as an index: 2 position + first action, plus 2 (max_length + 1) if a shown good action is 1."""

    def __call__(self, u: tuple[Any, ...], state: ChainState, max_length: int, shown: bool) -> TabularObs:
        """The observation of `state`; `shown` says whether it includes the good action."""
        cue = 2 * (max_length + 1) * state.good if shown else 0
        time = 0.001 * state.position.astype(jnp.float32)
        return TabularObs(index=2 * state.position + state.first + cue, time=time)

    @property
    def num_draws(self) -> int:
        """Number of uniform random numbers that an observation needs: none."""
        return 0


@dataclass(frozen=True)
class BitsView:
    """Two relevant bits and `distractors` random ones, redrawn at every step: `[2 + distractors]` zeros and ones.

    Bit 0 is the good action; bit 1 says that the first action was good (0 before there is one).

    Raises:
        ValueError: a negative number of distractors.
    """

    distractors: int = 20

    def __post_init__(self) -> None:
        if self.distractors < 0:
            raise ValueError(f"BitsView: distractors must be >= 0 (got {self.distractors})")

    def __call__(self, u: tuple[Any, ...], state: ChainState, max_length: int, shown: bool) -> Float[Array, " bits"]:
        """The observation of `state`; `shown` says whether it includes the good action."""
        right = (state.position > 0) & (state.first == state.good)
        relevant = jnp.stack([state.good == 1, right]).astype(jnp.float32)
        if not self.distractors:
            return relevant
        integers = (jnp.stack(u) * 2**16).astype(jnp.int32)
        noise = (integers[:, None] >> jnp.arange(16, dtype=jnp.int32)[None]) & 1
        return jnp.concatenate([relevant, noise.reshape(-1)[: self.distractors].astype(jnp.float32)])

    @property
    def num_draws(self) -> int:
        """Number of uniform random numbers that an observation needs: one for 16 bits."""
        return -(-self.distractors // 16)


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A chain of `length` steps with two actions: the last reward is 1 if the first action was good, else -1.

    Attributes:
        max_length: the longest chain a level can have.
        noisy: steps that are neither the first nor the last have reward 1 or -1 with equal probability.
        redraw: the good action is redrawn for every episode and shown in the observation; otherwise it belongs to
            the level and has to be learned.
        view: `IndexView()` or `BitsView()` (which always shows the good action).

    Raises:
        ValueError: a chain shorter than two steps.

    Paper: arXiv 2007.08794, appendix A ("delayed chain MDPs").
    Differs: the index tells the two branches of the chain apart, so the observation is the whole state. Public
        re-implementations either leave that out or redraw the good action without showing it.
    """

    max_length: int = 30
    noisy: bool = False
    redraw: bool = False
    view: IndexView | BitsView = IndexView()

    def __post_init__(self) -> None:
        if self.max_length < 2:
            raise ValueError(f"Chain: max_length must be >= 2 (got {self.max_length})")

    @property
    def num_actions(self) -> int:
        """A, the number of discrete actions: 2."""
        return 2

    @property
    def max_steps(self) -> int:
        """The largest number of steps of an episode."""
        return self.max_length

    @property
    def num_states(self) -> int:
        """Number of values of the index that `IndexView` returns."""
        return 2 * (self.max_length + 1) * (2 if self.redraw else 1)

    def reset(self, key: Key, params: ChainLevel) -> tuple[Any, ChainState]:
        """Start an episode: `(obs, state)`."""
        good, *noise = uniforms(key, 1 + self.view.num_draws)
        state = self._initial_state(good, params)
        return self.view(tuple(noise), state, self.max_length, self.redraw), state

    def step(
        self, key: Key, state: ChainState, action: Int[Array, ""], params: ChainLevel
    ) -> tuple[TimeStep, ChainState]:
        """Take one step, and reset if it ends the episode: `(timestep, state)`."""
        draws = self.view.num_draws
        u_reward, good, *noise = uniforms(key, 2 + 2 * draws)
        first = jnp.where(state.position == 0, action, state.first).astype(jnp.int32)
        after = ChainState(position=state.position + 1, first=first, good=state.good)
        ended = after.position >= params.length
        final_reward = jnp.where(first == state.good, 1.0, -1.0)
        noise_reward = jnp.where(u_reward < 0.5, 1.0, -1.0) * (state.position > 0) if self.noisy else jnp.zeros(())
        new = jax.tree.map(lambda a, b: jnp.where(ended, a, b), self._initial_state(good, params), after)
        final_obs = self.view(tuple(noise[:draws]), after, self.max_length, self.redraw)
        fresh_obs = self.view(tuple(noise[draws:]), new, self.max_length, self.redraw)
        timestep = TimeStep(
            obs=jax.tree.map(lambda a, b: jnp.where(ended, a, b), fresh_obs, final_obs),
            reward=jnp.where(ended, final_reward, noise_reward).astype(jnp.float32),
            discount=1 - ended.astype(jnp.float32),
            truncated=jnp.zeros((), bool),
            final_obs=final_obs,
        )
        return timestep, new

    def _initial_state(self, u: Float[Array, ""], params: ChainLevel) -> ChainState:
        zero = jnp.zeros((), jnp.int32)
        good = (u < 0.5).astype(jnp.int32) if self.redraw else params.good_action
        return ChainState(position=zero, first=zero, good=good)


@dataclass(frozen=True, kw_only=True)
class ChainSet:
    """Chains of random length and good action, as a distribution of levels.

    Attributes:
        lengths: distribution of the number of steps of an episode, at least 2.
        noisy: see `Chain`.
        redraw: see `Chain`.
        view: see `Chain`.
        num_updates: distribution of the length of a lifetime, in updates; 2500 updates are about 3e6 steps at 64 x 20
            per update.

    Raises:
        ValueError: chains shorter than two steps.
    """

    lengths: IntDistribution = Uniform(5, 30)
    noisy: bool = False
    redraw: bool = False
    view: IndexView | BitsView = IndexView()
    num_updates: IntDistribution = Fixed(2500)

    def __post_init__(self) -> None:
        if self.lengths.low < 2:
            raise ValueError(f"ChainSet: chains need at least 2 steps (got {self.lengths})")

    @property
    def environment(self) -> Chain:
        """The environment that takes these levels as parameters."""
        return Chain(max_length=self.lengths.high, noisy=self.noisy, redraw=self.redraw, view=self.view)

    def __call__(self, key: Key) -> Level:
        """Draw a level, with the length of its lifetime."""
        u_length, u_good, u_lifetime = uniforms(key, 3)
        params = ChainLevel(length=self.lengths(u_length), good_action=(u_good < 0.5).astype(jnp.int32))
        return Level(params=params, num_updates=self.num_updates(u_lifetime))


def short_chain(**changes: Any) -> ChainSet:
    """LPG's "short": 5 to 30 steps."""
    return ChainSet(**changes)


def short_noisy_chain(**changes: Any) -> ChainSet:
    """LPG's "short and noisy": 5 to 30 steps, random rewards in between."""
    return ChainSet(**{"noisy": True, **changes})


def long_chain(**changes: Any) -> ChainSet:
    """LPG's "long": 5 to 50 steps."""
    return ChainSet(**{"lengths": Uniform(5, 50), **changes})


def long_noisy_chain(**changes: Any) -> ChainSet:
    """LPG's "long and noisy": 5 to 50 steps, random rewards in between."""
    return ChainSet(**{"lengths": Uniform(5, 50), "noisy": True, **changes})


def distractor_chain(**changes: Any) -> ChainSet:
    """LPG's "state distractor": 5 to 30 steps, two relevant bits among 20 random ones."""
    return ChainSet(**{"view": BitsView(), **changes})


CHAIN_SETS = (short_chain, short_noisy_chain, long_chain, long_noisy_chain, distractor_chain)
"""The five delayed chains of LPG's paper."""

"""Delayed chain MDPs: the first of two actions decides the reward at the end, nothing else matters."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from envs.draws import uniforms
from envs.laws import Fixed, Law, Uniform
from lopt.types import Key, Level, TabularObs, TimeStep


class ChainLevel(struct.PyTreeNode):
    """How many steps an episode has, and which first action is the good one (unless it is redrawn)."""

    length: Int[Array, "*n"]
    good_action: Int[Array, "*n"]


class ChainState(struct.PyTreeNode):
    """Steps done, the first action (0 before there is one), and this episode's good action."""

    position: Int[Array, "*n"]
    first: Int[Array, "*n"]
    good: Int[Array, "*n"]


@dataclass(frozen=True)
class IndexView:
    """The state as an index, `2 position + first action` (+ `2 (max_length + 1)` where a shown good action is 1)."""

    def __call__(self, u: tuple[Any, ...], state: ChainState, max_length: int, shown: bool) -> TabularObs:
        """The observation."""
        cue = 2 * (max_length + 1) * state.good if shown else 0
        time = 0.001 * state.position.astype(jnp.float32)
        return TabularObs(index=2 * state.position + state.first + cue, time=time)

    @property
    def num_draws(self) -> int:
        """How many uniform numbers an observation takes."""
        return 0


@dataclass(frozen=True)
class BitsView:
    """Two bits that matter and `distractors` random ones, `[2 + distractors]` of zeros and ones, new at every step.

    Bit 0 is the good action; bit 1 says that the first action was good (0 before there is one).

    Raises:
        ValueError: a negative number of distractors.
    """

    distractors: int = 20

    def __post_init__(self) -> None:
        if self.distractors < 0:
            raise ValueError(f"BitsView: distractors must be >= 0 (got {self.distractors})")

    def __call__(self, u: tuple[Any, ...], state: ChainState, max_length: int, shown: bool) -> Float[Array, " bits"]:
        """The observation."""
        right = (state.position > 0) & (state.first == state.good)
        relevant = jnp.stack([state.good == 1, right]).astype(jnp.float32)
        if not self.distractors:
            return relevant
        words = (jnp.stack(u) * 2**16).astype(jnp.int32)
        noise = (words[:, None] >> jnp.arange(16, dtype=jnp.int32)[None]) & 1
        return jnp.concatenate([relevant, noise.reshape(-1)[: self.distractors].astype(jnp.float32)])

    @property
    def num_draws(self) -> int:
        """How many uniform numbers an observation takes: one for 16 bits."""
        return -(-self.distractors // 16)


@dataclass(frozen=True)
class Chain:
    """A chain of `length` steps with two actions: the last step pays 1 if the first action was good, else -1.

    Attributes:
        max_length: the longest chain a level can have.
        noisy: steps that are neither the first nor the last pay 1 or -1, equally likely.
        redraw: the good action is redrawn for every episode and shown in the observation; otherwise it belongs to
            the level and must be found out.
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
        """A: two."""
        return 2

    @property
    def max_steps(self) -> int:
        """The length of the longest episode."""
        return self.max_length

    @property
    def num_states(self) -> int:
        """How many values the index can take."""
        return 2 * (self.max_length + 1) * (2 if self.redraw else 1)

    def reset(self, key: Key, params: ChainLevel) -> tuple[Any, ChainState]:
        """A fresh episode."""
        good, *noise = uniforms(key, 1 + self.view.num_draws)
        state = self._start(good, params)
        return self.view(tuple(noise), state, self.max_length, self.redraw), state

    def step(
        self, key: Key, state: ChainState, action: Int[Array, ""], params: ChainLevel
    ) -> tuple[TimeStep, ChainState]:
        """One step, and the reset when it ends the episode."""
        draws = self.view.num_draws
        coin, good, *noise = uniforms(key, 2 + 2 * draws)
        first = jnp.where(state.position == 0, action, state.first).astype(jnp.int32)
        after = ChainState(position=state.position + 1, first=first, good=state.good)
        ended = after.position >= params.length
        pays = jnp.where(first == state.good, 1.0, -1.0)
        between = jnp.where(coin < 0.5, 1.0, -1.0) * (state.position > 0) if self.noisy else jnp.zeros(())
        new = jax.tree.map(lambda a, b: jnp.where(ended, a, b), self._start(good, params), after)
        final_obs = self.view(tuple(noise[:draws]), after, self.max_length, self.redraw)
        fresh_obs = self.view(tuple(noise[draws:]), new, self.max_length, self.redraw)
        timestep = TimeStep(
            obs=jax.tree.map(lambda a, b: jnp.where(ended, a, b), fresh_obs, final_obs),
            reward=jnp.where(ended, pays, between).astype(jnp.float32),
            discount=1 - ended.astype(jnp.float32),
            truncated=jnp.zeros((), bool),
            final_obs=final_obs,
        )
        return timestep, new

    def _start(self, u: Float[Array, ""], params: ChainLevel) -> ChainState:
        zero = jnp.zeros((), jnp.int32)
        good = (u < 0.5).astype(jnp.int32) if self.redraw else params.good_action
        return ChainState(position=zero, first=zero, good=good)


@dataclass(frozen=True)
class ChainSet:
    """Chains of random length and good action, as a distribution of levels.

    Attributes:
        lengths: law of the number of steps of an episode, at least 2.
        noisy: see `Chain`.
        redraw: see `Chain`.
        view: see `Chain`.
        lifetime: law of the number of inner updates; 2500 is about 3e6 steps at 64 x 20 per update.

    Raises:
        ValueError: chains shorter than two steps.
    """

    lengths: Law = Uniform(5, 30)
    noisy: bool = False
    redraw: bool = False
    view: IndexView | BitsView = IndexView()
    lifetime: Law = Fixed(2500)

    def __post_init__(self) -> None:
        if self.lengths.low < 2:
            raise ValueError(f"ChainSet: chains need at least 2 steps (got {self.lengths})")

    @property
    def environment(self) -> Chain:
        """The environment these levels are played in."""
        return Chain(self.lengths.high, self.noisy, self.redraw, self.view)

    def __call__(self, key: Key) -> Level:
        """One level and its lifetime."""
        u_length, u_good, u_lifetime = uniforms(key, 3)
        params = ChainLevel(length=self.lengths(u_length), good_action=(u_good < 0.5).astype(jnp.int32))
        return Level(params=params, lifetime=self.lifetime(u_lifetime))


def short_chain(**changes: Any) -> ChainSet:
    """LPG's "short": 5 to 30 steps."""
    return ChainSet(**changes)


def short_noisy_chain(**changes: Any) -> ChainSet:
    """LPG's "short and noisy": 5 to 30 steps, random rewards in between."""
    return ChainSet(**({"noisy": True} | changes))


def long_chain(**changes: Any) -> ChainSet:
    """LPG's "long": 5 to 50 steps."""
    return ChainSet(**({"lengths": Uniform(5, 50)} | changes))


def long_noisy_chain(**changes: Any) -> ChainSet:
    """LPG's "long and noisy": 5 to 50 steps, random rewards in between."""
    return ChainSet(**({"lengths": Uniform(5, 50), "noisy": True} | changes))


def distractor_chain(**changes: Any) -> ChainSet:
    """LPG's "state distractor": 5 to 30 steps, two relevant bits among 20 random ones."""
    return ChainSet(**({"view": BitsView()} | changes))


CHAIN_SETS = (short_chain, short_noisy_chain, long_chain, long_noisy_chain, distractor_chain)
"""The five delayed chains of LPG's paper."""

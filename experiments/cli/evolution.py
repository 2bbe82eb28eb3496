"""Evolution strategies as options of a study."""

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.cli.command_line import choose
from lopt import meta
from lopt.meta.es import Shaping
from lopt.protocols import Lifetime
from lopt.training.checks import at_least, between, positive
from lopt.types import Key, Theta

PAIRS = "pairs"
"""Name of the strategy of `lopt.meta.ES`; all others are evosax's."""

SHAPINGS: dict[str, Callable[[], Shaping]] = {
    "sign": meta.PairSign,
    "rank": meta.CentredRank,
    "zscore": meta.ZScore,
    "raw": meta.Raw,
}
"""Transformations of the fitness by name."""


@dataclass(frozen=True)
class ESConfig:
    """Evolution strategies. Studies that also have meta-gradients use these options with meta.estimator es only."""

    strategy: str = "pairs"
    """Evolution strategy: pairs (antithetic pairs with Adam, one pair on each level; TA paper) or a distribution-based
    algorithm of evosax (Open_ES, SNES, Sep_CMA_ES, ...), which evaluates every candidate on every level."""
    population: int = 32
    """Number of candidates per meta-step of an evosax algorithm, an even number; not used by pairs."""
    std: float = 0.1
    """Standard deviation of the perturbations of theta (TA code: 0.1)."""
    shaping: str = "sign"
    """Transformation of the fitness of pairs: sign (TA code), rank, zscore or raw; evosax algorithms have their own."""
    common_noise: bool = True
    """Whether candidates on the same level get the same random numbers, which lowers the variance (TA code: they do
    not)."""
    episodes: int = 64
    """Number of episodes in which an agent is evaluated at the end of its lifetime for the fitness (TA code: 64)."""
    pack: int | None = None
    """Number of levels evaluated at once, a divisor of meta.num-lifetimes; None stands for all. Levels are sorted by
    the length of their lifetimes, so that smaller packs waste fewer updates."""
    b1: float = 0.99
    """Adam's decay rate b1 of the first moment for theta (evosax 0.1: 0.99)."""

    def check(self, num_lifetimes: int) -> None:
        """Check the options, given the number of levels.

        Raises:
            ValueError: an unknown name, a strategy that is not offered, a number out of range, an odd population, or a
                pack that does not divide `num_lifetimes`.
        """
        choose("shaping", self.shaping, SHAPINGS)
        if self.strategy != PAIRS:  # evosax takes a second to import
            if reason := refused().get(self.strategy):
                raise ValueError(f"es.strategy: {self.strategy} of evosax is not offered: {reason}")
            choose("strategy", self.strategy, dict.fromkeys((PAIRS, *strategies())))
        if self.pack is not None and (self.pack < 1 or num_lifetimes % self.pack):
            possible = ", ".join(str(d) for d in range(1, num_lifetimes + 1) if num_lifetimes % d == 0)
            raise ValueError(
                f"es.pack must divide meta.num-lifetimes (got {self.pack} and {num_lifetimes}); it can be {possible}"
            )
        if self.population < 2 or self.population % 2:
            raise ValueError(f"es.population must be even and at least 2 (got {self.population})")
        positive(self, "std", prefix="es.")
        at_least(1, self, "episodes", prefix="es.")
        between(0, 1, self, "b1", prefix="es.", below=True)


def strategies() -> dict[str, type]:
    """The distribution-based algorithms of evosax by name, except those in `refused`."""
    return {name: algorithm for name, algorithm in _algorithms().items() if _obstacle(algorithm) is None}


def refused() -> dict[str, str]:
    """The distribution-based algorithms of evosax that are not offered, with the reason."""
    return {name: reason for name, algorithm in _algorithms().items() if (reason := _obstacle(algorithm)) is not None}


def _algorithms() -> dict[str, type]:
    from evosax.algorithms.distribution_based import distribution_based_algorithms

    return distribution_based_algorithms


def _obstacle(algorithm: type) -> str | None:
    from evosax.algorithms.distribution_based.noise_reuse_es import NoiseReuseES
    from evosax.algorithms.distribution_based.persistent_es import PersistentES
    from evosax.algorithms.distribution_based.random_search import RandomSearch
    from evosax.algorithms.distribution_based.sv.base import SV_ES

    if issubclass(algorithm, SV_ES):
        return "it has several means (Stein variational), and a rule has one theta"
    if issubclass(algorithm, (PersistentES, NoiseReuseES)):
        return "it is for truncated unrolls, and candidates are evaluated over whole lifetimes; use lopt.meta.PES"
    if issubclass(algorithm, RandomSearch):
        return "it draws candidates from a fixed distribution, not around theta"
    return None


def evolution(
    config: ESConfig, lifetime: Lifetime, init: Callable[[Key], Theta], num_updates: int, rate: optax.Schedule
) -> tuple[meta.ES | meta.EvosaxES, optax.GradientTransformation]:
    """The estimator and the optimizer of theta for an evolution strategy over whole lifetimes.

    Args:
        config: the options.
        lifetime: whose negative meta-loss is the fitness.
        init: `key -> theta`, for the shapes of theta.
        num_updates: largest number of updates in a lifetime.
        rate: Adam's learning rate by meta-step.

    Returns:
        `lopt.meta.ES` with Adam; or an evosax algorithm, which has the optimizer inside where it takes one, with SGD
        at rate 1.
    """
    adam = optax.adam(rate, b1=config.b1)
    common: dict[str, Any] = {"common_noise": config.common_noise, "pack": config.pack}
    if config.strategy == PAIRS:
        return meta.ES(
            lifetime=lifetime, num_updates=num_updates, std=config.std, shaping=SHAPINGS[config.shaping](), **common
        ), adam
    algorithm = strategies()[config.strategy]
    solution = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(init, jax.random.key(0)))
    parameters = inspect.signature(algorithm).parameters
    arguments = {"optimizer": adam, "std_schedule": optax.constant_schedule(config.std)}
    strategy = algorithm(
        config.population, solution, **{name: value for name, value in arguments.items() if name in parameters}
    )
    params = strategy.default_params
    if "std_init" in {field.name for field in dataclasses.fields(params)}:
        params = params.replace(std_init=config.std)
    return meta.EvosaxES(
        lifetime=lifetime, algorithm=strategy, num_updates=num_updates, params=params, **common
    ), optax.sgd(1.0)


def persistent_evolution(
    config: ESConfig, lifetime: Lifetime, num_updates: int, rate: optax.Schedule
) -> tuple[meta.PES, optax.GradientTransformation]:
    """The estimator and the optimizer of theta for persistent evolution strategies, which change theta in a lifetime.

    Args:
        config: the options; the strategy is antithetic pairs with common random numbers.
        lifetime: whose negative meta-loss after every `num_updates` updates is the fitness.
        num_updates: K, updates per meta-step.
        rate: Adam's learning rate by meta-step.
    """
    shaping = SHAPINGS[config.shaping]()
    pes = meta.PES(lifetime=lifetime, num_updates=num_updates, std=config.std, shaping=shaping, pack=config.pack)
    return pes, optax.adam(rate, b1=config.b1)

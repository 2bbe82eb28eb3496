"""Evolution strategies as options of a study."""

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from experiments.common.checks import at_least, between, positive
from experiments.common.cli import choose
from lopt import meta
from lopt.protocols import Lifetime
from lopt.types import Key, Theta

PAIRS = "pairs"
"""The strategy that is ours."""

SHAPINGS = {"sign": meta.PairSign, "rank": meta.CentredRank, "zscore": meta.ZScore, "raw": meta.Raw}


@dataclass(frozen=True)
class ESConfig:
    """Evolution strategies; used with meta.estimator es."""

    strategy: str = "pairs"
    """pairs: antithetic pairs, one on each level, and Adam (TA paper); or a distribution-based algorithm of evosax
    (Open_ES, SNES, Sep_CMA_ES, ...), each of whose candidates lives on every level."""
    population: int = 32
    """Candidates of an evosax algorithm, an even number."""
    std: float = 0.1
    """Standard deviation of the perturbations (TA code: 0.1)."""
    shaping: str = "sign"
    """What a pair's fitness counts for: sign (TA code), rank, zscore, raw."""
    common_noise: bool = True
    """Candidates on the same level get the same random numbers (TA code: not)."""
    episodes: int = 64
    """Episodes that measure a grown agent (TA code: 64)."""
    pack: int | None = None
    """Levels played side by side, sorted by the length of life; a divisor of meta.num-lifetimes; None for all."""
    b1: float = 0.99
    """Adam's b1 for the rule (evosax 0.1: 0.99)."""

    def check(self, num_lifetimes: int) -> None:
        """Check the options against the number of levels.

        Raises:
            ValueError: an unknown name, a strategy that is not offered, a number out of range, an odd population, a
                pack that does not divide the levels.
        """
        choose("shaping", self.shaping, SHAPINGS)
        if self.strategy != PAIRS:  # evosax takes a second to import
            if why := refused().get(self.strategy):
                raise ValueError(f"es.strategy: {self.strategy} of evosax is not offered: {why}")
            choose("strategy", self.strategy, {PAIRS: None} | strategies())
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
    """The distribution-based algorithms of evosax, by evosax's names, but for those that `refused` lists."""
    return {name: algorithm for name, algorithm in _algorithms().items() if _obstacle(algorithm) is None}


def refused() -> dict[str, str]:
    """The distribution-based algorithms of evosax that are not offered, and why, as the end of a sentence."""
    return {name: why for name, algorithm in _algorithms().items() if (why := _obstacle(algorithm)) is not None}


def _algorithms() -> dict[str, type]:
    from evosax.algorithms.distribution_based import distribution_based_algorithms

    return distribution_based_algorithms


def _obstacle(algorithm: type) -> str | None:
    from evosax.algorithms.distribution_based.noise_reuse_es import NoiseReuseES
    from evosax.algorithms.distribution_based.persistent_es import PersistentES
    from evosax.algorithms.distribution_based.random_search import RandomSearch
    from evosax.algorithms.distribution_based.sv.base import SV_ES

    if issubclass(algorithm, SV_ES):
        return "it moves several means (Stein variational), and a rule has one theta"
    if issubclass(algorithm, (PersistentES, NoiseReuseES)):
        return "it is for unrolls that are cut off, and here candidates live whole lives; lopt.meta.PES is for these"
    if issubclass(algorithm, RandomSearch):
        return "it draws candidates from one fixed distribution, not around theta"
    return None


def evolution(
    config: ESConfig, lifetime: Lifetime, init: Callable[[Key], Theta], num_updates: int, rate: optax.Schedule
) -> tuple[meta.ES | meta.EvosaxES, optax.GradientTransformation]:
    """The strategy for whole lives of up to `num_updates`, and what moves the rule by its estimates."""
    adam = optax.adam(rate, b1=config.b1)
    common = {"common_noise": config.common_noise, "pack": config.pack}
    if config.strategy == PAIRS:
        return meta.ES(lifetime, num_updates, config.std, SHAPINGS[config.shaping](), **common), adam
    algorithm = strategies()[config.strategy]
    solution = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(init, jax.random.key(0)))
    known = inspect.signature(algorithm).parameters
    offered = {"optimizer": adam, "std_schedule": optax.constant_schedule(config.std)}
    chosen = algorithm(config.population, solution, **{name: offered[name] for name in offered if name in known})
    params = chosen.default_params
    if "std_init" in {field.name for field in dataclasses.fields(params)}:
        params = params.replace(std_init=config.std)
    return meta.EvosaxES(lifetime, chosen, num_updates, params, **common), optax.sgd(1.0)

"""gymnax environments by name, with those that are unavailable or unusual."""

from dataclasses import dataclass
from typing import Any

from envs.gymnax.adapter import build
from envs.gymnax.continuous import ContinuousGymnax
from envs.gymnax.discrete import Gymnax
from envs.names import unknown_name

UNAVAILABLE = {"MNISTBandit-bsuite": "it downloads its images on construction"}
"""Environments that gymnax lists and `gymnax_env` refuses, with the reason."""
CAVEATS = {
    "DiscountingChain-bsuite": "the chain's end is its time limit: a truncation in gymnax, the end in bsuite",
    "Freeway-MinAtar": "the game's end is its time limit: a truncation in gymnax, the end in MinAtar",
    "SimpleBandit-bsuite": "the arms are shuffled unseen for every episode of one step: all policies earn 0.5",
    "MemoryChain-bsuite": "observations, `final_obs` too, are one step late, as in bsuite: the first two are equal",
    "MetaMaze-misc": "the goal moves the agent to a random cell, and ends the episode only if that is the goal again",
    "Seaquest-MinAtar": "thirty to three hundred times slower than the other MinAtar games on a CPU",
}
"""Environments that work but behave unexpectedly, and how."""


@dataclass(frozen=True)
class Registered:
    """Factory of a registered gymnax environment; `gymnax.register` adds names."""

    name: str

    def __call__(self, **options: Any) -> Any:
        """Construct the gymnax environment."""
        import gymnax

        return gymnax.make(self.name, **options)[0]


def gymnax_names() -> tuple[str, ...]:
    """The names that `gymnax_env` accepts: all registered ones that need no download."""
    import gymnax

    return tuple(name for name in gymnax.registered_envs if name not in UNAVAILABLE)


def gymnax_env(name: str, *, max_steps: int | None = None, **options: Any) -> Gymnax | ContinuousGymnax:
    """A gymnax environment by name: `Gymnax` for discrete actions, `ContinuousGymnax` for continuous ones.

    Example:
        env = gymnax_env("Breakout-MinAtar", use_minimal_action_set=False)

    Args:
        name: as in `gymnax.registered_envs`.
        max_steps: the step limit of an episode; None for the environment's own.
        **options: keyword arguments of the environment's constructor.

    Raises:
        ValueError: an unknown name (with near matches), one that is not available offline (with the reason), or options
            that cannot be hashed.
    """
    if name in UNAVAILABLE:
        raise ValueError(f"gymnax environment {name!r} is not available: {UNAVAILABLE[name]}")
    if name not in gymnax_names():
        raise unknown_name("gymnax environment", name, gymnax_names())
    factory, pairs = Registered(name), tuple(sorted((key, _hashable(value)) for key, value in options.items()))
    try:
        hash(pairs)
    except TypeError as error:
        raise ValueError(f"{name}: options must be hashable (got {options}); or give `Gymnax` a factory") from error
    adapter = build(factory, pairs)
    limit = int(adapter.params.max_steps_in_episode) if max_steps is None else max_steps
    kind = Gymnax if adapter.num_actions else ContinuousGymnax
    return kind(factory=factory, max_steps=limit, options=pairs)


def _hashable(value: Any) -> Any:
    return tuple(_hashable(item) for item in value) if isinstance(value, list) else value

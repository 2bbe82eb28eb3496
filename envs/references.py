"""Reference returns that normalise scores: of uniformly random actions, and of a tuned PPO."""

from dataclasses import dataclass
from typing import Any

_GOLDIE = (
    "PPO as tuned by Goldie et al. (arXiv 2507.17668), the PPO_TEMP of AlexGoldie/learn-rl-algorithms; 1e7 steps on "
    "MinAtar, 3e7 on Brax"
)
_OF_ANT = "ant's, by which arXiv 2507.17668 divides here too: a common scale, not a return of this task"
_MEASURED = "uniform actions in our adapter"


@dataclass(frozen=True)
class Reference:
    """Two mean undiscounted episode returns of one environment at its default step limit, with their sources.

    Attributes:
        random: mean return of uniformly random actions.
        random_error: its standard error.
        reference: the return by which the literature divides scores.
        source: where `reference` is from.
        random_source: where `random` is from.
    """

    random: float
    random_error: float
    reference: float
    source: str
    random_source: str

    def score(self, value: Any) -> Any:
        """The normalised score of a return (or of an array): 0 for random actions, 1 for the reference.

        Differs: arXiv 2507.17668 divides by the reference without subtracting `random`.
        """
        return (value - self.random) / (self.reference - self.random)


def _minatar(random: float, error: float, reference: float, episodes: int) -> Reference:
    return Reference(random, error, reference, _GOLDIE, f"{_MEASURED}, {episodes} episodes, gymnax 1.0.1")


def _brax(random: float, error: float, source: str) -> Reference:
    source_of_random = f"{_MEASURED}, 64 episodes, Brax 0.14.2, backend positional"
    return Reference(random, error, 6517.31, source, source_of_random)


REFERENCES = {
    "Asterix-MinAtar": _minatar(0.506, 0.010, 15.0353, 8192),
    "Breakout-MinAtar": _minatar(0.414, 0.005, 50.0822, 16384),
    "Freeway-MinAtar": _minatar(0.430, 0.030, 61.8369, 512),
    "SpaceInvaders-MinAtar": _minatar(4.137, 0.035, 167.0913, 8192),
    "CartPole-v1": Reference(
        random=22.15,
        random_error=0.09,
        reference=475.0,
        source="gym's reward threshold, which arXiv 2507.17668 uses",
        random_source=f"{_MEASURED}, 16384 episodes, gymnax 1.0.1",
    ),
    "ant": _brax(-173.3, 19.6, f"{_GOLDIE}; backend positional"),
    "hopper": _brax(101.8, 13.4, _OF_ANT),
    "humanoid": _brax(406.1, 8.0, _OF_ANT),
    "walker2d": _brax(282.0, 17.9, _OF_ANT),
}
"""Keys are the names that `gymnax_env` and `brax_env` take; those of Brax hold for the backend that is named.

The references were measured with older versions of gymnax and Brax, whose games and physics may differ.
"""

"""Construction of drifts from names and settings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from experiments.cli.command_line import choose, instantiate
from experiments.cli.conditioning import conditioning
from lopt import objectives
from lopt.objectives import DPO, LPO, Clip, Drift
from lopt.training.checks import at_least

BASE_DRIFTS: dict[str, Drift | None] = {"ppo": Clip(), "none": None}
"""Drifts to which the network of a learned drift is added."""

DRIFTS: dict[str, Drift] = {"ppo": Clip(), "dpo": DPO()}
"""Drifts without meta-parameters, the baselines."""

LEARNED: dict[str, Callable[..., Drift]] = {"lpo": LPO}
"""Classes of learned drifts; those other than LPO have no options."""

TIMES = {
    "none": objectives.NoTime,
    "fraction": objectives.Fraction,
    "remaining": objectives.RemainingFraction,
    "normalised": objectives.FractionAndLogNumUpdates,
}


@dataclass(frozen=True)
class DriftConfig:
    """The learned drift; that of LPO is f(r, A) = ReLU(f_0(r, A) + network(r, A) - xi).

    Raises:
        ValueError: an unknown name, or a number out of range.
    """

    name: str = "lpo"
    """Learned drift: lpo, to which the other options of the drift belong; or the import path of an object or class, for
    example mypackage.MyDrift (its contract is lopt.objectives.Drift)."""
    base_drift: str = "ppo"
    """Base drift f_0 to which the network is added: ppo (theta = 0 is PPO up to xi) or none (f_0 = 0, LPO-Zero)."""
    time: str = "none"
    """Time inputs after n of N updates, by which the features of r and A are multiplied: none (LPO), fraction (n/N;
    TA-LPO), remaining ((N-n)/N) or normalised (n/N and log N)."""
    hidden: int = 128
    """Width of the hidden layer of the network (LPO: 128)."""
    xi: float = 1e-4
    """Threshold xi that is subtracted before the ReLU (official code: 1e-4). Its size sets the width of the interval
    around r = 1 in which the drift is zero."""
    init_scale: float = 0.1
    """Standard deviation of the initial output weights, times the square root of drift.hidden. It must not be 0:
    antithetic pairs around theta = 0 have equal fitness."""

    def __post_init__(self) -> None:
        choose("drift", self.name, LEARNED, extensible=True)
        choose("base drift", self.base_drift, BASE_DRIFTS)
        choose("time conditioning", self.time, TIMES)
        at_least(1, self, "hidden", prefix="drift.")
        at_least(0, self, "xi", "init_scale", prefix="drift.")

    def drift(self, lifetimes: Sequence[int]) -> Drift:
        """The drift for agents with these numbers of updates in a lifetime, which set the scale of log N.

        Raises:
            ValueError: an import path of something else than a drift.
        """
        if self.name != "lpo":
            return make_drift(self.name)
        time = conditioning(TIMES[self.time], min(lifetimes), max(lifetimes))
        return LPO(
            hidden=self.hidden,
            base_drift=BASE_DRIFTS[self.base_drift],
            xi=self.xi,
            conditioning=time,
            init_scale=self.init_scale,
        )


def make_drift(name: str) -> Drift:
    """A learned drift by its name or import path: an object, or a class or function without arguments.

    Raises:
        ValueError: an unknown name, a path that cannot be imported, or something else than a drift.
    """
    drift = instantiate(choose("drift", name, LEARNED, extensible=True))
    if not isinstance(drift, Drift):
        raise ValueError(
            f"drift: {name} is no drift (got {drift!r}; a drift has time_aware, init and __call__, as "
            "lopt.objectives.Drift says)"
        )
    return drift

"""Names on the command line, and the objects that they stand for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from envs.gridworld import TabularView, optimal_return, random_return
from experiments.grid.compat import RawTime
from lopt import curriculum, nets, objectives
from lopt.agents import MeanReturn, RLLifetime
from lopt.protocols import Score

RECURRENCES = {"gru": nets.ReverseGRU, "lstm": nets.ReverseLSTM}

TIMES = {
    "none": objectives.NoTime,
    "normalised": objectives.FractionAndLogNumUpdates,
    "fraction": objectives.Fraction,
    "remaining": objectives.RemainingFraction,
    "raw": RawTime,
}

ESTIMATORS = {
    "meta_gradient": "truncated meta-gradients through K updates (LPG)",
    "es": "evolution strategies on the return at the end of the lifetime (TA-LPG)",
    "pes": "persistent evolution strategies on the returns after every K updates",
}

A2C_START = "a2c"
"""Value of rule.start for the imitation of A2C."""

FITNESS = {"lifetime": 0.0, "second_half": 0.5, "final": None}
"""By name, the fraction of the lifetime from which its own returns count; None for fresh episodes at its end."""

PRIORITIES: dict[str, Callable[[float], curriculum.Priority]] = {
    "rank": curriculum.Rank,
    "proportional": curriculum.Proportional,
}

OBJECTIVES: dict[str, Any] = {
    "lpg": objectives.LPG,
    "scheduled_a2c": objectives.ScheduledA2C(),
    "scheduled_a2c_raw": objectives.ScheduledA2C(normalise=False),
    "constant_a2c": objectives.ScheduledA2C(knots=1),
    "constant_a2c_raw": objectives.ScheduledA2C(knots=1, normalise=False),
    "counting_a2c": objectives.ScheduledA2C(knots=1, counts=True),
}
"""Objectives that can be meta-trained; the options of `--rule` belong to lpg."""


@dataclass(frozen=True)
class ScoreParts:
    """What a level score can be made of.

    Attributes:
        lifetime: an agent under the rule.
        antagonist: an A2C agent.
        num_updates: K, updates per meta-step.
        mean_return: from a lifetime to the measurement of its agents' mean return.
    """

    lifetime: RLLifetime
    antagonist: RLLifetime
    num_updates: int
    mean_return: Callable[[RLLifetime], MeanReturn]

    def regret_against_antagonist(self) -> Score:
        """Return of an A2C agent minus the learner's, both after the same number of updates on the level."""
        return curriculum.AlgorithmicRegret(
            antagonist=self.antagonist,
            num_updates=self.num_updates,
            evaluate=self.mean_return(self.lifetime),
            evaluate_antagonist=self.mean_return(self.antagonist),
        )

    def regret_against(self, value: Callable[[Any, Any], Any]) -> Score:
        """A value that is computed from a tabular level minus the learner's return.

        Raises:
            ValueError: levels that are not tabular.
        """
        env: Any = self.lifetime.env
        if not isinstance(env.view, TabularView):
            raise ValueError("score: optimal_regret and random_regret need tabular levels; try alg_regret")
        return curriculum.OracleRegret(
            oracle=lambda key, level: value(env, level.params), evaluate=self.mean_return(self.lifetime)
        )


SCORES: dict[str, Callable[[ScoreParts], Score]] = {
    "alg_regret": lambda parts: parts.regret_against_antagonist(),
    "uniform": lambda parts: curriculum.Uniform(),
    "pvl": lambda parts: curriculum.PositiveValueLoss(),
    "l1": lambda parts: curriculum.L1ValueLoss(),
    "maxmc": lambda parts: curriculum.MaxMC(),
    "optimal_regret": lambda parts: parts.regret_against(optimal_return),
    "random_regret": lambda parts: parts.regret_against(random_return),
}
"""Level scores. One of another package is a class without arguments, or a function like these."""

FROZEN_BASELINE, MEAN_ADVANTAGE, RAW_TIME = "frozen-value-baseline", "mean-advantage", "raw-time"
FLAG_BUG, TOP_REPLAY, STOPPED_INPUTS = "level-flag-bug", "deterministic-replay", "stopped-rule-inputs"

COMPATIBLE = {
    FROZEN_BASELINE: "the value baseline is never trained",
    MEAN_ADVANTAGE: "every step of a rollout gets the mean advantage of the rollout",
    RAW_TIME: "rules with time normalised get n and N themselves",
    FLAG_BUG: "the flags of the level buffer are rebuilt from the wrong array",
    TOP_REPLAY: "the levels with the highest scores are replayed, without sampling",
    STOPPED_INPUTS: "no meta-gradient flows through the inputs of the rule, so that y_hat is not learned",
    "groove": "all of these",
}
"""Choices of GROOVE's published code (EmptyJackson/groove) that can be reproduced."""

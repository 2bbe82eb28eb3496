"""Names on the command line, and the objects that they stand for."""

from collections.abc import Callable

from lopt import curriculum, nets, objectives

RECURRENCES = {"gru": nets.ReverseGRU, "lstm": nets.ReverseLSTM}

TIMES = {
    "none": objectives.NoTime,
    "normalised": objectives.FractionAndLogNumUpdates,
    "fraction": objectives.Fraction,
    "remaining": objectives.RemainingFraction,
    "raw": objectives.RawTime,
}

ESTIMATORS = {
    "meta_gradient": "truncated meta-gradients through K updates (LPG)",
    "es": "evolution strategies on the return at the end of the lifetime (TA-LPG)",
}

PRIORITIES: dict[str, Callable[[float], curriculum.Priority]] = {
    "rank": curriculum.Rank,
    "proportional": curriculum.Proportional,
}

SCORES = {
    "alg_regret": "return of an A2C agent minus the learner's, both after the same number of updates on the level",
    "uniform": "no replay: every lifetime gets a new level (LPG)",
    "pvl": "mean positive advantage",
    "l1": "mean absolute advantage",
    "maxmc": "highest return so far minus the mean value",
    "optimal_regret": "optimal return minus the learner's",
    "random_regret": "random policy's return minus the learner's",
}

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

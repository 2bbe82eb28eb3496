"""The names that the command line knows, and what they stand for."""

from functools import partial

from envs.gridworld import All, KruskalMaze, Mazes, large, medium, rand_all, sets, small
from lopt import curriculum, nets, objectives

RECURRENCES = {"gru": nets.ReverseGRU, "lstm": nets.ReverseLSTM}

TIMES = {
    "none": objectives.NoTime,
    "normalised": objectives.FractionAndLogLifetime,
    "fraction": objectives.Fraction,
    "remaining": objectives.RemainingFraction,
    "raw": objectives.RawTime,
}

ESTIMATORS = {
    "meta_gradient": "truncated meta-gradients through K updates (LPG)",
    "es": "evolution strategies on the return at the end of the life (TA-LPG)",
}

PRIORITIES = {"rank": curriculum.Rank, "proportional": curriculum.Proportional}

SCORES = {
    "alg_regret": "return of an A2C agent minus the learner's, both after the same life on the level",
    "uniform": "no replay: every life gets a new level (plain LPG)",
    "pvl": "mean positive advantage",
    "l1": "mean absolute advantage",
    "maxmc": "best return seen minus the mean value",
    "optimal_regret": "optimal return minus the learner's",
    "random_regret": "random policy's return minus the learner's",
}

COMPATIBLE = {
    "G1": "the value baseline is never trained",
    "G2": "every step of a rollout gets the rollout's mean advantage",
    "G3": "time-conditioned rules get raw n and N",
    "G6": "the level buffer's flags are rebuilt from the wrong array",
    "G7": "the highest scores are replayed, without weights",
    "G23": "no meta-gradient flows through the rule's inputs, so that y_hat is never learned",
    "groove": "all of these",
}

LEVELS = {
    "all": All,
    "small": small,
    "medium": medium,
    "large": large,
    "rand_all": rand_all,
    "mazes": Mazes,
    "generated_mazes": partial(Mazes, KruskalMaze(13, 13)),
    **{f.__name__: f for f in (*sets.TABULAR_SETS, *sets.RANDOM_SETS)},
    **{f.__name__: f for f in (sets.groove_longer_horizon, sets.groove_rand_small, sets.groove_rand_small_sparse)},
}
"""From a law of the lifetime (`lifetime=...`) to a distribution of levels."""

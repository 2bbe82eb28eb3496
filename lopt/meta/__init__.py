"""Meta-learning: estimators of the meta-gradient, and the outer loop's step."""

from lopt.meta.es import ES, CentredRank, PairSign, Raw, ZScore
from lopt.meta.evosax_es import EvosaxES
from lopt.meta.gradient import MetaGradient
from lopt.meta.learner import MetaLearner, TrainedRule
from lopt.meta.multi_task import MultiTask, TaskLevels
from lopt.meta.pes import PES, Pair

__all__ = [
    "ES",
    "PES",
    "CentredRank",
    "EvosaxES",
    "MetaGradient",
    "MetaLearner",
    "MultiTask",
    "Pair",
    "PairSign",
    "Raw",
    "TaskLevels",
    "TrainedRule",
    "ZScore",
]

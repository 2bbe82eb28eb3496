"""Meta-learning: estimators of the meta-gradient, and the outer loop's step."""

from lopt.meta.gradient import MetaGradient, no_penalty
from lopt.meta.learner import MetaLearner

__all__ = ["MetaGradient", "MetaLearner", "no_penalty"]

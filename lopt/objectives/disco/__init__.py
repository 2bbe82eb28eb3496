"""DiscoRL: a learned rule with a state per lifetime, its records and its regularisers."""

from lopt.objectives.disco.moments import DebiasedMoments
from lopt.objectives.disco.records import DiscoInputs, DiscoOutput, DiscoState, DiscoTargets
from lopt.objectives.disco.regulariser import DiscoRegulariser
from lopt.objectives.disco.rule import DiscoRule
from lopt.objectives.disco.values import ValueBins, signed_hyperbolic, signed_parabolic

__all__ = [
    "DebiasedMoments",
    "DiscoInputs",
    "DiscoOutput",
    "DiscoRegulariser",
    "DiscoRule",
    "DiscoState",
    "DiscoTargets",
    "ValueBins",
    "signed_hyperbolic",
    "signed_parabolic",
]

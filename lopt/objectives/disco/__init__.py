"""DiscoRL: a learned rule with a state per lifetime, its records and its regularisers."""

from lopt.objectives.disco.records import (
    DebiasedMoments,
    DiscoInputs,
    DiscoOutput,
    DiscoState,
    DiscoTargets,
    ValueBins,
    signed_hyperbolic,
    signed_parabolic,
)
from lopt.objectives.disco.rule import DiscoRegulariser, DiscoRule

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

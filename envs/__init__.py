"""Environments with levels as data: grid worlds, delayed chains and probes, and distributions of their levels.

Environments of other libraries, with the same interface, are in `envs.gymnax` and `envs.brax`.
"""

from envs.chain import (
    CHAIN_SETS,
    BitsView,
    Chain,
    ChainLevel,
    ChainSet,
    ChainState,
    IndexView,
    distractor_chain,
    long_chain,
    long_noisy_chain,
    short_chain,
    short_noisy_chain,
)
from envs.distributions import Distribution, Mixture
from envs.draws import uniforms
from envs.int_distributions import Fixed, IntDistribution, LogUniform, Uniform, log_uniform
from envs.probes import (
    ACTION_FROM_OBS,
    ACTION_MATTERS,
    CONSTANT_VALUE,
    DISCOUNTING,
    PROBES,
    VALUE_FROM_OBS,
    Probe,
    ProbeLevel,
    ProbeState,
)
from envs.ranges import Ranges
from envs.references import REFERENCES, Reference

__all__ = [
    "ACTION_FROM_OBS",
    "ACTION_MATTERS",
    "CHAIN_SETS",
    "CONSTANT_VALUE",
    "DISCOUNTING",
    "PROBES",
    "REFERENCES",
    "VALUE_FROM_OBS",
    "BitsView",
    "Chain",
    "ChainLevel",
    "ChainSet",
    "ChainState",
    "Distribution",
    "Fixed",
    "IndexView",
    "IntDistribution",
    "LogUniform",
    "Mixture",
    "Probe",
    "ProbeLevel",
    "ProbeState",
    "Ranges",
    "Reference",
    "Uniform",
    "distractor_chain",
    "log_uniform",
    "long_chain",
    "long_noisy_chain",
    "short_chain",
    "short_noisy_chain",
    "uniforms",
]

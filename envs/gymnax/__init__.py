"""gymnax's environments as `lopt.protocols.Environment`: MinAtar, classic control, bsuite and others."""

from envs.gymnax.continuous import ContinuousGymnax
from envs.gymnax.discrete import Gymnax
from envs.gymnax.names import CAVEATS, UNAVAILABLE, Registered, gymnax_env, gymnax_names

__all__ = [
    "CAVEATS",
    "UNAVAILABLE",
    "ContinuousGymnax",
    "Gymnax",
    "Registered",
    "gymnax_env",
    "gymnax_names",
]

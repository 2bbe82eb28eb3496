"""Brax's tasks as `lopt.protocols.ContinuousEnvironment`.

Brax is the optional extra `lopt[brax]`, imported when a task is first used.
"""

from envs.brax.names import BACKENDS, BRAX_TASKS, Registered, brax_env
from envs.brax.task import Brax, BraxLevel

__all__ = ["BACKENDS", "BRAX_TASKS", "Brax", "BraxLevel", "Registered", "brax_env"]

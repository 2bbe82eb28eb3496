"""Agents of DiscoRL, and their lifetime."""

from lopt.agents.disco.agent import ActionModel, DiscoAgent, DiscoAgentState, DiscoNetwork, disco_adam, mlp_torso
from lopt.agents.disco.lifetime import DiscoLifetime, ReplayState, TrajectoryReplay

__all__ = [
    "ActionModel",
    "DiscoAgent",
    "DiscoAgentState",
    "DiscoLifetime",
    "DiscoNetwork",
    "ReplayState",
    "TrajectoryReplay",
    "disco_adam",
    "mlp_torso",
]

"""Agents of DiscoRL, and their lifetime."""

from lopt.agents.disco.agent import DiscoAgent, DiscoAgentState, disco_adam
from lopt.agents.disco.lifetime import DiscoLifetime
from lopt.agents.disco.network import ActionModel, DiscoNetwork, mlp_torso
from lopt.agents.disco.replay import ReplayState, TrajectoryReplay

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

"""Agents: their heads, their lives, and how they are measured."""

from lopt.agents.agent import Agent, AgentState
from lopt.agents.baseline import Valuation, ValueBaseline
from lopt.agents.evaluate import MeanReturn, episode_returns, live
from lopt.agents.final_return import FinalReturn
from lopt.agents.heads import Head, HeadFactory, HeadState, NetHead, TableHead
from lopt.agents.lifetime import LearnerState, RLLifetime
from lopt.agents.rollout import Players, reset, rollout

__all__ = [
    "Agent",
    "AgentState",
    "FinalReturn",
    "Head",
    "HeadFactory",
    "HeadState",
    "LearnerState",
    "MeanReturn",
    "NetHead",
    "Players",
    "RLLifetime",
    "TableHead",
    "Valuation",
    "ValueBaseline",
    "episode_returns",
    "live",
    "reset",
    "rollout",
]

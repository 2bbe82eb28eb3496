"""Agents: their heads, their lives, and how they are measured."""

from lopt.agents.actor_critic import ActorCritic, ActorCriticState
from lopt.agents.agent import Agent, AgentState
from lopt.agents.annealing import linear_annealing, no_annealing
from lopt.agents.baseline import Valuation, ValueBaseline
from lopt.agents.evaluate import MeanReturn, episode_returns, live
from lopt.agents.final_return import FinalReturn
from lopt.agents.heads import Head, HeadFactory, HeadState, NetHead, TableHead
from lopt.agents.life_return import LifeReturn
from lopt.agents.lifetime import LearnerState, RLLifetime
from lopt.agents.lifetime_returns import LifetimeReturns
from lopt.agents.minibatches import MinibatchEpochs
from lopt.agents.ppo_lifetime import PPOLifetime, PPOState
from lopt.agents.rollout import Players, reset, rollout
from lopt.agents.statistics import Earnings, Moments, NormaliseObservations, ScaleRewards
from lopt.agents.together import Together

__all__ = [
    "ActorCritic",
    "ActorCriticState",
    "Agent",
    "AgentState",
    "FinalReturn",
    "Earnings",
    "Head",
    "HeadFactory",
    "HeadState",
    "LearnerState",
    "LifeReturn",
    "LifetimeReturns",
    "MeanReturn",
    "MinibatchEpochs",
    "Moments",
    "NetHead",
    "NormaliseObservations",
    "PPOLifetime",
    "PPOState",
    "Players",
    "RLLifetime",
    "ScaleRewards",
    "TableHead",
    "Together",
    "Valuation",
    "ValueBaseline",
    "episode_returns",
    "linear_annealing",
    "live",
    "no_annealing",
    "reset",
    "rollout",
]

"""RL agents: trainable modules, lifetimes, and evaluation."""

from lopt.agents.actor_critic import ActorCritic, ActorCriticState
from lopt.agents.agent import Agent, AgentState
from lopt.agents.annealing import linear_annealing, no_annealing
from lopt.agents.baseline import ValueBaseline, ValueEstimates
from lopt.agents.defaults import default_lifetime, default_trainable, longest_episode
from lopt.agents.evaluate import MeanReturn, episode_returns, train_learner
from lopt.agents.final_return import FinalReturn
from lopt.agents.lifetime import LearnerState, RLLifetime
from lopt.agents.lifetime_return import LifetimeReturn
from lopt.agents.minibatches import MinibatchEpochs
from lopt.agents.multi_env import MultiEnvLifetime
from lopt.agents.ppo_lifetime import PPOLifetime, PPOState
from lopt.agents.return_accumulator import ReturnAccumulator
from lopt.agents.rollout import EnvBatch, reset, rollout
from lopt.agents.statistics import Moments, NormaliseObservations, RewardScaling, ScaleRewards
from lopt.agents.trainable import Trainable, TrainableFactory, TrainableNet, TrainableState, TrainableTable

__all__ = [
    "ActorCritic",
    "ActorCriticState",
    "Agent",
    "AgentState",
    "EnvBatch",
    "FinalReturn",
    "LearnerState",
    "LifetimeReturn",
    "MeanReturn",
    "MinibatchEpochs",
    "Moments",
    "MultiEnvLifetime",
    "NormaliseObservations",
    "PPOLifetime",
    "PPOState",
    "RLLifetime",
    "ReturnAccumulator",
    "RewardScaling",
    "ScaleRewards",
    "Trainable",
    "TrainableFactory",
    "TrainableNet",
    "TrainableState",
    "TrainableTable",
    "ValueBaseline",
    "ValueEstimates",
    "episode_returns",
    "linear_annealing",
    "no_annealing",
    "reset",
    "rollout",
    "train_learner",
    "default_lifetime",
    "default_trainable",
    "longest_episode",
]

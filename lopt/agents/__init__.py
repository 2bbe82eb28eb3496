"""RL agents: trainable modules, lifetimes, and evaluation."""

from lopt.agents.agent import ActorCritic, ActorCriticState, Agent, AgentState, ValueBaseline, ValueEstimates
from lopt.agents.defaults import (
    default_disco_lifetime,
    default_lifetime,
    default_torso,
    default_trainable,
    environment_of,
    longest_episode,
)
from lopt.agents.disco import DiscoAgent, DiscoAgentState, DiscoLifetime, TrajectoryReplay, disco_adam, mlp_torso
from lopt.agents.evaluate import MeanReturn, ReturnAccumulator, episode_returns, train_learner
from lopt.agents.fitness import FinalReturn, LearnedOptimizerLifetime, LifetimeReturn, MultiEnvLifetime
from lopt.agents.imitation import Demonstrations, Imitation, ValueCode, demonstrations
from lopt.agents.lifetime import LearnerState, RLLifetime
from lopt.agents.ppo_lifetime import PPOLifetime, PPOState, linear_annealing, no_annealing
from lopt.agents.rollout import EnvBatch, MinibatchEpochs, reset, rollout
from lopt.agents.statistics import Moments, NormaliseObservations, RewardScaling, ScaleRewards
from lopt.agents.trainable import Trainable, TrainableFactory, TrainableNet, TrainableState, TrainableTable

__all__ = [
    "ActorCritic",
    "ActorCriticState",
    "Agent",
    "AgentState",
    "Demonstrations",
    "DiscoAgent",
    "DiscoAgentState",
    "DiscoLifetime",
    "EnvBatch",
    "FinalReturn",
    "Imitation",
    "LearnedOptimizerLifetime",
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
    "TrajectoryReplay",
    "ValueBaseline",
    "ValueCode",
    "ValueEstimates",
    "demonstrations",
    "disco_adam",
    "environment_of",
    "episode_returns",
    "linear_annealing",
    "mlp_torso",
    "no_annealing",
    "reset",
    "rollout",
    "train_learner",
    "default_disco_lifetime",
    "default_lifetime",
    "default_torso",
    "default_trainable",
    "longest_episode",
]

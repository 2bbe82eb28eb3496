"""python -m experiments.ppo [--env Breakout-MinAtar] [--drifts ppo dpo runs/lpo/rule] [--seeds 4] [--help]

Agents in one environment under several drifts.

Examples:
    python -m experiments.ppo  # CartPole with the published settings
    python -m experiments.ppo --drifts ppo dpo lpo-cartpole --seeds 16 --inner.total-steps 20480  # several drifts
    python -m experiments.ppo --env Breakout-MinAtar --out runs/breakout  # another environment

Main options: --env, --drifts, --seeds, --out, --seed, --max-minutes,
    --resume, --inner.total-steps, --inner.num-envs, --inner.learning-rate
"""

from experiments.cli.memory import restart_with_huge_pages

if __name__ == "__main__":
    restart_with_huge_pages()

from experiments.cli.command_line import launch
from experiments.drift.config import PPO_PRESETS, PPOConfig
from experiments.drift.ppo import main

if __name__ == "__main__":
    launch(main, PPOConfig, PPO_PRESETS)

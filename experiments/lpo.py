"""python -m experiments.lpo [--preset quick|ta|paper] [--envs CartPole-v1 ...] [--help]

LPO, TA-LPO: meta-trains the drift of a PPO agent.

Examples:
    python -m experiments.lpo  # six minutes on two cores
    python -m experiments.lpo --preset ta  # a drift that depends on the learner's progress
    python -m experiments.lpo --envs CartPole-v1 Breakout-MinAtar --out runs/two  # in two environments

Main options: --preset, --out, --seed, --max-minutes, --resume, --envs,
    --test-envs, --drift.name, --inner.total-steps, --meta.num-steps
"""

from experiments.cli.memory import restart_with_huge_pages

if __name__ == "__main__":
    restart_with_huge_pages()

from experiments.cli.command_line import launch
from experiments.drift.config import PRESETS, DriftStudyConfig
from experiments.drift.train import main

if __name__ == "__main__":
    launch(main, DriftStudyConfig, PRESETS)

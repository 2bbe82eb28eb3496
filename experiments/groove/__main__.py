"""python -m experiments.groove [--preset quick|small|paper] [--score ...] [--help]"""

from experiments.common.cli import launch
from experiments.gridworld.config import StudyConfig
from experiments.gridworld.train import main
from experiments.groove.presets import PRESETS

if __name__ == "__main__":
    launch(main, StudyConfig, PRESETS)

"""python -m experiments.lpg [--preset quick|small|paper] [--levels.distribution ...] [--help]"""

from experiments.common.memory import restart_with_huge_pages

if __name__ == "__main__":
    restart_with_huge_pages()

import dataclasses

from experiments.common.cli import launch
from experiments.common.config import RunConfig
from experiments.gridworld.config import StudyConfig
from experiments.gridworld.train import main
from experiments.groove.presets import PRESETS as GROOVE

PRESETS = {
    name: dataclasses.replace(preset, run=RunConfig(out="runs/lpg"), score="uniform") for name, preset in GROOVE.items()
}

if __name__ == "__main__":
    launch(main, StudyConfig, PRESETS)

"""python -m experiments.lpo [--preset quick|ta|paper] [--envs CartPole-v1 ...] [--help]"""

from experiments.common.memory import restart_with_huge_pages

if __name__ == "__main__":
    restart_with_huge_pages()

from experiments.common.cli import launch
from experiments.lpo.presets import PRESETS
from experiments.mirror.config import MirrorConfig
from experiments.mirror.train import main

if __name__ == "__main__":
    launch(main, MirrorConfig, PRESETS)

"""python -m experiments.disco [--preset quick|disco103|published] [--rule PATH] [--help]

DiscoRL: meta-trains a rule on Catch; Disco103.

Examples:
    python -m experiments.disco  # six minutes on two cores
    python -m experiments.disco --preset disco103 --rule disco_103.npz  # agents under the published weights

Main options: --preset, --out, --seed, --max-minutes, --resume, --rule,
    --meta.num-steps, --agent.num-updates, --eval.num-updates, --eval.seeds
"""

from experiments.cli.memory import restart_with_huge_pages

if __name__ == "__main__":
    restart_with_huge_pages()

from experiments.cli.command_line import launch
from experiments.discorl.config import PRESETS, DiscoStudyConfig
from experiments.discorl.train import main

if __name__ == "__main__":
    launch(main, DiscoStudyConfig, PRESETS)

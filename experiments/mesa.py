"""python -m experiments.mesa [--preset quick|paper] [--diagonal-unitary.initials gaussian sparse ones] [--help]

Single linear layers: training beside closed forms.

Examples:
    python -m experiments.mesa  # two minutes on two cores

Main options: --preset, --out, --seed, --max-minutes, --resume, --num-steps,
    --systems.length, --systems.dimensions
"""

from experiments.cli.command_line import launch
from experiments.incontext.mesa.config import PRESETS, MesaConfig
from experiments.incontext.mesa.train import main

if __name__ == "__main__":
    launch(main, MesaConfig, PRESETS)

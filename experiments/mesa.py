"""python -m experiments.mesa [--preset quick|paper] [--diagonal-unitary.initials gaussian sparse ones] [--help]"""

from experiments.cli.command_line import launch
from experiments.incontext.mesa.config import PRESETS, MesaConfig
from experiments.incontext.mesa.train import main

if __name__ == "__main__":
    launch(main, MesaConfig, PRESETS)

"""python -m experiments.evaluate --rules NAME [PATH ...] [--suite grid|control|supervised|incontext|...]"""

from experiments.cli.command_line import launch
from experiments.suites.config import PRESETS, EvaluateConfig
from experiments.suites.run import main

if __name__ == "__main__":
    launch(main, EvaluateConfig, PRESETS)

"""python -m experiments.evaluate --rules NAME [PATH ...] [--suite grid|control|supervised|incontext|...]

Rules and tuned baselines on a suite, from scratch.

Examples:
    python -m experiments.evaluate --rules a2c-constants-grid --suite grid  # a shipped rule beside A2C
    python -m experiments.evaluate --rules lpo-cartpole runs/lpo/rule --suite control --seeds 16  # and a rule file
    python -m experiments.evaluate --suite supervised --out runs/optimizers  # all shipped rules that fit

Main options: --rules, --suite, --tasks, --levels, --seeds, --out, --seed,
    --resume, --rates, --tuning-seeds
"""

from experiments.cli.command_line import launch
from experiments.suites.config import PRESETS, EvaluateConfig
from experiments.suites.run import main

if __name__ == "__main__":
    launch(main, EvaluateConfig, PRESETS)

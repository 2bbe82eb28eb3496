"""python -m experiments.horizons runs/a runs/b ... [--horizons 10 25 50 100] [--help]

Rules at other horizons; their sensitivity to time.
"""

from experiments.cli.command_line import report_errors
from experiments.grid.horizons import main

if __name__ == "__main__":
    report_errors(main)

"""python -m experiments.lion_search_repeats runs/a runs/b ... [--out results/folder] [--help]

Several seeds of the program search as one result.
"""

from experiments.cli.command_line import report_errors
from experiments.search.repeats import main

if __name__ == "__main__":
    report_errors(main)

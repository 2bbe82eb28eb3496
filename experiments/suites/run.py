"""The run of an evaluation: its rows, its cells and its report."""

import lopt
from experiments.suites.candidates import candidates
from experiments.suites.cells import run_cells
from experiments.suites.config import EvaluateConfig
from experiments.suites.report import write
from lopt.training import Outcome, command_line, open_folder, resume_line


def main(config: EvaluateConfig) -> Outcome:
    """Compute the cells that are missing, and write the report when all are there.

    Raises:
        ValueError: rules that the suite cannot evaluate.
        ImportError: an environment whose package is not installed.
    """
    suite = config.build()
    shipped = [entry.name for entry in lopt.list_rules() if entry.kind in suite.kinds]
    names = [*(config.rules or shipped), *(name for name in suite.required if name not in config.rules)]
    rows = candidates(config.suite, names, suite.baselines, suite.kinds)
    for candidate in rows.values():
        suite.check(candidate)
    folder = open_folder(config, command_line(), checkpointed=False)
    try:
        cells, stopped = run_cells(suite, rows, folder, config.run.max_minutes, config.run.progress)
        done, total = sum(map(len, cells.values())), len(rows) * len(suite.tasks)
        if stopped is not None:
            print(
                f"{done} of {total} cells are done ({stopped}); to go on:\n  {resume_line(folder.command)}", flush=True
            )
        else:
            write(config, suite, rows, folder, cells)
            print(f"report: {folder.path / 'report.md'}")
        return Outcome(cells, done, stopped is not None, stopped, total, "cell")
    finally:
        folder.close()

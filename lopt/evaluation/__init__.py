"""Meta-testing of rules, statistics with intervals, pictures and reports."""

from lopt.evaluation import drift_plots, lpg_response, plots, regression
from lopt.evaluation.meta_test import LevelTester, MetaTestScores, meta_test, normalised, random_returns
from lopt.evaluation.report import (
    curves,
    image,
    join_notes,
    json_data,
    nonfinite_note,
    report_unfinished,
    table,
    write_report,
    write_results,
)
from lopt.evaluation.runs import FinishedRun, check_same_configuration, read_run, write_summary
from lopt.evaluation.sequences import SequenceResult, SequenceTester, last_quarter
from lopt.evaluation.statistics import (
    Axis,
    Interval,
    Sample,
    bootstrap,
    bootstrap_samples,
    iqm,
    mean,
    paired_difference,
    performance_profile,
    t_interval,
)
from lopt.evaluation.testers import MetaTester, MetaTestResult, OptimizerComparison, OptimizerResult, OptimizerTester

__all__ = [
    "MetaTestScores",
    "OptimizerComparison",
    "OptimizerResult",
    "OptimizerTester",
    "meta_test",
    "normalised",
    "random_returns",
    "Axis",
    "FinishedRun",
    "LevelTester",
    "Interval",
    "MetaTestResult",
    "MetaTester",
    "Sample",
    "SequenceResult",
    "SequenceTester",
    "bootstrap",
    "bootstrap_samples",
    "check_same_configuration",
    "curves",
    "drift_plots",
    "image",
    "iqm",
    "join_notes",
    "json_data",
    "read_run",
    "regression",
    "last_quarter",
    "lpg_response",
    "report_unfinished",
    "nonfinite_note",
    "mean",
    "paired_difference",
    "performance_profile",
    "t_interval",
    "plots",
    "table",
    "write_report",
    "write_results",
    "write_summary",
]

"""Evaluation of rules on suites of tasks: learners trained from scratch under each rule and under baselines."""

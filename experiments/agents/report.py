"""Tables and data of reports on agents trained by a learned rule and by tuned baselines."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from experiments.agents.meta_test import MetaTestResult
from experiments.agents.tuning import Tuned, TuningConfig
from lopt.evaluation import bootstrap, mean, paired_difference, table, verdict

FINAL, LIFETIME = "final", "lifetime"


def comparison(row: Mapping[str, MetaTestResult], tuned: Mapping[str, Tuned], kind: str, compared: str) -> str:
    """The table of one environment.

    Args:
        row: the results by rule.
        tuned: the settings that were chosen, by rule.
        kind: what the rules are, the heading of the first column.
        compared: the rule whose paired differences to the others are printed.
    """
    minus, lines = f"{compared} minus this", []
    for label, result in row.items():
        cells: list[object] = [label]
        for ours, values in zip(_measures(row[compared]).values(), _measures(result).values(), strict=True):
            cells.append(bootstrap(values, mean))
            cells.append("" if label == compared else str(paired_difference(ours, values)))
        lines.append([*cells, str(tuned.get(label, ""))])
    header = (kind, "final return", minus, "mean return over the lifetime", minus, "tuned learning rate")
    return table(header, lines)


def conclusion(row: Mapping[str, MetaTestResult], env: str, compared: str, baseline: str) -> str:
    """How the final return under the rule `compared` differs from that under a baseline, in one sentence."""
    difference = paired_difference(row[compared].final, row[baseline].final)
    return verdict(f"In {env} the {compared}", baseline, difference, "final return, paired by seed")


def results_data(
    config: TuningConfig,
    results: Mapping[str, Mapping[str, MetaTestResult]],
    tuned: Mapping[str, Mapping[str, Tuned]],
    compared: str,
) -> dict[str, Any]:
    """Returns, paired differences of the rule `compared`, returns per seed and tuning, by environment and by rule."""
    per_seed = {env: {label: _measures(result) for label, result in row.items()} for env, row in results.items()}
    return {
        "returns": {
            env: {label: {k: bootstrap(x, mean) for k, x in values.items()} for label, values in row.items()}
            for env, row in per_seed.items()
        },
        "learned_minus": {
            env: {
                label: {k: paired_difference(row[compared][k], x) for k, x in values.items()}
                for label, values in row.items()
                if label != compared
            }
            for env, row in per_seed.items()
        },
        "per_seed": per_seed,
        "tuned": {
            env: {name: {"rates": config.grid, **dataclasses.asdict(choice)} for name, choice in row.items()}
            for env, row in tuned.items()
        },
    }


def at_edge(tuned: Mapping[str, Mapping[str, Tuned]]) -> str:
    """A sentence on the rules whose best learning rate is at the edge of the grid; empty if there is none."""
    names = [f"{name} in {env}" for env, row in tuned.items() for name, choice in row.items() if choice.at_edge]
    return f" The best rate is at the edge of the grid for {', '.join(names)}." if names else ""


def _measures(result: MetaTestResult) -> dict[str, Any]:
    return {FINAL: result.final, LIFETIME: result.lifetime_return}

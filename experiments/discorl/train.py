"""Meta-training of DiscoRL's rule and training of agents under it: the run of `experiments.disco`."""

from functools import partial
from pathlib import Path

import jax

from experiments.cli.study import StudyRun, export_rule, run_study
from experiments.discorl.build import Study, build
from experiments.discorl.config import DiscoStudyConfig
from experiments.discorl.measure import TABLE, Tester, Validation
from experiments.discorl.report import UNTRAINED, environment_name, learning_curves, title, write
from lopt.training import Hook, Outcome, RunFolder, run, status, untrained


def main(config: DiscoStudyConfig) -> Outcome:
    """Meta-train the rule, or read it from a file; then train agents from scratch under it."""
    study = build(config)
    tester = Tester(config, study)
    return run_study(
        StudyRun(
            config=config,
            title=title(config),
            train=partial(train, config, study, tester),
            curves=learning_curves,
            report=partial(meta_test, config, study, tester),
            export=partial(export, config, study) if config.rule is None else None,
        )
    )


def train(config: DiscoStudyConfig, study: Study, tester: Tester, folder: RunFolder) -> Outcome:
    """Run the outer loop, with validation as a hook; no step where a rule file is evaluated."""
    meta_trains = config.rule is None
    return run(
        config.run,
        folder,
        init=lambda key: study.learner.init(key, study.theta),
        step=study.learner.step,
        num_steps=config.meta.num_steps if meta_trains else 0,
        chunk=config.meta.steps_per_chunk,
        hooks=[Hook(config.eval.every, Validation(tester))] if meta_trains else [],
        headline=("reward", "policy_entropy"),
        finite=("meta_loss",),
        unit="meta-step",
    )


def export(config: DiscoStudyConfig, study: Study, folder: RunFolder, outcome: Outcome) -> Path:
    """Write the rule with its current meta-parameters as a rule file."""
    notes = f"{environment_name(config)}, lifetimes of {config.agent.num_updates} updates"
    return export_rule(config, folder, outcome, study.rule, outcome.state.theta, notes)


def meta_test(config: DiscoStudyConfig, study: Study, tester: Tester, folder: RunFolder, outcome: Outcome) -> None:
    """Train agents from scratch under the rule and under an untrained one, and write the report."""
    thetas = {config.rule or "trained rule": jax.device_get(outcome.state.theta)}
    if config.eval.untrained:
        thetas[UNTRAINED] = untrained(config.run, study.learner.init)
    with status("training agents from scratch", config.run.progress):
        results = {label: tester(theta, TABLE, config.eval.seeds) for label, theta in thetas.items()}
        random_return = tester.random()
    write(config, folder, results, random_return)

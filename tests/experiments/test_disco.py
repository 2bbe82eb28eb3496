"""The study of DiscoRL's rule: bad input, construction, a small run, and evaluation of a rule file."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import lopt
from experiments.discorl.build import build
from experiments.discorl.config import PRESETS, AgentConfig, DiscoStudyConfig, EnvConfig, EvalConfig, MetaConfig
from experiments.discorl.config import NetworkConfig as Network
from experiments.discorl.train import main
from lopt.meta import TrainedRule
from lopt.objectives import LPO
from lopt.rules import card_of, save_rule
from lopt.training import RunConfig

TINY = DiscoStudyConfig(
    run=RunConfig(out="unset", progress=False, checkpoint_minutes=0),
    env=EnvConfig(rows=3, columns=2),
    network=Network(prediction_size=4, hidden=5, lifetime_hidden=3, bins=5, bin_limit=2.0),
    agent=AgentConfig(torso=(4,), state_size=3, hidden=3, num_envs=2, rollout_length=4, num_updates=4),
    meta=MetaConfig(num_steps=4, num_lifetimes=2, critic=(3,), steps_per_chunk=2),
    eval=EvalConfig(every=2, num_updates=4, validation_seeds=2, seeds=2, episodes=4),
)


def change(config, **changes):
    return dataclasses.replace(config, **changes)


def changed(group, **changes):
    """TINY with other options of one group."""
    return change(TINY, **{group: change(getattr(TINY, group), **changes)})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: changed("agent", torso=()), "agent.torso must name at least one width"),
        (lambda: changed("agent", replay=3), r"agent.replay must be 0, or at least .*got 3, 64 and 2"),
        (lambda: changed("agent", num_updates=0), r"agent.num-updates must be at least 1 \(got 0\)"),
        (lambda: changed("env", rows=1), r"env.rows must be at least 2 \(got 1\)"),
        (lambda: changed("eval", every=3), "eval.every must be a multiple of meta.steps-per-chunk"),
        (lambda: changed("meta", gamma=1.5), "meta.gamma must be between 0 and 1"),
        (lambda: build(changed("network", bins=4)), r"number must be odd and at least 3 \(got 4\)"),
        (lambda: build(changed("env", name="catsh")), "unknown environment 'catsh'"),
        (lambda: build(changed("env", name="grid/smal")), "unknown level distribution 'smal'"),
        (lambda: build(changed("env", name="Pendulum-v1")), "actions must be discrete"),
        (lambda: build(change(TINY, rule="nowhere/rule")), "nowhere/rule.json does not exist"),
    ],
)
def test_bad_input_raises_a_message_with_the_option(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_file_of_another_rule_is_refused(tmp_path, monkeypatch):
    drift = LPO(hidden=2)
    save_rule(tmp_path / "rule", drift.init(jax.random.key(0)), card_of(drift))
    with pytest.raises(ValueError, match="must hold a DiscoRule"):
        build(change(TINY, rule=str(tmp_path / "rule")))


@pytest.mark.parametrize("name", ["quick", "published", "grid/small"])
def test_a_meta_step_keeps_the_type_of_the_state(name):
    study = build(PRESETS[name] if name in PRESETS else changed("env", name=name))
    state = jax.eval_shape(study.learner.init, jax.random.key(0))
    after, metrics = jax.eval_shape(study.learner.step, jax.random.key(0), state)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert {"meta_loss", "reward", "lifetime_state", "gradient_norm"} <= set(metrics)


@pytest.mark.slow
def test_a_run_resumes_writes_its_report_and_its_rule_can_be_evaluated(tmp_path):
    trained = change(TINY, run=change(TINY.run, out=str(tmp_path / "disco")))
    main(change(trained, run=change(trained.run, max_minutes=1e-9)))
    assert "not finished" in (tmp_path / "disco" / "report.md").read_text()
    main(change(trained, run=change(trained.run, resume=True)))
    for name in ("report.md", "results.json", "agents.png", "curves.png", "rule.npz", "rule.json"):
        assert (tmp_path / "disco" / name).stat().st_size > 0, name
    results = json.loads((tmp_path / "disco" / "results.json").read_text())
    assert set(results["returns"]) == {"trained rule", "untrained rule"} and set(results["minus"]) == {"untrained rule"}
    assert np.shape(results["curves"]["trained rule"]) == (2, 4) and -1 <= results["random"] <= 1

    path = str(tmp_path / "disco" / "rule")
    assert isinstance(lopt.load(path), TrainedRule)
    evaluated = change(TINY, rule=path, run=change(TINY.run, out=str(tmp_path / "evaluated")))
    main(evaluated)
    again = json.loads((tmp_path / "evaluated" / "results.json").read_text())
    # the same program with the same agents; the untrained rule is that of the seed of the run
    for measure in ("final", "lifetime"):
        np.testing.assert_allclose(again["per_seed"][path][measure], results["per_seed"]["trained rule"][measure])
    assert not (tmp_path / "evaluated" / "rule.npz").exists()

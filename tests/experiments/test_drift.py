"""Meta-training of drifts: bad input, construction, drawings, and a small run."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from experiments.agents.settings import PUBLISHED, InnerConfig
from experiments.agents.tuning import TABLE, agent_keys
from experiments.cli.environments import environment
from experiments.cli.evolution import ESConfig
from experiments.drift import measure
from experiments.drift.build import DRIFTS, DriftConfig
from experiments.drift.config import PRESETS, DriftStudyConfig, EvalConfig, MetaConfig, PPOConfig
from experiments.drift.ppo import drifts
from experiments.drift.ppo import main as train_agents
from experiments.drift.train import build, main
from lopt.objectives import DPO, FractionAndLogNumUpdates
from lopt.rules import load_rule
from lopt.training import RunConfig

INNER = InnerConfig(num_envs=2, rollout_length=4, total_steps=16, epochs=1, num_minibatches=2, hidden=(3,))
TINY = DriftStudyConfig(
    run=RunConfig(out="unset", progress=False, checkpoint_minutes=0),
    inner=INNER,
    drift=DriftConfig(hidden=3, time="fraction"),
    meta=MetaConfig(num_steps=2, num_lifetimes=2),
    es=ESConfig(episodes=2),
    eval=EvalConfig(seeds=2, episodes=2, every=2, rates=2, tuning_seeds=2),
)


def change(config, **changes):
    return dataclasses.replace(config, **changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: environment("CartPole-v2"), "did you mean CartPole-v1"),
        (lambda: environment("brax/ants"), "did you mean ant"),
        (lambda: environment("grid/all"), "unknown grid world for networks 'grid/all'"),
        (lambda: environment("MNISTBandit-bsuite"), "unknown environment"),
        (lambda: change(TINY, envs=()), "at least one environment"),
        (lambda: change(TINY, es=ESConfig(population=5)), "es.population must be even"),
        (lambda: change(TINY, eval=EvalConfig(every=0)), "eval.every must be a multiple"),
        (lambda: EvalConfig(rates=1), "eval.rates must be at least 2"),
        (lambda: EvalConfig(epochs=(4, 0)), "eval.epochs must be at least 1"),
        (lambda: EvalConfig(clips=(0.0,)), "eval.clips must be positive"),
        (lambda: DriftConfig(time="fractoin"), "did you mean fraction"),
        (lambda: DriftConfig(base_drift="pop"), "did you mean ppo"),
        (lambda: change(TINY, meta=MetaConfig(fitness="lifetme")), "did you mean lifetime"),
        (lambda: build(change(TINY, envs=("CartPole-v1", "Acrobot-v1"))), "none is known for Acrobot-v1"),
        (lambda: build(change(TINY, inner=change(INNER, num_minibatches=3))), "number of minibatches must divide"),
        (lambda: build(change(TINY, drift=DriftConfig(hidden=0))), "hidden must be at least 1"),
        (lambda: PPOConfig(drifts=()), "at least one drift"),
        (lambda: PPOConfig(seeds=0), r"seeds must be at least 1 \(got 0\)"),
        (lambda: drifts(PPOConfig(drifts=("dop",))), "did you mean dpo"),
    ],
)
def test_bad_input_raises_a_message_with_the_option(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_missing_brax_raises_a_message_with_the_installation_command():
    try:
        env, _, _ = environment("brax/ant")
    except ImportError as error:
        assert 'pip install "lopt[brax]"' in str(error)
    else:
        assert env.action_size == 8


@pytest.mark.parametrize("name", ["quick", "ta"])
def test_a_meta_step_of_a_preset_keeps_the_type_of_the_state(name):
    study = build(PRESETS[name])
    state = jax.eval_shape(study.learner.init, jax.random.key(0))
    after, metrics = jax.eval_shape(study.learner.step, jax.random.key(0), state)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert {"meta_loss", "CartPole-v1/lifetime_return", "frac_nonfinite"} <= set(metrics)
    inputs = study.drift.init(jax.random.key(0))["hidden"].shape[0]
    assert inputs == (16 if name == "ta" else 8)


def test_returns_of_several_environments_are_divided_by_their_reference_returns():
    both = change(TINY, envs=("CartPole-v1", "Breakout-MinAtar"))
    study = build(both)
    state = jax.eval_shape(study.learner.init, jax.random.key(0))
    _, metrics = jax.eval_shape(study.learner.step, jax.random.key(0), state)
    assert {"CartPole-v1/final_return", "Breakout-MinAtar/final_return"} <= set(metrics)
    assert [lifetime.scale for lifetime in study.learner.estimator.lifetime.lifetimes] == [
        475.0,
        pytest.approx(50.08, abs=0.01),
    ]


def test_published_settings_are_the_defaults_of_options_that_are_not_given():
    assert PUBLISHED["Breakout-MinAtar"].num_updates == 10_000_000 // (64 * 128)
    assert InnerConfig(gamma=0.5).settings("Breakout-MinAtar") == dataclasses.replace(
        PUBLISHED["Breakout-MinAtar"], gamma=0.5
    )
    assert InnerConfig().settings("Seaquest-MinAtar") == PUBLISHED["Asterix-MinAtar"]
    assert InnerConfig().settings("Acrobot-v1") == PUBLISHED["CartPole-v1"]


def test_reference_of_log_lifetime_is_the_geometric_mean_of_the_agents_lifetimes():
    config = change(TINY, drift=DriftConfig(hidden=3, time="normalised"))
    study = build(config)
    (lifetime,) = {setup.settings.num_updates for setup in study.env_setups}
    assert study.drift.conditioning == FractionAndLogNumUpdates(reference=float(lifetime))
    assert DriftConfig(time="normalised").drift((4, 100, 25)).conditioning.reference == pytest.approx(20.0)


def test_every_drift_is_tuned_over_epochs_and_annealing_and_ppo_over_clipping_ranges():
    config = change(TINY, eval=change(TINY.eval, epochs=(1, 2), clips=(0.1,)))
    setup = build(config).env_setups[0]
    by_drift = {name: set(measure.variants(config, setup, drift, ())) for name, drift in DRIFTS.items()}
    assert by_drift["dpo"] == {f"{rate}, {epochs} epochs" for rate in ("constant", "annealed") for epochs in (1, 2)}
    assert by_drift["ppo"] == by_drift["dpo"] | {f"{variant}, clip 0.1" for variant in by_drift["dpo"]}


@pytest.mark.slow
def test_agents_with_the_rate_as_theta_are_those_with_the_rate_in_their_settings():
    config = change(TINY, inner=change(INNER, learning_rate=0.03, anneal=False))
    setup, keys = build(config).env_setups[0], agent_keys(TABLE, 2)
    by_settings = measure.tester(config, setup, DPO())(keys, ())
    by_rate = measure.variants(config, setup, DPO(), ())["constant"](keys, np.float32(0.03))
    np.testing.assert_allclose(by_rate.curve, by_settings.curve, rtol=1e-5)
    other = measure.variants(config, setup, DPO(), ())["constant"](keys, np.float32(0.5))
    assert np.abs(other.final - by_rate.final).max() > 0


@pytest.mark.slow
def test_a_run_writes_its_report_and_agents_train_under_its_rule(tmp_path):
    main(change(TINY, run=change(TINY.run, out=str(tmp_path / "lpo")), test_envs=("Catch-bsuite",)))
    for name in ("report.md", "results.json", "drift.png", "agents.png", "curves.png", "rule.npz"):
        assert (tmp_path / "lpo" / name).stat().st_size > 0, name
    assert load_rule(tmp_path / "lpo" / "rule").card.kind == "lopt.objectives.LPO"
    results = json.loads((tmp_path / "lpo" / "results.json").read_text())
    assert set(results["returns"]) == {"CartPole-v1", "Catch-bsuite"}
    drifts = {"learned drift", "untrained drift", "PPO", "DPO"}
    assert set(results["tuned"]["Catch-bsuite"]) == drifts
    frozen = {f"learned drift, frozen n/N = {fraction}" for fraction in ("0", "0.5", "1")}
    assert set(results["returns"]["CartPole-v1"]) == drifts | frozen

    config = PPOConfig(
        run=change(TINY.run, out=str(tmp_path / "ppo"), max_minutes=1e-9),
        drifts=("ppo", str(tmp_path / "lpo" / "rule")),
        seeds=2,
        inner=INNER,
        episodes=2,
    )
    train_agents(config)
    train_agents(change(config, run=change(config.run, max_minutes=None, resume=True)))
    results = json.loads((tmp_path / "ppo" / "results.json").read_text())
    assert set(results["returns"]) == {"ppo", "lpo"} and len(results["returns"]["lpo"]) == 2


@pytest.mark.slow
def test_without_meta_steps_the_initial_drift_is_tested(tmp_path):
    run = change(TINY.run, out=str(tmp_path / "lpo"))
    main(change(TINY, run=run, meta=change(TINY.meta, num_steps=0), drift=DriftConfig(hidden=3, base_drift="ppo")))
    results = json.loads((tmp_path / "lpo" / "results.json").read_text())
    assert set(results["returns"]["CartPole-v1"]) == {"learned drift", "PPO", "DPO"}

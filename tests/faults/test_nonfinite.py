"""Non-finite numbers injected into every part of a meta-step: theta stays finite, what is not finite is left out,
counted and replaced, and a run ends only when all is lost."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
from lopt.curriculum import (
    AlgorithmicRegret,
    DomainRandomisation,
    L1ValueLoss,
    LifetimeReward,
    MaxMC,
    OracleRegret,
    PositiveValueLoss,
    RateBandit,
    Replay,
    Uniform,
)
from lopt.curriculum.buffer import EMPTY
from lopt.meta import ES, PES, CentredRank, EvosaxES, MetaGradient, MetaLearner, MultiTask, Raw, TaskLevels, ZScore
from lopt.training import Checkpoints
from tests.faults.points import FaultyPoint, Point, clean, evaluate, with_fault

KEY = jax.random.key(0)
N, K = 4, 2
THETA = {"x": jnp.array([0.5, -1.0, 2.0]), "unused": jnp.zeros(2)}
VALUES = {"NaN": np.nan, "inf": np.inf, "-inf": -np.inf, "1e30": 1e30}


class Rule:
    """What theta belongs to."""

    def init(self, key):
        return THETA


def evosax(name):
    """A strategy of evosax as an estimator."""
    from evosax import algorithms

    return EvosaxES(
        lifetime=FaultyPoint(), algorithm=getattr(algorithms, name)(population_size=6, solution=THETA), num_updates=K
    )


ESTIMATORS = {
    "MetaGradient": lambda: MetaGradient(lifetime=FaultyPoint(), num_updates=K),
    "MetaGradient, in chunks": lambda: MetaGradient(lifetime=FaultyPoint(), num_updates=K, chunk_size=2),
    "MetaGradient, clipped": lambda: MetaGradient(lifetime=FaultyPoint(), num_updates=K, lifetime_norm=1.0),
    "ES, sign": lambda: ES(lifetime=FaultyPoint(), num_updates=K),
    "ES, rank": lambda: ES(lifetime=FaultyPoint(), num_updates=K, shaping=CentredRank()),
    "ES, z-score": lambda: ES(lifetime=FaultyPoint(), num_updates=K, shaping=ZScore(), pack=2),
    "ES, raw": lambda: ES(lifetime=FaultyPoint(), num_updates=K, shaping=Raw()),
    "PES": lambda: PES(lifetime=FaultyPoint(), num_updates=K),
    "PES, noise reused": lambda: PES(lifetime=FaultyPoint(), num_updates=K, reuse=True),
    "PES, z-score": lambda: PES(lifetime=FaultyPoint(), num_updates=K, shaping=ZScore()),
    "evosax, Open_ES": lambda: evosax("Open_ES"),
    "evosax, SNES": lambda: evosax("SNES"),
    "two tasks": lambda: MultiTask(
        estimators=(ESTIMATORS["PES"](), ESTIMATORS["MetaGradient"]()), names=("a", "b"), norm_decay=0.9
    ),
}
SCORES = {
    "uniform": Uniform,
    "positive value loss": PositiveValueLoss,
    "L1 value loss": L1ValueLoss,
    "MaxMC": MaxMC,
    "lifetime reward": LifetimeReward,
    "oracle regret": lambda: OracleRegret(oracle=lambda key, level: jnp.float32(0), evaluate=evaluate),
    "algorithmic regret": lambda: AlgorithmicRegret(
        antagonist=FaultyPoint(),
        num_updates=K,
        evaluate=evaluate,
        evaluate_antagonist=evaluate,
        antagonist_theta=THETA,
    ),
}


def meta_learner(estimator, score=None, curriculum=None):
    """A meta-learner of points that are never faulty unless a test makes them so."""
    levels = TaskLevels((clean, clean)) if isinstance(estimator, MultiTask) else clean
    own = isinstance(estimator, EvosaxES)  # its gradient is a difference of means
    return MetaLearner(
        estimator=estimator,
        curriculum=curriculum or DomainRandomisation(levels),
        score=score or Uniform(),
        optimizer=optax.sgd(1.0) if own else optax.adam(0.05),
        num_lifetimes=N,
        stagger=False,
        rule=Rule(),
    )


@functools.cache
def jitted(name):
    """`(estimator, initial state, step)` of an estimator."""
    learner = meta_learner(ESTIMATORS[name]())
    return learner.estimator, jax.jit(learner.init)(KEY), jax.jit(learner.step)


def injected(state, place, value, rows=(1,)):
    """A meta-state in which some lifetimes have a fault; at "level" their learners have it already."""
    levels = with_fault(state.assignment.levels, place, value, rows)
    if place == "level":

        def spoil(x):
            return x.at[np.array(rows)].add(value) if jnp.issubdtype(x.dtype, jnp.floating) else x

        per_lifetime = jax.tree.map(
            lambda x: x.replace(x=spoil(x.x)) if isinstance(x, Point) else x,
            state.estimator_state.per_lifetime,
            is_leaf=lambda x: isinstance(x, Point),
        )
        state = state.replace(estimator_state=state.estimator_state.replace(per_lifetime=per_lifetime))
    return state.replace(assignment=state.assignment.replace(levels=levels))


def is_lost(name, place, value):
    """Whether the fault makes a lifetime's loss or gradient non-finite."""
    if place == "meta-gradient":
        return name.startswith("MetaGradient") or name == "two tasks"
    return place in ("level", "learner", "loss")


@pytest.mark.parametrize("name", ESTIMATORS)
def test_one_lifetime_is_left_out_counted_and_replaced(name):
    """Every place and value, with one compiled step for each estimator."""
    estimator, state, step = jitted(name)
    for place in ("level", "learner", "loss", "meta-gradient", "metrics"):
        for label, value in VALUES.items():
            after, metrics = step(KEY, injected(state, place, value))
            where = f"{place} {label}"
            chex.assert_tree_all_finite((after.theta, after.opt_state, after.estimator_state))
            assert np.isfinite([float(x) for x in metrics.values()]).all(), (where, metrics)
            assert abs(float(metrics["meta_loss"])) < 1e6, where
            lost = is_lost(name, place, value)
            share = 0.5 if name == "two tasks" and place == "meta-gradient" else 1.0  # in one task of two
            np.testing.assert_allclose(metrics["frac_nonfinite"], share * lost / N, rtol=1e-6, err_msg=where)
            if lost:
                assert estimator.age(after.estimator_state)[1] == 0, f"{where}: replaced"
                _, again = step(jax.random.key(1), after)
                assert again["frac_nonfinite"] == 0, f"{where}: its successor has no fault"


@pytest.mark.parametrize("name", ESTIMATORS)
def test_all_lifetimes_lost(name):
    """The metrics say that all is lost, and theta stays finite."""
    _, state, step = jitted(name)
    for label, value in VALUES.items():
        after, metrics = step(KEY, injected(state, "loss", value, range(N)))
        assert metrics["frac_nonfinite"] == 1 and np.isnan(metrics["meta_loss"]), label
        chex.assert_tree_all_finite((after.theta, after.estimator_state))
        _, metrics = step(jax.random.key(1), after)
        assert metrics["frac_nonfinite"] == 0 and np.isfinite(metrics["meta_loss"]), label


@pytest.mark.parametrize("name", ["MetaGradient", "MetaGradient, clipped", "ES, sign", "PES"])
def test_the_gradient_is_that_of_the_other_lifetimes(name):
    """What is left out has no influence: every fault of one lifetime gives the same theta."""
    _, state, step = jitted(name)
    thetas = [
        step(KEY, injected(state, place, value))[0].theta["x"]
        for place, value in (("loss", np.nan), ("loss", np.inf), ("learner", np.nan), ("learner", -np.inf))
    ]
    for theta in thetas[1:]:
        np.testing.assert_array_equal(theta, thetas[0])
    assert (thetas[0] != THETA["x"]).all()


@pytest.mark.parametrize(
    "name", [name if name == "algorithmic regret" else pytest.param(name, marks=pytest.mark.slow) for name in SCORES]
)
def test_scores_that_are_not_finite_never_enter_a_buffer(name):
    """A lifetime whose score is not finite is not recorded; the buffer and the metrics stay finite."""
    curriculum = Replay(generator=clean, capacity=4 * N, replay_probability=0.5)
    learner = meta_learner(MetaGradient(lifetime=FaultyPoint(), num_updates=K), SCORES[name](), curriculum)
    state, step = jax.jit(learner.init)(KEY), jax.jit(learner.step)
    for i in range(4):
        state, _ = step(jax.random.key(i), state)
    places = ("scores", "learner", "loss", "antagonist")
    for number, (place, value) in enumerate((p, v) for p in places for v in (np.nan, np.inf, -np.inf)):
        rows = (1, 2)
        if place == "antagonist":
            scores = jax.tree.map(
                lambda x, value=value: x.at[1].set(value) if jnp.issubdtype(x.dtype, jnp.floating) else x, state.scores
            )
            state = state.replace(scores=scores)
        else:
            state = injected(state, place, value, rows)
        for i in range(3):
            state, metrics = step(jax.random.fold_in(jax.random.key(number), i), state)
            used = state.curriculum.status != EMPTY
            assert np.isfinite(state.curriculum.score[used]).all(), (place, value)
            assert np.isfinite([float(x) for x in metrics.values()]).all(), (place, value, metrics)
            chex.assert_tree_all_finite((state.theta, state.opt_state))


def test_scores_that_are_not_finite_do_not_spoil_a_bandit():
    """The bandit over learning rates keeps finite returns."""

    def generator(key):
        level = clean(key)
        return level.replace(num_updates=jnp.minimum(level.num_updates, K))

    bandit = RateBandit(curriculum=DomainRandomisation(generator), arms=((0.5, 1.0), (1.0, 1.0)))
    learner = meta_learner(MetaGradient(lifetime=FaultyPoint(), num_updates=K), LifetimeReward(), bandit)
    state, step = jax.jit(learner.init)(KEY), jax.jit(learner.step)
    for i, value in enumerate((np.nan, np.inf, -np.inf)):
        state, metrics = step(jax.random.key(i), injected(state, "scores", value, (0, 1)))
        chex.assert_tree_all_finite((state.theta, state.curriculum))
        assert np.isfinite([float(x) for x in metrics.values()]).all(), value


def failing_after(num):
    """Levels without a fault for the first `num` meta-steps, whose lifetimes end in each; then NaN for all."""

    class Levels:
        def init(self, key, number):
            state, assignment = DomainRandomisation(self.level).init(key, number)
            return jnp.zeros((), jnp.int32), assignment

        def level(self, key):
            return clean(key).replace(num_updates=jnp.int32(1))

        def exchange(self, key, state, assignment, scores, finished):
            _, after = DomainRandomisation(self.level).exchange(key, (), assignment, scores, finished)
            bad = with_fault(after.levels, "loss", np.nan, range(N))
            levels = jax.tree.map(lambda a, b: jnp.where(state + 1 >= num, a, b), bad, after.levels)
            return state + 1, after.replace(levels=levels)

        def metrics(self, state):
            return {}

    return Levels()


@pytest.mark.parametrize("name", ["MetaGradient", "PES", "evosax, SNES"])
def test_a_run_ends_when_all_is_lost_and_keeps_the_last_good_state(tmp_path, name):
    learner = meta_learner(ESTIMATORS[name](), curriculum=failing_after(5))
    with pytest.raises(FloatingPointError) as error:
        lopt.fit(learner, KEY, 12, out=tmp_path / "run", chunk=2, progress=False)
    message = str(error.value)
    assert "step 5" in message and "frac_nonfinite = 1.0" in message and "smaller learning" in message, message
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    step = checkpoints.latest()
    assert step == 4 and f"of step {step}" in message
    key_init, key_steps, _ = jax.random.split(KEY, 3)
    state, advance = jax.jit(learner.init)(key_init), jax.jit(learner.step)
    for i in range(step):
        state, _ = advance(jax.random.fold_in(key_steps, i), state)
    checkpoints.identity = checkpoints.recorded_identity()
    _, saved = checkpoints.restore(state)
    chex.assert_tree_all_finite(saved.theta)
    chex.assert_trees_all_close(saved.theta, state.theta, rtol=1e-5)

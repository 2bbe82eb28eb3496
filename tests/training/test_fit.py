"""`fit`: one call that trains, resumes, and refuses another run's folder."""

import json
import os
import signal
from dataclasses import dataclass
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
from lopt.training import Hook, describe, fit

KEY = jax.random.key(7)


@dataclass(frozen=True)
class Descent:
    """An optax optimizer on |x - 1|^2 with noise."""

    rate: float = 0.1

    def init(self, key):
        x = jax.random.normal(key, (3,))
        return {"x": x, "opt": self.tx.init(x)}

    @property
    def tx(self):
        return optax.adam(self.rate)

    def step(self, key, state):
        x = state["x"]
        loss, grad = jax.value_and_grad(lambda x: ((x - 1) ** 2).sum())(x)
        updates, opt = self.tx.update(grad + 0.1 * jax.random.normal(key, (3,)), state["opt"])
        return {"x": x + updates, "opt": opt}, {"loss": loss}

    def trained(self, state):
        return state["x"]


def quiet(*args, **options):
    return fit(*args, progress=False, **options)


def test_it_trains_and_keeps_nothing_on_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = quiet(Descent(), KEY, 200)
    assert result.step == 200 and result.stopped is None and not list(tmp_path.iterdir())
    assert [row["step"] for row in result.metrics] == list(range(20, 201, 20))
    assert result.metrics[-1]["loss"] < 0.1 < result.metrics[0]["loss"]
    np.testing.assert_array_equal(result.rule, result.state["x"])


def test_steps_get_their_own_keys_whatever_the_chunk():
    chex.assert_trees_all_close(quiet(Descent(), KEY, 12, chunk=1).state, quiet(Descent(), KEY, 12).state, rtol=1e-6)


def test_the_same_call_goes_on_bit_for_bit(tmp_path):
    whole = quiet(Descent(), KEY, 60, out=tmp_path / "whole", checkpoint_minutes=0)

    def interrupt(key, step, state, logger):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quiet(Descent(), KEY, 60, out=tmp_path / "parts", checkpoint_minutes=0, hooks=[Hook(40, interrupt)])
    parts = quiet(Descent(), KEY, 60, out=tmp_path / "parts")
    chex.assert_trees_all_equal(parts.state, whole.state)
    rows = [[{k: v for k, v in row.items() if k in ("step", "loss")} for row in r.metrics] for r in (whole, parts)]
    assert rows[0] == rows[1]


def test_ctrl_c_says_how_to_go_on(tmp_path, capsys):
    interrupt = Hook(20, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    stopped = quiet(Descent(), KEY, 60, out=tmp_path, hooks=[interrupt])
    assert stopped.step < 60 and stopped.stopped == "SIGINT was received"
    note = f"stopped at step {stopped.step} of 60, not finished (SIGINT was received)"
    assert f"{note}; the same call goes on from there, in {tmp_path}\n" in capsys.readouterr().out
    chex.assert_trees_all_equal(quiet(Descent(), KEY, 60, out=tmp_path).state, quiet(Descent(), KEY, 60).state)
    assert "goes on" not in capsys.readouterr().out
    quiet(Descent(), KEY, 60, hooks=[interrupt])
    assert f"{note}; nothing was kept" in capsys.readouterr().out


def test_a_finished_run_is_returned_or_prolonged(tmp_path):
    first = quiet(Descent(), KEY, 20, out=tmp_path)
    chex.assert_trees_all_equal(quiet(Descent(), KEY, 20, out=tmp_path).state, first.state)
    longer = quiet(Descent(), KEY, 50, out=tmp_path)
    assert longer.step == 50 and longer.metrics[-1]["step"] == 50
    with pytest.raises(ValueError, match="chunk must divide the step to go on from .got 12 and step 50"):
        quiet(Descent(), KEY, 60, out=tmp_path, chunk=12)


@pytest.mark.parametrize(
    ("learner", "key", "what"), [(Descent(0.2), KEY, "rate: 0.1"), (Descent(), jax.random.key(8), "key")]
)
def test_another_run_is_refused_or_overwritten(tmp_path, learner, key, what):
    quiet(Descent(), KEY, 20, out=tmp_path)
    with pytest.raises(ValueError, match=f"(?s)holds another run; it differs in.*{what}.*overwrite=True"):
        quiet(learner, key, 20, out=tmp_path)
    fresh = quiet(learner, key, 20, out=tmp_path, overwrite=True)
    chex.assert_trees_all_equal(fresh.state, quiet(learner, key, 20).state)


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="methods init and step .got int"):
        fit(3, KEY, 10)
    with pytest.raises(ValueError, match="num_steps must be at least 1 .got 0"):
        fit(Descent(), KEY, 0)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty and holds no run"):
        quiet(Descent(), KEY, 10, out=tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"

    class Bare:
        def init(self, key):
            return jnp.zeros(())

        def step(self, key, state):
            return state + 1, {"x": state}

    with pytest.raises(ValueError, match="Bare has no method trained"):
        _ = quiet(Bare(), KEY, 2).rule


def test_it_is_a_public_name():
    assert lopt.fit is fit


@dataclass(frozen=True)
class Part:
    inner: object
    size: int = 3


def closure(rate):
    def update(x):
        return rate * x

    return update


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Part(1), Part(2)),
        (Part(optax.adam(1e-3)), Part(optax.adam(1e-2))),
        (Part(closure(0.1)), Part(closure(0.2))),
        (Part(partial(closure, 1)), Part(partial(closure, 2))),
        (Part(np.zeros(3)), Part(np.zeros(4))),
        (Part(jnp.zeros(3)), Part(jnp.ones(3))),
        (Part(jax.random.key(0)), Part(jax.random.key(1))),
        (Part({"a": 1}), Part({"a": 2})),
        (Part((1, 2.5)), Part((1, 2.25))),
        (Part(Descent(0.1).step), Part(Descent(0.2).step)),
        (Part(optax.cosine_decay_schedule(1.0, 10)), Part(optax.cosine_decay_schedule(1.0, 20))),
        (Part(int), Part(float)),
        (Part(len), Part(abs)),
    ],
)
def test_descriptions_differ_where_configurations_do(one, other):
    assert describe(one) == describe(one) == json.loads(json.dumps(describe(one)))
    assert describe(one) != describe(other)


def test_a_description_of_what_refers_to_itself_ends():
    def loop(n):
        return n if n == 0 else loop(n - 1)

    assert json.dumps(describe(loop))

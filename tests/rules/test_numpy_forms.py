"""Rules without JAX: functions of numpy arrays and source texts, compared with the JAX forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt import objectives, optimizers, search
from lopt.rules import card_of, load, save_program, save_rule
from lopt.types import Progress

TIME = 3, 10
POINTS = tuple(x.ravel() for x in np.meshgrid(np.linspace(-0.8, 0.8, 7), np.linspace(1.5, -1.5, 4)))
DRIFTS = {
    "clip": objectives.Clip(0.1),
    "dpo": objectives.DPO(),
    "lpo": objectives.LPO(hidden=5),
    "lpo on clip": objectives.LPO(hidden=5, base_drift=objectives.Clip()),
    "talpo": objectives.TALPO(hidden=5),
    "remaining": objectives.LPO(hidden=5, conditioning=objectives.RemainingFraction()),
    "log": objectives.LPO(hidden=5, conditioning=objectives.FractionAndLogNumUpdates(20.0)),
    "frozen": objectives.LPO(hidden=5, conditioning=objectives.FrozenProgress(objectives.Fraction(), 0.5)),
    "formula": search.ProgramDrift(search.parse("def f(r, A, t): return max((r - 1.0) * A - sqrt(r) / 3.0, 0.0) * r")),
    "formula in time": search.ProgramDrift(search.parse("def f(r, A, t): return square(log(r)) * interp(A, r, t)")),
}
TEXTS = ("lpo", "talpo", "remaining", "formula", "formula in time")


@pytest.fixture(params=DRIFTS)
def drift(request, tmp_path, key):
    part = DRIFTS[request.param]
    theta = part.init(key)
    theta = jax.tree.map(lambda x: 3 * x, theta)  # so that f is not zero at most points
    save_rule(tmp_path / "rule", theta or {}, card_of(part))
    return request.param, load(tmp_path / "rule")


def expected(drift):
    progress = Progress(step=jnp.int32(TIME[0]), num_updates=jnp.int32(TIME[1]))
    return np.asarray(drift(*(jnp.asarray(x, jnp.float32) for x in POINTS), progress))


def test_the_numpy_form_of_a_drift(drift):
    name, loaded = drift
    values = loaded.to_numpy()(*POINTS, TIME)
    assert values.dtype == np.float64 and values.any()
    np.testing.assert_allclose(values, expected(loaded), rtol=1e-4, atol=1e-5)  # float64 and float32
    if loaded.time_aware:
        with pytest.raises(ValueError, match="needs progress"):
            loaded.to_numpy()(*POINTS)
    else:
        np.testing.assert_array_equal(loaded.to_numpy()(*POINTS), values)
    with pytest.raises(ValueError, match="one shape"):
        loaded.to_numpy()(POINTS[0], 1.0, TIME)


def test_the_source_text_of_a_drift(drift):
    name, loaded = drift
    if name not in TEXTS:
        with pytest.raises(ValueError, match="source: there is no text"):
            loaded.source()
        return
    scope: dict = {}
    exec(loaded.source(), scope)
    time = (TIME[0] / TIME[1],)
    if name.startswith("formula"):
        values = scope["drift"](np.exp(POINTS[0]), POINTS[1], *time)
    else:
        values = scope["drift"](*POINTS, *(time if loaded.time_aware else ()))
    np.testing.assert_allclose(values, expected(loaded), rtol=1e-4, atol=1e-5)


def test_a_formula_that_acts_on_all_entries_has_no_text(tmp_path):
    program = search.parse("def f(r, A, t): return r * global_norm(A)")
    save_rule(tmp_path / "rule", {}, card_of(search.ProgramDrift(program)))
    with pytest.raises(ValueError, match="global_norm acts on all entries"):
        load(tmp_path / "rule").source()


def run(tx, form):
    """Parameters after five updates by both forms."""
    params = [np.linspace(-1, 1, 6).reshape(2, 3), np.array([0.5, -2.0, 0.1])]
    ours, theirs = [jnp.asarray(x, jnp.float32) for x in params], params
    state, numpy_state = tx.init(ours), form.init(theirs)
    for step in range(5):
        gradients = [x - 0.1 * step for x in theirs]
        jax_gradients = [x - 0.1 * step for x in ours]
        updates, state = tx.update(jax_gradients, state, ours)
        numpy_updates, numpy_state = form.update(gradients, numpy_state, theirs)
        ours = [x + u for x, u in zip(ours, updates, strict=True)]
        theirs = [x + u for x, u in zip(theirs, numpy_updates, strict=True)]
    return ours, theirs, params


@pytest.mark.parametrize("rate", [0.3, lambda count: 0.3 / (1 + count)])
def test_the_numpy_form_of_a_program(tmp_path, rate):
    save_program(tmp_path / "rule", search.parse(search.published.LION))
    loaded = load(tmp_path / "rule", learning_rate=rate)
    ours, theirs, before = run(loaded, loaded.to_numpy())
    for x, y, z in zip(ours, theirs, before, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
        assert (y != z).all()
    assert search.parse(loaded.source()) == search.parse(search.published.LION)


def test_the_numpy_form_of_the_adafactor_rule(tmp_path, key):
    rule = optimizers.AdafactorRule(step_size=0.1, exponent=0.1)
    theta = jax.tree.map(lambda x: x, rule.init(key))
    theta["net"]["layers_4"]["kernel"] *= 10
    save_rule(tmp_path / "rule", theta, card_of(rule))
    loaded = load(tmp_path / "rule")
    ours, theirs, before = run(loaded, loaded.to_numpy())
    for x, y, z in zip(ours, theirs, before, strict=True):
        # five updates of order 0.1 by sums of some fifty float32 terms
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4)
        assert (abs(y - z) > 1e-3).all()
    with pytest.raises(ValueError, match="a network and has no text"):
        loaded.source()


def test_optimizers_without_a_numpy_form_say_so(tmp_path, key):
    rule = optimizers.OpenRule()
    save_rule(tmp_path / "rule", rule.init(key), card_of(rule))
    with pytest.raises(ValueError, match="has no numpy form"):
        load(tmp_path / "rule").to_numpy()

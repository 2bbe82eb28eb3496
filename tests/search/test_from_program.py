"""Programs as optax optimizers: they agree with the host interpreter, and published ones with their equations."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
from lopt.search import (
    Program,
    Statement,
    constants_of,
    evaluator,
    exposed,
    from_program,
    interpret,
    parse,
    published,
)
from tests.reference.halves import HALVES
from tests.reference.programs import FOUND, SHAPES, candidates, flat, jittered, tree
from tests.reference.ulps import assert_ulps

STEPS = 20
TEXTS = FOUND | {name: text for name, text in vars(published).items() if name.isupper()}


def in_range(program, values):
    """Whether all intermediate values are in the range of float32."""
    statements, name = [], {}
    for i, s in enumerate(program.statements):
        statements.append(Statement(f"x{i}", s.function, tuple(name.get(arg, arg) for arg in s.args)))
        name[s.target] = f"x{i}"
    traced = dataclasses.replace(program, statements=tuple(statements), outputs=tuple(s.target for s in statements))
    with np.errstate(all="ignore"):
        results = evaluator(np, traced)(dict(zip(program.parameters, values, strict=True)))
    sizes = np.abs(np.concatenate([np.ravel(x) for x in jax.tree.leaves(results)]))
    return ((sizes == 0) | (sizes > 1e-30) & (sizes < 1e30)).all()


def agreement(program, dtype, rtol):
    """The number of values that agree between the optax form and the interpreter, over steps with state.

    Each step begins with the interpreter's state. Values that differ by more than `rtol` must be as sensitive to
    jitter: some programs take the tangent of a large number, or whether a value is finite depends on rounding.
    """
    rng, tx, number = np.random.default_rng(0), from_program(program, lambda count: 1.0 - 0.01 * count), 0
    w, extras = tree(0), [tree(0, 0.0)] * len(program.extras)
    for step in range(STEPS):
        inputs = jax.tree.map(lambda x: x.astype(dtype).astype(float), (w, tree(1 + step), *extras))
        lr = np.asarray(1.0 - 0.01 * step, dtype).astype(float)
        if dtype == "float32" and not in_range(program, (*inputs, lr)):
            break
        w, g, *extras = inputs
        params, gradients, *trees = jax.tree.map(lambda x: jnp.asarray(x, dtype), inputs)
        state = tx.init(params)._replace(count=jnp.int32(step), extras=dict(zip(program.extras, trees, strict=True)))
        updates, state = tx.update(gradients, state, params)
        actual = flat([-x for x in updates], state.extras.values())
        update, extras = interpret(program, w, g, extras, lr)
        expected = flat(update, extras)
        with np.errstate(invalid="ignore"):
            differs = ~((np.abs(actual - expected) <= rtol * np.abs(expected)) | (actual == expected))
        differs &= ~(np.isnan(actual) & np.isnan(expected))
        if differs.any():
            perturbed = [flat(*interpret(jittered(program, rng), w, g, inputs[2:], lr))[differs] for _ in range(4)]
            with np.errstate(invalid="ignore"):
                sensitivity = np.abs(perturbed - expected[differs]).max(0) / 1e-9
            finite = np.isfinite(perturbed).all(0) & np.isfinite(expected[differs])
            assert (np.abs(actual - expected)[differs] <= 3 * rtol * sensitivity)[finite].all()
            assert (np.isfinite(perturbed) != np.isfinite(expected[differs])).any(0)[~finite].all()
        number += np.count_nonzero(~differs & (expected != 0) & np.isfinite(expected))
        w = jax.tree.map(np.subtract, w, update)
        if not np.isfinite(flat(w, extras)).all():
            break
    return number


some_and_all = pytest.mark.parametrize(
    ("every", "least"), [pytest.param(30, 3, id="some"), pytest.param(1, 120, id="all", marks=pytest.mark.slow)]
)


@some_and_all
def test_optimizers_agree_with_the_interpreter_in_float64(every, least):
    with jax.enable_x64(True):
        numbers = [agreement(program, "float64", 1e-12) for program in candidates()[::every]]
    assert np.count_nonzero(numbers) > least


@some_and_all
def test_optimizers_agree_with_the_interpreter_in_float32(every, least):
    numbers = [agreement(program, "float32", 1e-5) for program in candidates()[::every]]
    assert np.count_nonzero(numbers) > least


def trajectory(tx, steps=STEPS, seed=0):
    """Updates `[steps, ...]` and the last state of a compiled run on random gradients."""
    params = [jnp.asarray(x, jnp.float32) for x in tree(seed)]
    gradients = [
        jnp.asarray(np.stack(leaves), jnp.float32) for leaves in zip(*map(tree, range(1, steps + 1)), strict=True)
    ]

    @jax.jit
    def run(params):
        def step(carry, g):
            params, state = carry
            updates, state = tx.update(g, state, params)
            return (optax.apply_updates(params, updates), state), updates

        (_, state), updates = jax.lax.scan(step, (params, tx.init(params)), gradients)
        return updates, state

    return jax.tree.map(np.asarray, run(params))


def numpy_trajectory(rule, num_extras, steps=STEPS):
    """Updates `[steps, ...]` of `rule(w, g, *extras) -> (update, *extras)` in numpy, on the same gradients."""
    out = []
    for leaf in range(len(SHAPES)):
        w, extras, updates = tree(0)[leaf], [np.zeros(SHAPES[leaf])] * num_extras, []
        for step in range(steps):
            update, *extras = rule(w, tree(1 + step)[leaf], *extras)
            w = w - update
            updates.append(-update)
        out.append(np.stack(updates))
    return out


def adamw(w, g, m, v):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
    return 1e-3 * (m / (np.sqrt(v) + 1e-8) + 0.01 * w), m, v


def lion(w, g, m):
    return 1e-4 * (np.sign(0.9 * m + 0.1 * g) + 0.1 * w), 0.99 * m + 0.01 * g


def adagrad(w, g, v):
    v = v + g**2
    return 1e-2 * g / (np.sqrt(v) + 1e-8), v


def adabelief(w, g, m, v):
    m = 0.9 * m + 0.1 * g
    v = 0.999 * v + 0.001 * (g - m) ** 2
    return 1e-3 * m / (np.sqrt(v) + 1e-8), m, v


def herolion(w, g, m):
    m = 0.999 * m + 0.001 * g
    return 1e-3 * (np.sign(0.9 * m + 0.1 * g) + 0.01 * w), m


def powersign(w, g, m):
    m = 0.9 * m + 0.1 * g
    return 1e-2 * np.where(g * m > 0, np.e, 1 / np.e) * g, m


def addsign(w, g, m):
    m = 0.9 * m + 0.1 * g
    return 1e-2 * np.where(g * m > 0, 2.0, 0.0) * g, m


@pytest.mark.parametrize(
    ("name", "rule", "extras"),
    [
        ("ADAMW", adamw, ("m", "v")),
        ("LION", lion, ("m",)),
        ("ADAGRAD_LIKE", adagrad, ("v",)),
        ("ADABELIEF_LIKE", adabelief, ("m", "v")),
        ("HEROLION", herolion, ("m",)),
        ("POWERSIGN", powersign, ("m",)),
        ("ADDSIGN", addsign, ("m",)),
    ],
)
def test_published_programs_agree_with_their_equations(name, rule, extras):
    updates, state = trajectory(from_program(getattr(published, name)))
    assert tuple(state.extras) == extras and state.count == STEPS
    for ours, theirs in zip(updates, numpy_trajectory(rule, len(extras)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-9)


def test_lions_program_agrees_with_lopts_lion():
    schedule = optax.linear_schedule(1.0, 0.1, STEPS)
    constants = {"c0": 0.95, "c1": 0.98, "c2": 0.5, "c3": 1e-2}
    mask = [True, False]
    ours, state = trajectory(from_program(published.LION, schedule, constants=constants, mask=mask))
    theirs, reference = trajectory(
        lopt.lion(lambda count: 1e-2 * schedule(count), 0.95, 0.98, weight_decay=0.5, mask=mask)
    )
    for x, y in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-8)
    for x, y in zip(state.extras["m"], reference[0].mu, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5)


def test_the_raw_lion_has_one_buffer_and_agrees_with_lion_except_for_clipping():
    raw = from_program(published.LION_RAW)
    assert list(raw.init(list(tree(0))).extras) == ["v"]
    ours, _ = trajectory(raw)
    assert constants_of(published.LION_RAW) == {"c0": 0.9, "c1": 1.1091, "c2": 0.0002172, "c3": 0.4602}

    def rule(w, g, v):
        m = 0.1 * g + 0.9 * v
        return 0.0002172 * (np.sign(m) + 0.4602 * w), m * 1.1091 - g * 0.1091

    # the gradients' norms exceed 1, so clipping and the arcsine change g, but few signs
    agree = [np.isclose(x, y, rtol=0.05) for x, y in zip(ours, numpy_trajectory(rule, 1), strict=True)]
    assert np.mean(np.concatenate([x.ravel() for x in agree])) > 0.7


def test_the_peak_rate_can_be_a_constant_or_the_learning_rate():
    constant, _ = trajectory(from_program(published.ADDSIGN))
    argument, _ = trajectory(from_program(published.ADDSIGN, 0.01, constants={"c2": 1.0}))
    for x, y in zip(constant, argument, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6)


def test_exposed_constants():
    make = exposed(published.LION)
    expected, _ = trajectory(from_program(published.LION))
    for tx in (make(), make(1.0, 0.9, 0.99), make(learning_rate=1.0, c2=0.1, state_dtype=None)):
        for x, y in zip(trajectory(tx)[0], expected, strict=True):
            assert_ulps(x, y, STEPS, scale=np.abs(y).max())  # a sum of two products at every step
    injected = optax.inject_hyperparams(make)(learning_rate=lambda count: 1.0, c2=0.5)
    state = injected.init(list(tree(0)))
    assert {name: float(x) for name, x in state.hyperparams.items()} == pytest.approx(
        {"learning_rate": 1.0, "c0": 0.9, "c1": 0.99, "c2": 0.5, "c3": 1e-4}
    )
    with pytest.raises(TypeError, match="c9"):
        make(c9=1.0)


def test_the_mask_hides_weights():
    program = "def train(w, g, lr): return g + w * norm(w)"
    params, g = [jnp.full(2, 3.0), jnp.full(3, 2.0)], [jnp.ones(2), jnp.ones(3)]
    for mask in ([True, False], lambda p: [x.size == 2 for x in p]):
        tx = from_program(program, mask=mask)
        updates, _ = tx.update(g, tx.init(params), params)
        np.testing.assert_allclose(updates[0], -(1 + 3 * np.sqrt(18)), rtol=1e-6)
        np.testing.assert_allclose(updates[1], -1.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"program": "def train(w, g, lr): return gg"}, "line 1, column 29"),
        ({"program": Program((), (Statement("u", "exp", ("x",)),), ("u",))}, "statement 0"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"constants": {"c4": 1.0}}, "c0, c1, c2, c3"),
        ({"state_dtype": "int32"}, "floating"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        from_program(**{"program": published.LION} | arguments)


def test_complex_parameters_are_refused():
    with pytest.raises(ValueError, match="real"):
        from_program(published.LION).init(jnp.ones(2, jnp.complex64))


def test_constants_have_the_precision_of_the_parameters():
    tx = from_program("def train(w, g, lr): return g * 0.1 + lr * 0.0", 0.1)
    with jax.enable_x64(True):
        updates, _ = tx.update([jnp.ones(2)], tx.init([jnp.ones(2)]))
        np.testing.assert_array_equal(updates[0], np.full(2, -0.1))


@pytest.mark.parametrize("dtype", HALVES)
def test_running_means_of_half_precision_parameters_are_in_float32(dtype):
    """In bfloat16, v would stop at 0.25 after 600 gradients of one, since adding 0.001 is rounded away."""
    steps, tx = 600, from_program(published.ADAMW)
    params = jnp.zeros(2, dtype)

    def step(state, _):
        updates, state = tx.update(jnp.ones(2, dtype), state, params)
        return state, updates

    state, updates = jax.lax.scan(step, tx.init(params), length=steps)
    assert updates.dtype == dtype and state.extras["v"].dtype == jnp.float32
    # each step rounds twice
    np.testing.assert_allclose(state.extras["v"], 1 - 0.999**steps, rtol=2 * steps * np.finfo(np.float32).eps)


def test_the_state_has_the_given_dtype():
    tx = from_program(published.ADAMW, state_dtype="bfloat16")
    assert {x.dtype.name for x in tx.init(jnp.zeros(2)).extras.values()} == {"bfloat16"}


def test_programs_may_use_other_names():
    program = parse("def rule(weights, gradient, slow, rate):\n    slow += gradient\n    return slow * rate, slow")
    tx = from_program(program, 0.5)
    updates, state = tx.update([jnp.ones(2)], tx.init([jnp.ones(2)]))
    np.testing.assert_array_equal(updates[0], -0.5)
    np.testing.assert_array_equal(state.extras["slow"][0], 1.0)

"""The population interpreter: the same numbers as numpy's, whoever the companions are."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lopt.search import Program, Statement, Type, constants_of, from_program, parse, published, tune
from lopt.search.population import Layout, Skeleton, encode, layout_of, one_by_one, side_by_side, stack
from lopt.search.population.operations import OPERATIONS
from tests.search.random_programs import FORMS, live, random_program

LAYOUT = Layout((3, 1, 4), 2, 16)
SHAPES = ((3,), (), (2, 2))
LANES, STEPS, RATE = 128, 20, 0.7


@functools.cache
def lives(interpreter, dtype):
    """Weights and extra variables after every step `[steps, N, 1 + E, P]`, for LANES programs."""

    def run(codes, w, gradients):
        def step(carry, g):
            w, extras = carry
            g = jnp.broadcast_to(g, w.shape)
            update, extras = interpreter(LAYOUT, codes, w, g, extras, jnp.asarray(RATE, w.dtype))
            w = w - update
            return (w, extras), jnp.concatenate([w[:, None], extras], 1)

        w = jnp.broadcast_to(w, (LANES, w.size))
        return jax.lax.scan(step, (w, jnp.zeros((LANES, 2, LAYOUT.width), w.dtype)), gradients)[1]

    return jax.jit(run)


def data(dtype, seed=0):
    """Weights `[P]` and gradients `[steps, P]`."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=LAYOUT.width).astype(dtype), rng.normal(size=(STEPS, LAYOUT.width)).astype(dtype)


def leaves(row):
    """A row as the leaves of a tree."""
    parts = np.split(row, np.cumsum(LAYOUT.sizes)[:-1])
    return tuple(part.reshape(shape) for part, shape in zip(parts, SHAPES, strict=True))


def programs(number, seed=0):
    rng = np.random.default_rng(seed)
    return [random_program(rng, int(rng.integers(1, 13))) for _ in range(number)]


def size(x):
    """The largest finite number of every tree at every step, or one."""
    largest = np.where(np.isfinite(x), np.abs(x), 0).max(-1, keepdims=True)
    return np.where(largest > 0, largest, 1)


@functools.cache
def reference(dtype, rtol, number):
    """Random programs with what numpy makes of them, where that does not hang on rounding errors, else None."""
    w, gradients = data(dtype)
    steps, rng, known = [leaves(g) for g in gradients], np.random.default_rng(1), []
    for program in programs(number):
        expected, plain = live(program, leaves(w), steps, RATE)
        noisy, _ = live(program, leaves(w), steps, RATE, rng)
        scale = size(expected)
        sturdy = plain and np.allclose(noisy / scale, expected / scale, 0, rtol / 5, equal_nan=True)
        known.append((program, expected if sturdy else None))
    return known


def agree(interpreter, dtype, rtol, number):
    """Compare random programs with numpy; the share of those that could be compared."""
    w, gradients = data(dtype)
    known, run = reference(dtype, rtol, number), lives(interpreter, dtype)
    for first in range(0, number, LANES):
        group = known[first : first + LANES]
        found = np.asarray(run(stack([encode(program, LAYOUT) for program, _ in group]), w, gradients))
        assert found.dtype == dtype
        for lane, (program, expected) in enumerate(group):
            if expected is not None:
                scale, message = size(expected), f"{program}"
                np.testing.assert_allclose(found[:, lane] / scale, expected / scale, rtol, rtol, err_msg=message)
    return np.mean([expected is not None for _, expected in known])


@pytest.mark.parametrize("interpreter", [one_by_one, side_by_side])
def test_random_programs_compute_what_numpy_does(interpreter):
    assert agree(interpreter, np.float32, 1e-5, LANES) > 0.4


@pytest.mark.slow
@pytest.mark.parametrize("interpreter", [one_by_one, side_by_side])
def test_thousands_of_random_programs(interpreter):
    assert agree(interpreter, np.float32, 1e-5, 2048) > 0.4
    with jax.enable_x64(True):
        assert agree(interpreter, np.float64, 1e-12, 1024) > 0.4


def test_skeletons_and_exports_are_the_same_programs():
    """Numpy = interpreter (above) = compiled skeleton = optax export, with other constants than the skeleton's own."""
    w, gradients = data(np.float32)
    group = [p for p, expected in reference(np.float32, 1e-5, LANES) if expected is not None and constants_of(p)][:2]
    rng = np.random.default_rng(2)
    for program in [*group, parse(published.ADAMW)]:
        tuned = tune(rng, program)
        expected, _ = live(tuned, leaves(w), [leaves(g) for g in gradients], RATE)
        scale, codes = size(expected), stack([encode(p, LAYOUT) for p in (program, tuned)], LANES)
        found = np.asarray(lives(Skeleton(program), np.float32)(codes, w, gradients))[:, 1]
        np.testing.assert_allclose(found / scale, expected / scale, 1e-5, 1e-5, str(tuned))
        exported = [exported_life(tuned, leaves(w), [leaves(g) for g in gradients])]
        np.testing.assert_allclose(exported[0] / scale[:, 0], expected[:, 0] / scale[:, 0], 1e-5, 1e-5, str(tuned))


def exported_life(program, w, gradients):
    """Weights after every step `[steps, P]`."""
    tx = from_program(program, RATE)

    def step(carry, g):
        w, state = carry
        updates, state = tx.update(g, state, w)
        w = optax.apply_updates(w, updates)
        return (w, state), jnp.concatenate([jnp.ravel(x) for x in w])

    w, g = jax.tree.map(jnp.asarray, w), jax.tree.map(lambda *x: jnp.stack(x), *gradients)
    return np.asarray(jax.jit(lambda w, g: jax.lax.scan(step, (w, tx.init(w)), g)[1])(w, g))


def test_every_form_of_every_function_in_float64():
    with jax.enable_x64(True):
        w, gradients = data(np.float64)
        run, group = lives(one_by_one, np.float64), [one_form(name, types) for name, types in FORMS]
        assert len(OPERATIONS) < len(group)
        for first in range(0, len(group), LANES):
            codes = stack([encode(p, LAYOUT) for p in group[first : first + LANES]], LANES)
            found = np.asarray(run(codes, w, gradients))
            for lane, program in enumerate(group[first : first + LANES]):
                expected, _ = live(program, leaves(w), [leaves(gradients[0])], RATE)
                scale = size(expected)
                np.testing.assert_allclose(found[:1, lane] / scale, expected / scale, 1e-12, 1e-12, str(program))


def one_form(name, types):
    """A program that adds what one function makes of trees, scalars and leaves to the gradient."""
    given = {Type.T: ["w", "g"], Type.S: ["lr", 0.3], Type.L: ["n", "k"]}
    args = [given[t][types[:i].count(t) % 2] for i, t in enumerate(types)]
    first = [Statement("n", "norm", ("g",)), Statement("k", "norm", ("w",)), Statement("n", "divide", ("n", 5.0))]
    statements = (*first, Statement("x", name, tuple(args)), Statement("u", "add", ("g", "x")))
    return Program(("v0", "v1"), statements, ("u", "g", "v1"))


def test_lanes_do_not_know_of_each_other():
    w, gradients = data(np.float32)
    group = [p for p, expected in reference(np.float32, 1e-5, LANES) if expected is not None]
    poison = parse("def train(w, g, v0, v1, lr): return log(w - w) * lr, exp(v0) / v0, g")
    run = lives(one_by_one, np.float32)
    alone = np.asarray(run(stack([encode(p, LAYOUT) for p in group], LANES), w, gradients))
    order = np.random.default_rng(0).permutation(len(group))
    mixed = [q for i in order for q in (group[i], poison)][:LANES]
    found = np.asarray(run(stack([encode(p, LAYOUT) for p in mixed], LANES), w, gradients))
    seen = order[: LANES // 2]
    np.testing.assert_array_equal(found[:, 0 : 2 * len(seen) : 2], alone[:, seen])
    assert not np.isfinite(found[-1, 1, 0]).any()


def test_a_constant_beyond_float32_is_infinite():
    program = parse("def train(w, g, v0, v1, lr): return g * 1e300, v0, v1")
    assert np.isinf(stack([encode(program, LAYOUT)]).constants[0, 0])


def test_what_is_dead_or_missing_does_not_matter():
    w, gradients = data(np.float32)
    program = parse(published.LION)
    longer = Program(program.extras, (Statement("dead", "exp", ("w",)), *program.statements), program.outputs)
    second = Program(("n", *program.extras), program.statements, (program.outputs[0], "n", program.outputs[1]))
    codes = stack([encode(p, LAYOUT) for p in (program, longer, second)], LANES)
    one, other, swapped = np.moveaxis(np.asarray(lives(one_by_one, np.float32)(codes, w, gradients)), 1, 0)[:3]
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(one, swapped[:, [0, 2, 1]])
    assert not one[:, 2].any() and one[:, 1].any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Layout((), 2), "at least one element"),
        (lambda: Layout((3, 0), 2), "at least one element"),
        (lambda: Layout((3,), -1), "extras >= 0"),
        (lambda: encode(parse(published.ADAMW), Layout((3,), 1)), "at most 1 extra variables .got 2 and 2"),
        (lambda: encode(parse(published.LION_RAW), Layout((3,), 2, 4)), "room for 4 statements"),
        (lambda: stack([]), "between 1 and"),
        (lambda: stack([encode(parse(published.ADAMW), LAYOUT)] * 2, 1), "between 1 and 1 codes .got 2"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_layout_of_parameters():
    params = {"b": jnp.zeros(3), "a": jnp.zeros((2, 2)), "c": jnp.zeros(())}
    layout = layout_of(params, 1)
    assert layout.sizes == (4, 3, 1) and layout.width == 8
    np.testing.assert_array_equal(layout.leaf_of, [0, 0, 0, 0, 1, 1, 1, 2])

"""The population interpreters agree with numpy, independently of the other programs of a batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lopt.search import Program, Statement, Type, constants_of, from_program, mutate_constant, parse, published
from lopt.search.population import (
    Layout,
    Skeleton,
    encode,
    interpret_sequential,
    interpret_vectorised,
    layout_of,
    stack,
)
from lopt.search.population.code import OPERATIONS
from tests.search.random_programs import SIGNATURES, random_program, run_program

LAYOUT = Layout((3, 1, 4), 2, 16)
SHAPES = ((3,), (), (2, 2))
LANES, STEPS, RATE = 128, 20, 0.7


@functools.cache
def trajectories(interpreter, dtype):
    """A jitted function to weights and extra variables `[steps, N, 1 + E, P]` after each step of N = LANES programs."""

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


def scale_of(x):
    """The largest finite absolute value of each tree at each step, or one."""
    largest = np.where(np.isfinite(x), np.abs(x), 0).max(-1, keepdims=True)
    return np.where(largest > 0, largest, 1)


@functools.cache
def reference(dtype, rtol, number):
    """Random programs with their trajectories in numpy, or None where these are sensitive to rounding errors."""
    w, gradients = data(dtype)
    steps, rng, results = [leaves(g) for g in gradients], np.random.default_rng(1), []
    for program in programs(number):
        expected, in_range = run_program(program, leaves(w), steps, RATE)
        noisy, _ = run_program(program, leaves(w), steps, RATE, rng)
        scale = scale_of(expected)
        robust = in_range and np.allclose(noisy / scale, expected / scale, 0, rtol / 5, equal_nan=True)
        results.append((program, expected if robust else None))
    return results


def agree(interpreter, dtype, rtol, number):
    """Compare random programs with numpy; returns the fraction of programs that could be compared."""
    w, gradients = data(dtype)
    references, run = reference(dtype, rtol, number), trajectories(interpreter, dtype)
    for first in range(0, number, LANES):
        group = references[first : first + LANES]
        actual = np.asarray(run(stack([encode(program, LAYOUT) for program, _ in group]), w, gradients))
        assert actual.dtype == dtype
        for lane, (program, expected) in enumerate(group):
            if expected is not None:
                scale, message = scale_of(expected), f"{program}"
                np.testing.assert_allclose(actual[:, lane] / scale, expected / scale, rtol, rtol, err_msg=message)
    return np.mean([expected is not None for _, expected in references])


@pytest.mark.parametrize("interpreter", [interpret_sequential, interpret_vectorised])
def test_random_programs_agree_with_numpy(interpreter):
    assert agree(interpreter, np.float32, 1e-5, LANES) > 0.4


@pytest.mark.slow
@pytest.mark.parametrize("interpreter", [interpret_sequential, interpret_vectorised])
def test_thousands_of_random_programs_agree_with_numpy(interpreter):
    assert agree(interpreter, np.float32, 1e-5, 2048) > 0.4
    with jax.enable_x64(True):
        assert agree(interpreter, np.float64, 1e-12, 1024) > 0.4


def test_skeletons_and_exported_optimizers_agree_with_numpy():
    """A compiled skeleton is run with other constants than its own; numpy agrees with the interpreters (see above)."""
    w, gradients = data(np.float32)
    group = [p for p, expected in reference(np.float32, 1e-5, LANES) if expected is not None and constants_of(p)][:2]
    rng = np.random.default_rng(2)
    for program in [*group, parse(published.ADAMW)]:
        mutated = mutate_constant(rng, program)
        expected, _ = run_program(mutated, leaves(w), [leaves(g) for g in gradients], RATE)
        scale, codes = scale_of(expected), stack([encode(p, LAYOUT) for p in (program, mutated)], LANES)
        actual = np.asarray(trajectories(Skeleton(program), np.float32)(codes, w, gradients))[:, 1]
        np.testing.assert_allclose(actual / scale, expected / scale, 1e-5, 1e-5, str(mutated))
        exported = [exported_trajectory(mutated, leaves(w), [leaves(g) for g in gradients])]
        np.testing.assert_allclose(exported[0] / scale[:, 0], expected[:, 0] / scale[:, 0], 1e-5, 1e-5, str(mutated))


def exported_trajectory(program, w, gradients):
    """Weights `[steps, P]` after each step of the program's optax optimizer."""
    tx = from_program(program, RATE)

    def step(carry, g):
        w, state = carry
        updates, state = tx.update(g, state, w)
        w = optax.apply_updates(w, updates)
        return (w, state), jnp.concatenate([jnp.ravel(x) for x in w])

    w, g = jax.tree.map(jnp.asarray, w), jax.tree.map(lambda *x: jnp.stack(x), *gradients)
    return np.asarray(jax.jit(lambda w, g: jax.lax.scan(step, (w, tx.init(w)), g)[1])(w, g))


def test_each_signature_of_each_function_in_float64():
    with jax.enable_x64(True):
        w, gradients = data(np.float64)
        run, group = trajectories(interpret_sequential, np.float64), [single_call(*form) for form in SIGNATURES]
        assert len(OPERATIONS) < len(group)
        for first in range(0, len(group), LANES):
            codes = stack([encode(p, LAYOUT) for p in group[first : first + LANES]], LANES)
            actual = np.asarray(run(codes, w, gradients))
            for lane, program in enumerate(group[first : first + LANES]):
                expected, _ = run_program(program, leaves(w), [leaves(gradients[0])], RATE)
                scale = scale_of(expected)
                np.testing.assert_allclose(actual[:1, lane] / scale, expected / scale, 1e-12, 1e-12, str(program))


def single_call(name, types):
    """A program whose update is the gradient plus one call with arguments of these types."""
    operands = {Type.T: ["w", "g"], Type.S: ["lr", 0.3], Type.L: ["n", "k"]}
    args = [operands[t][types[:i].count(t) % 2] for i, t in enumerate(types)]
    first = [Statement("n", "norm", ("g",)), Statement("k", "norm", ("w",)), Statement("n", "divide", ("n", 5.0))]
    statements = (*first, Statement("x", name, tuple(args)), Statement("u", "add", ("g", "x")))
    return Program(("v0", "v1"), statements, ("u", "g", "v1"))


def test_lanes_are_independent():
    w, gradients = data(np.float32)
    group = [p for p, expected in reference(np.float32, 1e-5, LANES) if expected is not None]
    poison = parse("def train(w, g, v0, v1, lr): return log(w - w) * lr, exp(v0) / v0, g")
    run = trajectories(interpret_sequential, np.float32)
    alone = np.asarray(run(stack([encode(p, LAYOUT) for p in group], LANES), w, gradients))
    order = np.random.default_rng(0).permutation(len(group))
    mixed = [q for i in order for q in (group[i], poison)][:LANES]
    actual = np.asarray(run(stack([encode(p, LAYOUT) for p in mixed], LANES), w, gradients))
    included = order[: LANES // 2]
    np.testing.assert_array_equal(actual[:, 0 : 2 * len(included) : 2], alone[:, included])
    assert not np.isfinite(actual[-1, 1, 0]).any()


def test_a_constant_beyond_float32_is_infinite():
    program = parse("def train(w, g, v0, v1, lr): return g * 1e300, v0, v1")
    assert np.isinf(stack([encode(program, LAYOUT)]).constants[0, 0])


def test_dead_statements_and_missing_extra_variables_have_no_effect():
    w, gradients = data(np.float32)
    program = parse(published.LION)
    longer = Program(program.extras, (Statement("dead", "exp", ("w",)), *program.statements), program.outputs)
    second = Program(("n", *program.extras), program.statements, (program.outputs[0], "n", program.outputs[1]))
    codes = stack([encode(p, LAYOUT) for p in (program, longer, second)], LANES)
    one, other, swapped = np.moveaxis(
        np.asarray(trajectories(interpret_sequential, np.float32)(codes, w, gradients)), 1, 0
    )[:3]
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
        (lambda: encode(parse(published.LION_RAW), Layout((3,), 2, 4)), "at most 4 statements"),
        (lambda: stack([]), "between 1 and"),
        (lambda: stack([encode(parse(published.ADAMW), LAYOUT)] * 2, 1), "between 1 and 1 codes .got 2"),
    ],
)
def test_invalid_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_layout_of_parameters():
    params = {"b": jnp.zeros(3), "a": jnp.zeros((2, 2)), "c": jnp.zeros(())}
    layout = layout_of(params, 1)
    assert layout.sizes == (4, 3, 1) and layout.width == 8
    np.testing.assert_array_equal(layout.leaf_of, [0, 0, 0, 0, 1, 1, 1, 2])

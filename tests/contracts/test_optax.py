"""Laws of every optimizer: properties of optax's transformations that users rely on.

A new optimizer is one line in `tests/reference/optimizers.py`. Tests that compile run for those of `QUICK` among the
fast tests and for all of them among the slow ones.
"""

import functools
import inspect
import warnings

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.reference.optimizers import OPTIMIZERS, QUICK, params

for_every = pytest.mark.parametrize("name", OPTIMIZERS)
for_optimizers = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in OPTIMIZERS]
)
SETTINGS = 64
# inside every constraint set of weight decay 0.1
TARGET = {"w": np.array([[1.0, 3.0], [2.0, 1.0]], np.float32), "b": np.array([2.0, 1.0], np.float32)}


@functools.cache
def optimizer(name, **settings):
    return OPTIMIZERS[name].build(**settings)


def shapes(tree, dtype=None):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype or x.dtype), tree)


def types(tree):
    return jax.tree.map(jax.typeof, tree)


def after(tx, params, gradients):
    """Updates and state after the gradients `[steps, ...]`."""
    state = tx.init(params)
    for step in range(len(jax.tree.leaves(gradients)[0])):
        updates, state = tx.update(jax.tree.map(lambda g, step=step: g[step], gradients), state, params)
    return updates, state


def gradients(case, steps=2):
    drawn = [params(case, seed=seed) for seed in range(1, steps + 1)]
    return jax.tree.map(lambda *xs: np.stack(xs), *drawn)


def draws(case):
    """SETTINGS values of every hyper-parameter."""
    rng = np.random.default_rng(0)
    return {name: np.float32(rng.uniform(*ends, SETTINGS)) for name, ends in case.hyperparams.items()}


def injected(case):
    """The optimizer under `optax.inject_hyperparams`, with a signature that names its hyper-parameters alone."""

    def make(**values):
        return case.build(**values)

    make.__signature__ = inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in case.hyperparams]
    )
    return optax.inject_hyperparams(make)


def parabola(p):
    """Gradient of the squared distance to TARGET, for the leaves of p."""
    return {name: 2 * (x - TARGET[name]) for name, x in p.items()}


@functools.cache
def by_hyperparams(name):
    """Updates with hyper-parameters that are injected, vmapped, looped over and differentiated."""
    case = OPTIMIZERS[name]
    p, grads = params(case), gradients(case)

    def run(values):
        return after(case.build(**values), p, grads)[0]

    def total(values):
        return sum(jnp.sum(jnp.sin(x)) for x in jax.tree.leaves(run(values)))

    middle, settings = {name: float(np.mean(ends)) for name, ends in case.hyperparams.items()}, draws(case)
    subset = range(0, SETTINGS, SETTINGS // 8)
    if not middle:
        return None
    looped = [run({name: values[i] for name, values in settings.items()}) for i in subset]
    return {
        "constants": after(case.build(**middle), p, grads),
        "injected": after(injected(case)(**middle), p, grads),
        "vmapped": jax.tree.map(lambda x: x[:: SETTINGS // 8], jax.jit(jax.vmap(run))(settings)),
        "looped": jax.tree.map(lambda *xs: np.stack(xs), *looped),
        "slopes": jax.grad(total)(jax.tree.map(jnp.float32, middle)),
    }


@functools.cache
def by_wrapping(name):
    """Updates under optax's wrappers."""
    case = OPTIMIZERS[name]
    tx, p, grads = case.build(), params(case), gradients(case)
    ours = {name: name in ("w", "stack") for name in p}
    part = {name: p[name] if keep else None for name, keep in ours.items()}
    grads_of_part = {name: grads[name] if keep else None for name, keep in ours.items()}
    labels = {name: "ours" if keep else "sgd" for name, keep in ours.items()}

    @jax.jit
    def conditional(p, grads):
        finite, multi = optax.apply_if_finite(tx, 5), optax.MultiSteps(tx, 2)
        before, state = finite.init(p), multi.init(p)
        nan_grads = jax.tree.map(lambda g: g[0] * jnp.nan, grads)
        first, state = multi.update(jax.tree.map(lambda g: g[0], grads), state, p)
        return {
            "not finite": (finite.update(nan_grads, before, p), before),
            "multi steps": (first, multi.update(jax.tree.map(lambda g: g[1], grads), state, p)[0]),
        }

    return conditional(p, grads) | {
        "unwrapped": after(tx, p, grads)[0],
        "mean": after(tx, p, jax.tree.map(lambda g: g.mean(0, keepdims=True), grads))[0],
        "separate": after(tx, part, grads_of_part)[0],
        "masked": after(optax.masked(tx, ours), p, grads)[0],
        "partition": after(optax.partition({"ours": tx, "sgd": optax.sgd(1.0)}, labels), p, grads)[0],
        "chained": after(optax.chain(optax.clip_by_global_norm(1e9), tx), p, grads)[0],
        "large": [after(tx, p, jax.tree.map(lambda g, size=size: 0 * g + size, grads))[0] for size in (5.0, 500.0)],
    }


@functools.cache
def run(name):
    """Four compiled steps with donated buffers, the last two also from a copy of the state that went through numpy."""
    case, tx, traces = OPTIMIZERS[name], optimizer(name), []

    def step(p, state, g):
        traces.append(name)
        updates, state = tx.update(g, state, p, value=jnp.float16(1.0), unknown_argument=0)
        return optax.apply_updates(p, updates), state

    compiled, states = jax.jit(step, donate_argnums=(0, 1)), []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        p = params(case)
        state = tx.init(p)
        for seed in (1, 2, 3, 4):
            p, state = compiled(p, state, params(case, seed=seed))
            states.append(jax.tree.map(np.array, (p, state)))
        p, state = jax.tree.map(jnp.asarray, states[1])
        for seed in (3, 4):
            p, state = compiled(p, state, params(case, seed=seed))
    return states, (p, state), len(traces)


@for_optimizers
def test_a_step_compiles_once_donates_its_buffers_and_takes_any_keyword(name):
    states, _, traces = run(name)
    assert traces == 1
    assert (states[0][0]["w"] != states[1][0]["w"]).any()


@for_optimizers
def test_a_run_resumes_from_a_saved_state_bit_for_bit(name):
    states, resumed, _ = run(name)
    chex.assert_trees_all_equal(resumed, states[3])


@for_optimizers
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_types_are_stable_in_a_branch_and_a_loop(name, dtype):
    case = OPTIMIZERS[name]

    def steps(p, g, condition):
        tx = optimizer(name)

        def step(carry, _):
            p, state = carry
            updates, state = tx.update(g, state, p, value=jnp.float32(0))
            assert types(updates) == types(g)
            return (optax.apply_updates(p, updates), state), None

        initial = (p, tx.init(p))
        return jax.lax.cond(condition, lambda x: jax.lax.scan(step, x, None, 2)[0], lambda x: x, initial)

    with jax.enable_x64(dtype == "float64"):
        p = shapes(params(case), dtype)
        final, _ = jax.eval_shape(steps, p, p, jax.ShapeDtypeStruct((), bool))
    assert types(final) == types(p)


@for_optimizers
def test_leaves_of_different_types_keep_their_types(name):
    case = OPTIMIZERS[name]
    with jax.enable_x64(True):
        p = shapes(params(case), "float32")
        p |= {"w": jax.ShapeDtypeStruct((3, 2), "float64"), "stack": jax.ShapeDtypeStruct((2, 2, 3), "bfloat16")}
        updates, state = jax.eval_shape(lambda p: after(optimizer(name), p, jax.tree.map(lambda x: x[None], p)), p)
        assert types(updates) == types(p)
        assert types(state) == types(jax.eval_shape(optimizer(name).init, p))


@for_optimizers
def test_traced_hyperparams_do_not_widen_types(name):
    case = OPTIMIZERS[name]
    p = shapes(params(case), "bfloat16")
    values = {name: jax.ShapeDtypeStruct((), "float32") for name in case.hyperparams}

    def update(p, values):
        tx = case.build(**values)
        return tx.init(p), after(tx, p, jax.tree.map(lambda x: x[None], p))

    before, (updates, state) = jax.eval_shape(update, p, values)
    assert types(updates) == types(p) and types(state) == types(before)


@for_optimizers
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("state_dtype", ["bfloat16", "float32", None])
def test_the_state_has_the_requested_type(name, dtype, state_dtype):
    case = OPTIMIZERS[name]
    if case.state_dtype is None:
        assert state_dtype not in case.hyperparams
        return
    tx = case.build(**{case.state_dtype: state_dtype})
    p = shapes(params(case), dtype)
    before = jax.eval_shape(tx.init, p)
    updates, state = jax.eval_shape(lambda p: after(tx, p, jax.tree.map(lambda x: x[None], p)), p)
    assert types(updates) == types(p) and types(state) == types(before)
    floating = [x.dtype.name for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    default = jnp.promote_types(dtype, case.state_floor or dtype).name
    assert floating and set(floating) == {state_dtype or default}


@for_optimizers
def test_eager_and_compiled_steps_give_equal_types_and_numbers(name):
    case, tx = OPTIMIZERS[name], optimizer(name)
    p = params(case)
    state = tx.init(p)
    assert types(state) == types(jax.eval_shape(tx.init, p)) == types(jax.eval_shape(tx.init, shapes(p)))
    eager = tx.update(params(case, seed=1), state, p, value=jnp.float16(1.0))
    assert types(eager) == types(jax.eval_shape(tx.update, p, state, p)) and types(eager[1]) == types(state)
    states, _, _ = run(name)
    chex.assert_trees_all_close(eager[1], states[0][1], rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(optax.apply_updates(p, eager[0]), states[0][0], rtol=1e-5, atol=1e-6)


@for_every
def test_map_params_recognises_the_state(name):
    tx = optimizer(name)
    state = jax.eval_shape(tx.init, shapes(params(OPTIMIZERS[name])))
    assert types(optax.tree.map_params(tx, lambda x: x, state)) == types(state)
    marked = optax.tree.map_params(tx, lambda x: None, state)
    assert all(x.dtype == jnp.int32 and x.shape == () for x in jax.tree.leaves(marked))


@for_optimizers
def test_a_constant_schedule_equals_a_constant(name):
    case = OPTIMIZERS[name]
    if "learning_rate" not in case.hyperparams:
        return
    p = params(case)
    grads = gradients(case)
    number, schedule = (
        after(case.build(learning_rate=rate), p, grads)[0] for rate in (0.02, optax.constant_schedule(0.02))
    )
    chex.assert_trees_all_close(number, schedule, rtol=1e-6)


@for_optimizers
def test_hyperparams_can_be_injected_vmapped_and_differentiated(name):
    values = by_hyperparams(name)
    if values is None:
        return
    (updates, state), (injected_updates, injected_state) = values["constants"], values["injected"]
    chex.assert_trees_all_close(injected_updates, updates, rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_close(injected_state.inner_state, state, rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_close(values["vmapped"], values["looped"], rtol=1e-4, atol=1e-6)
    assert all(np.isfinite(x).all() for x in values["slopes"].values())
    if "learning_rate" in values["slopes"]:
        assert values["slopes"]["learning_rate"] != 0


@for_optimizers
def test_multi_steps_accumulates(name):
    values = by_wrapping(name)
    first, second = values["multi steps"]
    assert not any(np.asarray(x).any() for x in jax.tree.leaves(first))
    chex.assert_trees_all_close(second, values["mean"], rtol=1e-4, atol=1e-6)
    tx, p = optax.MultiSteps(OPTIMIZERS[name].build(), 4), shapes(params(OPTIMIZERS[name]), jnp.bfloat16)
    state = jax.eval_shape(tx.init, p)
    assert types(jax.eval_shape(tx.update, p, state, p)[1]) == types(state)


@for_optimizers
def test_steps_that_are_not_finite_are_skipped(name):
    (updates, state), before = by_wrapping(name)["not finite"]
    assert not any(np.asarray(x).any() for x in jax.tree.leaves(updates))
    chex.assert_trees_all_equal(state.inner_state, before.inner_state)
    assert state.total_notfinite == 1


@for_optimizers
def test_masking_and_partition_equal_a_separate_optimizer(name):
    values = by_wrapping(name)
    for part in ("w", "stack"):
        for wrapper in ("masked", "partition"):
            np.testing.assert_allclose(values[wrapper][part], values["separate"][part], rtol=1e-5, atol=1e-7)
    if "b" in values["masked"]:
        np.testing.assert_array_equal(values["masked"]["b"], gradients(OPTIMIZERS[name])["b"][1])


@for_optimizers
def test_it_works_in_a_chain_and_with_large_gradients(name):
    values = by_wrapping(name)
    chex.assert_trees_all_close(values["chained"], values["unwrapped"], rtol=1e-5, atol=1e-7)
    for updates in values["large"]:
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(updates))
        assert [x.shape for x in jax.tree.leaves(updates)] == [x.shape for x in jax.tree.leaves(values["unwrapped"])]


WRAPPERS = {
    "schedule free": lambda tx: optax.contrib.schedule_free(tx, learning_rate=0.1, b1=0.9),
    "mechanize": optax.contrib.mechanize,
    "reduce on plateau": lambda tx: optax.chain(tx, optax.contrib.reduce_on_plateau()),
    "conditionally": lambda tx: optax.transforms.conditionally_transform(tx, lambda count, **_: count % 2 == 0),
}


@for_optimizers
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_keep_types(name, wrapper):
    tx, p = WRAPPERS[wrapper](OPTIMIZERS[name].build()), shapes(params(OPTIMIZERS[name]))
    tx = optax.with_extra_args_support(tx)

    def update(p, state, g):
        return tx.update(g, state, p, value=jnp.float32(1.0))

    state = jax.eval_shape(tx.init, p)
    updates, after = jax.eval_shape(update, p, state, p)
    assert types(updates) == types(p) and types(after) == types(state)


@for_every
def test_integer_leaves_have_no_gradient_and_do_not_change(name):
    case, tx = OPTIMIZERS[name], optimizer(name)
    p = params(case) | {"none": jnp.array([[2**30 + 1, -7]])}

    def loss(p):
        return sum(jnp.sum(jnp.sin(x)) for x in jax.tree.leaves(p))

    def steps(p):
        grads = jax.grad(loss, allow_int=True)(p)
        assert grads["none"].dtype == jax.dtypes.float0
        state = tx.init(p)
        updates, after = tx.update(grads, state, p)
        assert types(after) == types(state)
        return optax.apply_updates(p, updates)

    if case.finds is None:  # a direction, or a mask that names the leaves, which the other laws cover
        return
    stepped = jax.eval_shape(steps, p)
    assert types(stepped) == types(p)


@for_every
def test_missing_parameters_are_an_error_where_they_are_needed(name):
    case, tx = OPTIMIZERS[name], optimizer(name)
    p = shapes(params(case))
    state = jax.eval_shape(tx.init, p)
    if case.needs_params:
        with pytest.raises(ValueError, match="params"):
            jax.eval_shape(lambda g, s: tx.update(g, s), p, state)
    else:
        assert types(jax.eval_shape(lambda g, s: tx.update(g, s), p, state)[0]) == types(p)


@for_every
def test_gradients_of_another_structure_or_shape_are_refused(name):
    tx, p = optimizer(name), shapes(params(OPTIMIZERS[name]))
    state = jax.eval_shape(tx.init, p)
    for wrong, message in (
        ({k: x for k, x in p.items() if k != "w"}, "structure"),
        (p | {"w": jax.ShapeDtypeStruct((5, 2), "float32")}, "shape"),
    ):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(tx.update, wrong, state, p)


@for_every
def test_it_finds_the_minimum_of_a_parabola(name):
    case = OPTIMIZERS[name]
    if case.finds is None:
        return
    tx = case.build(learning_rate=optax.linear_schedule(0.1, 0.0, 1500), **case.finds)

    @jax.jit
    def solve(p):
        def step(carry, _):
            p, state = carry
            updates, state = tx.update(parabola(p), state, p)
            return (optax.apply_updates(p, updates), state), None

        return jax.lax.scan(step, (p, tx.init(p)), None, 1500)[0][0]

    initial = {name: jnp.zeros(x.shape) for name, x in TARGET.items() if name == "w" or not case.matrices}
    for name, found in solve(initial).items():
        np.testing.assert_allclose(found, TARGET[name], rtol=3e-2, atol=3e-2)

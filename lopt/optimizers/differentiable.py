"""Optimizers through which a meta-gradient can flow: the same steps, with finite derivatives."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.extend import core

from lopt.types import Params, PyTree


def differentiable(
    inner: optax.GradientTransformation, *, constant_roots: bool = False
) -> optax.GradientTransformationExtraArgs:
    """The steps of `inner`, with derivatives that are finite wherever the steps are.

    Adam's step is m / (sqrt(v) + eps). A parameter whose gradient has always been zero, as behind a ReLU that was never
    active, has m = v = 0: the derivative of the square root is infinite there, and 0 times infinity makes the whole
    meta-gradient NaN. The same happens in clipping by the norm when the gradient is zero. Here the derivative of a
    square root, a power and a quotient is set to zero at the points where it is not finite:

        d sqrt(x) / dx = 1 / (2 sqrt(x))  for x > 0,  0 at x = 0;        d (a / b) = 0 at b = 0.

    Values do not change. State and arguments are those of `inner`. An optimizer that computes NaN itself, in a branch
    whose result it does not use (`optax.radam` in its first steps), still has NaN derivatives.

    Args:
        inner: any optax transformation.
        constant_roots: whether square roots count as constants, so that no meta-gradient flows through a denominator.
            The derivative of g / (|g| + eps), Adam's first step, is eps / (|g| + eps)^2: nearly zero where |g| is large
            and up to 1 / eps where it is small. With constant denominators a step is linear in the gradients.

    Example:
        meta_trainable = lopt.optimizers.differentiable(optax.adam(1e-3))

    Differs: DiscoRL's agent (Nature 2025) stops the gradient of Adam's second moment, as `constant_roots=True` does.
        Other codes add eps_root to the second moment, which changes the steps.
    """
    inner = optax.with_extra_args_support(inner)

    def update(updates: PyTree, state: Any, params: Params | None = None, **extra_args: Any) -> tuple[PyTree, Any]:
        def step(updates, state, params, extra_args):
            return inner.update(updates, state, params, **extra_args)

        return _with_finite_derivatives(step, constant_roots)(updates, state, params, extra_args)

    return optax.GradientTransformationExtraArgs(inner.init, update)


def _with_finite_derivatives(function: Callable[..., Any], constant_roots: bool) -> Callable[..., Any]:
    """The same function of pytrees of arrays, with modified derivatives of its square roots, powers and quotients."""
    root: Callable[..., Any] = _sqrt
    inverse_root: Callable[..., Any] = _rsqrt
    if constant_roots:
        root, inverse_root = _constant(jnp.sqrt), _constant(jax.lax.rsqrt)
    rules: dict[str, Callable[..., Any]] = {"sqrt": root, "rsqrt": inverse_root, "div": _div, "pow": _pow}

    def replaced(*args: Any) -> Any:
        leaves, structure = jax.tree.flatten(args)
        unflatten = partial(jax.tree.unflatten, structure)
        traced, shapes = jax.make_jaxpr(lambda *x: function(*unflatten(x)), return_shape=True)(*leaves)
        out = _evaluate(traced.jaxpr, traced.consts, leaves, rules)
        return jax.tree.unflatten(jax.tree.structure(shapes), out)

    return replaced


def _evaluate(jaxpr: Any, consts: list[Any], args: list[Any], rules: Mapping[str, Callable[..., Any]]) -> list[Any]:
    """Evaluate a jaxpr with `rules` in the place of the primitives they name, in nested functions and branches too."""
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def read(atom):
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    for eqn in jaxpr.eqns:
        inputs = [read(atom) for atom in eqn.invars]
        name = eqn.primitive.name
        if name in rules and jnp.issubdtype(eqn.outvars[0].aval.dtype, jnp.floating):
            outputs = [
                rules[name](*(jnp.asarray(x, atom.aval.dtype) for x, atom in zip(inputs, eqn.invars, strict=True)))
            ]
        elif name in ("jit", "pjit"):
            inner = eqn.params["jaxpr"]
            outputs = _evaluate(inner.jaxpr, inner.consts, inputs, rules)
        elif name == "cond":
            branches = [partial(_branch, branch, rules) for branch in eqn.params["branches"]]
            outputs = jax.lax.switch(inputs[0], branches, *inputs[1:])
        else:
            variables = [atom for atom in eqn.invars if not isinstance(atom, core.Literal)]
            single = jaxpr.replace(constvars=[], invars=variables, outvars=eqn.outvars, eqns=[eqn])
            outputs = core.jaxpr_as_fun(core.ClosedJaxpr(single, ()))(*(values[atom] for atom in variables))
        values.update(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _branch(program: Any, rules: Mapping[str, Callable[..., Any]], *args: Any) -> list[Any]:
    return _evaluate(program.jaxpr, program.consts, list(args), rules)


def _constant(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: jax.lax.stop_gradient(function(x))


def _finite(slope: Any) -> Any:
    return jnp.where(jnp.isfinite(slope), slope, jnp.zeros_like(slope))


@jax.custom_jvp
def _sqrt(x: Any) -> Any:
    return jax.lax.sqrt(x)


@jax.custom_jvp
def _rsqrt(x: Any) -> Any:
    return jax.lax.rsqrt(x)


@jax.custom_jvp
def _div(a: Any, b: Any) -> Any:
    return jax.lax.div(a, b)


@jax.custom_jvp
def _pow(a: Any, b: Any) -> Any:
    return jax.lax.pow(a, b)


def _root_rule(slope: Callable[..., Any], function: Callable[..., Any], primals: Any, tangents: Any):
    out = function(*primals)
    return out, _finite(slope(*primals, out)) * tangents[0]


_sqrt.defjvp(partial(_root_rule, lambda x, root: 0.5 / root, _sqrt))
_rsqrt.defjvp(partial(_root_rule, lambda x, root: -0.5 * root / x, _rsqrt))


@_div.defjvp
def _div_rule(primals: Any, tangents: Any):
    (a, b), (da, db) = primals, tangents
    out = _div(a, b)
    return out, _finite(1 / b) * da - _finite(out / b) * db


@_pow.defjvp
def _pow_rule(primals: Any, tangents: Any):
    (a, b), (da, db) = primals, tangents
    out = _pow(a, b)
    if jnp.issubdtype(b.dtype, jnp.integer):
        return out, _finite(b * jax.lax.pow(a, b - 1)) * da
    return out, _finite(b * jax.lax.pow(a, b - 1)) * da + _finite(jnp.log(a) * out) * db

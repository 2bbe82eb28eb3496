"""Programs as optax transformations."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Int

from lopt.optimizers.arguments import check_like, check_rate, untrained
from lopt.search.dataflow import prune_loop, reads
from lopt.search.parse import parse
from lopt.search.program import Program, evaluator, types_of
from lopt.types import Params, PyTree


class ProgramState(NamedTuple):
    """State of `from_program`.

    Attributes:
        count: number of updates made.
        extras: extra variables by name, each a tree like the parameters.
    """

    count: Int[Array, ""]  # type: ignore[assignment]
    extras: dict[str, PyTree]


def from_program(
    program: Program | str,
    learning_rate: ArrayLike | optax.Schedule = 1.0,
    *,
    constants: Mapping[str, ArrayLike] | None = None,
    state_dtype: DTypeLike | None = None,
    mask: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """The optax optimizer of a program: the parameters change by minus the program's update.

    Statements and extra variables that no update depends on are removed (`prune_loop`), so the state holds the live
    extra variables only. Computation and state have the parameters' types, but at least float32; updates have the
    gradients' types. Leaves without a gradient (None, or float0 for integers) are not part of the program's trees.

    Args:
        program: a valid program, or its text.
        learning_rate: value of the program's input lr: a number, an array or a schedule (a function of the count).
            Programs that contain their peak learning rate, as the published ones do, expect a schedule from 1.
        constants: new values for some of the program's constants, by the names that `constants_of` gives.
        state_dtype: type of the extra variables. None is the parameter's type, but at least float32: a running mean
            in bfloat16 stops changing far from its limit.
        mask: leaves with weight decay: a tree of booleans, a prefix of one, or a function from parameters to it. In the
            other leaves the program reads w as zero, which removes the weight decay and every other term in w.

    Example:
        tx = lopt.from_program("def train(w, g, m, lr): ...", optax.cosine_decay_schedule(1.0, 10_000))

    Raises:
        ValueError: a program that is not valid; a learning rate that is no number, array or schedule, or is negative or
            not finite; constants that the program does not have; a `state_dtype` that is not floating; at `init`,
            complex parameters; at `update`, gradients of another structure or shape than the parameters, or missing
            `params` for a program that reads the weights.

    Paper: arXiv 2302.06675.
    Differs: the mask, which the paper's programs do not have.
    """
    program = parse(program) if isinstance(program, str) else program
    types_of(program)
    check_rate("from_program", "learning_rate", learning_rate, least=0)
    live, numbers = _named_constants(prune_loop(program))
    numbers |= _checked_constants(constants or {}, numbers)
    dtype = None if state_dtype is None else jax.dtypes.canonicalize_dtype(state_dtype)
    if dtype is not None and not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"from_program: state_dtype must be floating (got {dtype.name})")
    weights, gradient = live.inputs
    needs_weights = weights in reads(live)

    def init(params: Params) -> ProgramState:
        for leaf in jax.tree.leaves(params):
            if jnp.issubdtype(jnp.result_type(leaf), jnp.complexfloating):
                raise ValueError("from_program: programs are defined for real parameters (got complex ones)")
        extras = {name: jax.tree.map(lambda p: _zeros(p, dtype), params) for name in live.extras}
        return ProgramState(jnp.zeros([], jnp.int32), extras)

    def update(
        updates: PyTree, state: ProgramState, params: Params | None = None, **extra_args: Any
    ) -> tuple[PyTree, ProgramState]:
        if needs_weights and params is None:
            raise ValueError("from_program: this program reads the weights: update must be given params")
        for like in (*state.extras.values(), *([] if params is None else [params])):
            check_like("from_program", updates, like)
        has_gradient = [not untrained(g) for g in jax.tree.leaves(updates)]
        values: dict[str, Any] = {name: _scalar(value) for name, value in numbers.items()}
        values[gradient] = _leaves(updates, has_gradient)
        values |= {name: _leaves(tree, has_gradient) for name, tree in state.extras.items()}
        values[live.rate] = _scalar(learning_rate(state.count) if callable(learning_rate) else learning_rate)
        if needs_weights:
            values[weights] = _leaves(_masked(params, mask), has_gradient)
        update, *after = evaluator(jnp, live)(values)
        updates = _fill(tuple(-x for x in update), updates, has_gradient, _zero_update)
        extras = {
            name: _fill(leaves, old, has_gradient, lambda x: x)
            for (name, old), leaves in zip(state.extras.items(), after, strict=True)
        }
        return updates, ProgramState(optax.safe_increment(state.count), extras)

    return optax.GradientTransformationExtraArgs(init, update)


def constants_of(program: Program | str) -> dict[str, float]:
    """The constants of the live part of a program by the names c0, c1, ..., in the order of their use."""
    program = parse(program) if isinstance(program, str) else program
    return {name.strip(): value for name, value in _named_constants(prune_loop(program))[1].items()}


def exposed(program: Program | str) -> Callable[..., optax.GradientTransformationExtraArgs]:
    """An optimizer factory with every constant of the program as an argument, for `optax.inject_hyperparams`.

    The factory calls `from_program`. Its arguments are `learning_rate`, `state_dtype`, `mask`, and c0, c1, ... as in
    `constants_of`; the defaults of the latter are the program's own values.

    Example:
        tx = optax.inject_hyperparams(lopt.search.exposed(program))(learning_rate=1.0, c1=0.95)

    Raises:
        ValueError: as `from_program`.
    """
    program = parse(program) if isinstance(program, str) else program
    defaults = {"learning_rate": 1.0, **constants_of(program), "state_dtype": None, "mask": None}

    def make(*args: Any, **kwargs: Any) -> optax.GradientTransformationExtraArgs:
        given = signature.bind(*args, **kwargs).arguments
        options = {name: given.pop(name) for name in ("learning_rate", "state_dtype", "mask") if name in given}
        return from_program(program, **options, constants=given)

    signature = inspect.Signature(
        [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)
            for name, default in defaults.items()
        ]
    )
    make.__signature__ = signature  # type: ignore[attr-defined]
    return make


def _named_constants(program: Program) -> tuple[Program, dict[str, Any]]:
    """The program with its constants replaced by variables, and the variables' values.

    The variables' names begin with a space, which no other variable's name contains.
    """
    values: dict[str, Any] = {f" c{i}": value for i, value in enumerate(program.constants)}
    return program.with_constants(values), values


def _checked_constants(constants: Mapping[str, ArrayLike], numbers: Mapping[str, Any]) -> dict[str, Any]:
    given = {f" {name}": value for name, value in constants.items()}
    if not given.keys() <= numbers.keys():
        names = ", ".join(name.strip() for name in numbers) or "none"
        raise ValueError(f"from_program: constants of this program are {names} (got {', '.join(constants)})")
    return given


def _scalar(value: Any) -> Array:
    """A number as a floating-point array of at least 32 bits; a Python number becomes float32."""
    value = jnp.asarray(value)
    if not jnp.issubdtype(value.dtype, jnp.floating) or value.dtype.itemsize < 4:
        value = value.astype(jnp.float32)
    return value


def _zeros(leaf: Any, dtype: Any) -> Array:
    own = jnp.result_type(leaf)
    if jnp.issubdtype(own, jnp.floating):
        own = dtype or jnp.promote_types(own, jnp.float32)
    return jnp.zeros_like(leaf, dtype=own)


def _leaves(tree: PyTree, has_gradient: list[bool]) -> tuple[Array, ...]:
    """The leaves that have a gradient, in types of at least 32 bits."""
    leaves = [leaf for leaf, keep in zip(jax.tree.leaves(tree), has_gradient, strict=True) if keep]
    return tuple(jnp.asarray(x).astype(jnp.promote_types(jnp.result_type(x), jnp.float32)) for x in leaves)


def _masked(params: Params, mask: Any) -> Params:
    if mask is None:
        return params
    mask = jax.tree.broadcast(mask(params) if callable(mask) else mask, params)
    return jax.tree.map(lambda keep, p: jnp.where(keep, p, jnp.zeros_like(p)), mask, params)


def _fill(leaves: tuple[Array, ...], like: PyTree, has_gradient: list[bool], default: Callable[[Any], Any]) -> PyTree:
    """`leaves` in the structure and types of `like`; `default(leaf)` of its leaves without a gradient."""
    new, (old, structure) = iter(leaves), jax.tree.flatten(like)
    filled = [
        next(new).astype(jnp.result_type(leaf)) if keep else default(leaf)
        for leaf, keep in zip(old, has_gradient, strict=True)
    ]
    return jax.tree.unflatten(structure, filled)


def _zero_update(gradient: Any) -> Array:
    """Boolean zeros, which can be added to a leaf of any type without changing it."""
    return jnp.zeros(jnp.shape(gradient), bool)

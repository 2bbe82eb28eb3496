"""All optimizers, as cases for the laws of `tests/contracts/test_optax.py`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

import lopt
from lopt import optimizers as lo
from lopt import search
from tests.reference import programs, rules
from tests.reference.kernels import FREE, KERNELS, MATRICES

BETAS = {"b1": (0.5, 0.95), "b2": (0.9, 0.99)}
DECAYED = {"learning_rate": (1e-3, 1e-1), **BETAS, "weight_decay": (0.1, 1.0)}


@dataclass(frozen=True)
class Case:
    """An optimizer, with its properties that the laws depend on.

    Attributes:
        make: function from keyword arguments to an optax transformation; without arguments, that with the defaults.
        hyperparams: the arguments of `make` that may be traced, each with a range for the test.
        state_dtype: name of the argument of `make` that sets the dtype of the state; None if there is none.
        state_floor: the narrowest dtype of the state without that argument; None for the dtype of the parameters.
        needs_params: whether `update` must be given the parameters.
        matrices: whether every leaf must be a matrix.
        extra: keyword arguments that `update` requires.
        finds: arguments of `make` with which it converges to the minimum of a parabola at `TARGET`; None if not tested.
    """

    make: Callable[..., optax.GradientTransformation]
    hyperparams: dict[str, tuple[float, float]] = field(default_factory=lambda: DECAYED)
    state_dtype: str | None = "mu_dtype"
    state_floor: str | None = None
    needs_params: bool = True
    matrices: bool = False
    extra: dict[str, Any] = field(default_factory=dict)
    finds: dict[str, Any] | None = field(default_factory=lambda: {"weight_decay": 0.1})

    def build(self, **settings) -> optax.GradientTransformationExtraArgs:
        """The transformation, with `extra` given unless the caller gives it."""
        tx = optax.with_extra_args_support(self.make(**settings))

        def update(updates, state, params=None, **extra):
            return tx.update(updates, state, params, **(self.extra | extra))

        return optax.GradientTransformationExtraArgs(tx.init, update)


SHARP = {  # narrow kernels: the distance of the solution from the minimum is proportional to the width
    "Huber": lo.Huber(0.01),
    "soft threshold": lo.SoftThreshold(0.01),
    "log-cosh": lo.LogCosh(100.0),
    "relativistic": lo.Relativistic(0.01),
    "softmax": lo.Softmax(0.01),
}


def of_kernel(name):
    """Lion-K with the kernel of this name."""
    kernel = SHARP.get(name, KERNELS[name])
    decay = 0.0 if name in FREE else 0.1
    return Case(partial(lopt.lion_k, kernel), matrices=name in MATRICES, finds={"weight_decay": decay})


def of_rule(name):
    """A learned optimizer; its hyper-parameter is a factor of theta."""
    make = partial(rules.as_optax, name)
    return Case(make, {"gain": (0.8, 1.2)}, None, needs_params=name in rules.NEED_PARAMS, finds=None)


def of_program(program, finds=None, needs_params=True):
    """The optimizer of a program; its hyper-parameters are the program's constants."""
    values = {name: tuple(sorted((0.9 * c, 1.1 * c))) for name, c in search.constants_of(program).items()}
    hyperparams = {"learning_rate": (0.1, 1.0)} | values
    return Case(search.exposed(program), hyperparams, "state_dtype", "float32", needs_params, finds=finds)


OPTIMIZERS = {
    "lion": Case(lopt.lion),
    "lion, bare direction": Case(lopt.scale_by_lion, hyperparams=BETAS, needs_params=False, finds=None),
    "lion, schedules and mask": Case(
        partial(
            lopt.lion,
            optax.linear_schedule(1e-2, 0.0, 100),
            weight_decay=optax.constant_schedule(0.1),
            mask=lambda params: {name: name == "w" for name in params},
        ),
        hyperparams=BETAS,
        finds=None,
    ),
    "lion, no decay": Case(partial(lopt.lion, weight_decay=0), needs_params=False),
    "cautious(lion)": Case(lambda **kwargs: lopt.cautious(lopt.lion(**kwargs)), finds={"weight_decay": 0.0}),
    "cautious direction": Case(
        lambda **kwargs: lopt.cautious(lopt.scale_by_lion(**kwargs), direction=True),
        hyperparams=BETAS,
        needs_params=False,
        finds=None,
    ),
    "Newton-Schulz": Case(partial(lopt.lion_k, lo.Nuclear(lo.NewtonSchulz())), matrices=True),
    **{name: of_kernel(name) for name in KERNELS if name != "l1"},
    **{name: of_rule(name) for name in rules.RULES},
    "Lion's program": of_program(search.published.LION, {"c3": 1.0}),
    "Lion's raw program": of_program(search.published.LION_RAW, {"c2": 1.0, "c3": 0.1}),
    "AdamW's program": of_program(search.published.ADAMW, {"c3": 1.0}),
    "AddSign's program": of_program(search.published.ADDSIGN, {"c2": 1.0}, needs_params=False),
    **{name: of_program(text, needs_params="clipping" not in name) for name, text in programs.FOUND.items()},
}

QUICK = (
    "lion",
    "lion, bare direction",
    "lion, schedules and mask",
    "cautious(lion)",
    "nuclear",
    "MLP",
    "Lion's program",
)


def params(case, dtype=np.float32, seed=0):
    """Parameters of all kinds that the optimizer accepts: matrices, and where allowed a vector and a scalar."""
    rng = np.random.default_rng(seed)
    shapes = {"stack": (2, 2, 3), "w": (3, 2), "no rows": (0, 2)}
    shapes |= {} if case.matrices else {"b": (3,), "s": ()}
    arrays = {name: jnp.asarray(rng.normal(size=shape), dtype) for name, shape in shapes.items()}
    return arrays | {"none": None}

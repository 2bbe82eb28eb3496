"""What an object is configured with, as JSON data: the identity of a run that has no configuration file."""

import dataclasses
import functools
import hashlib
import types
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


def describe(value: Any) -> Any:
    """JSON data that differs where two objects are configured differently.

    Dataclasses are described by their fields, functions by their names, default arguments and the variables that they
    close over (so a learning rate inside an optax transformation counts), partial functions by function and arguments,
    arrays by shape, type and a hash of their values. Of any other object the class alone counts. The text of a function
    does not count: after a change of it, start in another folder.
    """
    return _describe(value, frozenset())


def _describe(value: Any, above: frozenset[int]) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, type):
        return _name(value)
    if id(value) in above:
        return "..."
    return _described_object(value, lambda inner: _describe(inner, above | {id(value)}))


def _described_object(value: Any, inner: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        return _array(value)
    if isinstance(value, Mapping):
        return {str(name): inner(x) for name, x in value.items()}
    if isinstance(value, (tuple, list)):
        return [inner(x) for x in value]
    if dataclasses.is_dataclass(value):
        fields = {field.name: inner(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
        return {"kind": _name(type(value)), **fields}
    if isinstance(value, functools.partial):
        return {"kind": inner(value.func), "args": inner(value.args), "kwargs": inner(value.keywords)}
    if isinstance(value, types.MethodType):
        return {"kind": _name(value.__func__), "self": inner(value.__self__)}
    if isinstance(value, types.FunctionType):
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        closed = {name: inner(_content(cell)) for name, cell in cells}
        return {"kind": _name(value), "defaults": inner(value.__defaults__ or ()), "closure": closed}
    return _name(value if isinstance(value, types.BuiltinFunctionType) else type(value))


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a variable that is not assigned yet
        return None


def _array(value: Any) -> dict[str, Any]:
    if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    data = np.asarray(value)
    return {
        "shape": list(data.shape),
        "dtype": str(data.dtype),
        "sha256": hashlib.sha256(np.ascontiguousarray(data).tobytes()).hexdigest()[:16],
    }


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"

"""`jit` for tests: optimising a tiny program costs seconds and gains microseconds."""

import functools

import jax

jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

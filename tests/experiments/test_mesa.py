"""The mesa-optimisation study: invalid options, exact flow against theorem, and a small resumed run."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from experiments.incontext.mesa import diagonal_unitary
from experiments.incontext.mesa.config import PRESETS, DiagonalUnitaryARConfig, FewShotConfig, MesaConfig, SystemsConfig
from experiments.incontext.mesa.report import ratio
from experiments.incontext.mesa.train import main
from lopt.evaluation import t_interval
from lopt.tasks import ConstantInitial, DiagonalUnitaryAR, GaussianInitial, SparseInitial
from lopt.training import RunConfig

TINY = MesaConfig(
    run=RunConfig(out="unset", progress=False, checkpoint_minutes=0),
    diagonal_unitary=DiagonalUnitaryARConfig(
        initials=("gaussian", "ones"), dimensions=2, length=5, replicas=2, batch=4
    ),
    few_shot=FewShotConfig(dimensions=2, examples=3, batch=4, updates=1),
    systems=SystemsConfig(dimensions=2, length=4, batch=4, updates=1),
    num_steps=4,
    steps_per_chunk=2,
    flow_steps=3,
    test_sequences=8,
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"diagonal_unitary": DiagonalUnitaryARConfig(initials=("gausian",))}, "did you mean gaussian"),
        ({"diagonal_unitary": DiagonalUnitaryARConfig(initial_weights=((0.0, 1.0),))}, "pairs of positive numbers"),
        ({"diagonal_unitary": DiagonalUnitaryARConfig(replicas=1)}, "diagonal-unitary.replicas must be at least 2"),
        ({"few_shot": FewShotConfig(batch=0)}, "few-shot.batch must be at least 1"),
        ({"systems": SystemsConfig(updates=0)}, "systems.updates must be at least 1"),
        ({"steps_per_chunk": 7}, "must be a multiple of the chunk"),
    ],
)
def test_invalid_options_raise(changes, message):
    with pytest.raises(ValueError, match=message):
        MesaConfig(**changes)
    assert list(PRESETS) == ["quick", "paper"]


@pytest.mark.parametrize(
    ("initial", "masked"),
    [(GaussianInitial(), False), (SparseInitial(0.8), False), (ConstantInitial(), True)],
    ids=["Gaussian", "sparse", "all ones, masked"],
)
def test_exact_flow_reaches_the_limit_of_the_theorem(initial, masked):
    """ab tends to c*, a^2 - b^2 is conserved, and all other entries of both matrices stay zero."""
    variant = diagonal_unitary.Variant("", DiagonalUnitaryAR(dimensions=3, length=12, initial=initial), masked)
    initial_weights = ((0.1, 0.1), (0.5, 1.5), (2.0, 2.0))
    end, path = diagonal_unitary.gradient_flow(variant, initial_weights, 60)
    for i, pair in enumerate(initial_weights):
        theta = jax.tree.map(lambda x, i=i: x[i], end)
        a, b = variant.task.limit(*pair)
        expected = variant.model.structured(a, b)
        for part in expected:
            np.testing.assert_allclose(theta[part], expected[part], atol=2e-4)
    a = np.asarray(path["kq"])[..., 3, 0]
    b = np.asarray(path["pv"])[..., 0, 0]
    delta = np.array([x * x - y * y for x, y in initial_weights])
    np.testing.assert_allclose(a**2 - b**2, np.broadcast_to(delta, a.shape), atol=1e-3)


def test_off_diagonal_entries_grow_for_all_ones_without_masking():
    """They leave zero in the two blocks of the diagonals, and in no other block."""
    variant = diagonal_unitary.Variant("", DiagonalUnitaryAR(dimensions=3, length=12, initial=ConstantInitial()), False)
    end, _ = diagonal_unitary.gradient_flow(variant, ((0.5, 0.5),), 60)
    same, other = variant.largest_off_diagonal(jax.tree.map(lambda x: x[0], end))
    assert same > 0.02 and other < 1e-6


def test_intervals_have_nominal_coverage():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 40))
    coverage = np.mean([(i := t_interval(row)).low < 0 < i.high for row in x])
    assert 0.92 < coverage < 0.98
    a = rng.gamma(2.0, size=(300, 50))
    pairs = np.stack([3 * a + rng.normal(size=a.shape), a], -1)
    coverage = np.mean([(i := ratio(row)).low < 3 < i.high for row in pairs])
    assert 0.91 < coverage < 0.98


@pytest.mark.slow  # compiles many programs
def test_complete_and_resumed_run(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["test"])
    whole, parts = ({"out": str(tmp_path / name)} for name in ("whole", "parts"))
    main(dataclasses.replace(TINY, run=dataclasses.replace(TINY.run, **whole)))
    main(dataclasses.replace(TINY, run=dataclasses.replace(TINY.run, **parts, max_minutes=1e-6)))
    assert "The run is not finished" in (tmp_path / "parts" / "report.md").read_text()
    main(dataclasses.replace(TINY, run=dataclasses.replace(TINY.run, **parts, resume=True)))
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "parts")]
    assert results[0] == results[1]
    assert {row["model"] for row in results[0]["table"]} >= {"gaussian", "ones masked", "few-shot attention"}
    for name in ("report.md", "flow.png", "training.png", "weights.png", "errors.png", "layers.png"):
        assert (tmp_path / "whole" / name).stat().st_size > 0

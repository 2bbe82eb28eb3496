"""The study of single layers: bad input, the flow that meets the theorem, and a whole small run that resumes."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from experiments.common.config import RunConfig
from experiments.mesa import rotations
from experiments.mesa.config import PRESETS, FewShotConfig, MesaConfig, RotationsConfig, SystemsConfig
from experiments.mesa.report import interval, ratio
from experiments.mesa.train import main
from lopt.tasks import ConstantStart, GaussianStart, Rotations, SparseStart

TINY = MesaConfig(
    run=RunConfig(out="unset", progress=False, checkpoint_minutes=0),
    rotations=RotationsConfig(starts=("gaussian", "ones"), dimensions=2, length=5, replicas=2, batch=4),
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
        ({"rotations": RotationsConfig(starts=("gausian",))}, "did you mean gaussian"),
        ({"rotations": RotationsConfig(inits=((0.0, 1.0),))}, "pairs of positive numbers"),
        ({"rotations": RotationsConfig(replicas=1)}, "rotations.replicas must be at least 2"),
        ({"few_shot": FewShotConfig(batch=0)}, "few-shot.batch must be at least 1"),
        ({"systems": SystemsConfig(updates=0)}, "systems.updates must be at least 1"),
        ({"steps_per_chunk": 7}, "must be a multiple of the chunk"),
    ],
)
def test_bad_input_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        MesaConfig(**changes)
    assert list(PRESETS) == ["quick", "paper"]


@pytest.mark.parametrize(
    ("start", "clipped"),
    [(GaussianStart(), False), (SparseStart(0.8), False), (ConstantStart(), True)],
    ids=["Gaussian", "sparse", "all ones, clipped"],
)
def test_the_exact_flow_ends_where_the_theorem_says(start, clipped):
    """ab -> c*, a^2 - b^2 is conserved, and nothing else leaves zero, in all entries of both matrices."""
    variant = rotations.Variant("", Rotations(3, 12, start), clipped)
    inits = ((0.1, 0.1), (0.5, 1.5), (2.0, 2.0))
    last, path = rotations.flow(variant, inits, 60)
    for i, init in enumerate(inits):
        theta = jax.tree.map(lambda x, i=i: x[i], last)
        a, b = variant.task.limit(*init)
        expected = variant.model.structured(a, b)
        for part in expected:
            np.testing.assert_allclose(theta[part], expected[part], atol=2e-4)
    a = np.asarray(path["kq"])[..., 3, 0]
    b = np.asarray(path["pv"])[..., 0, 0]
    delta = np.array([x * x - y * y for x, y in inits])
    np.testing.assert_allclose(a**2 - b**2, np.broadcast_to(delta, a.shape), atol=1e-3)


def test_all_ones_leave_the_structure_unless_they_are_held():
    """Entries beside the diagonals move in their own two blocks, in no other."""
    variant = rotations.Variant("", Rotations(3, 12, ConstantStart()), False)
    last, _ = rotations.flow(variant, ((0.5, 0.5),), 60)
    same, other = variant.outside(jax.tree.map(lambda x: x[0], last))
    assert same > 0.02 and other < 1e-6


def test_intervals():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 40))
    covered = np.mean([(i := interval(row)).low < 0 < i.high for row in x])
    assert 0.92 < covered < 0.98
    a = rng.gamma(2.0, size=(300, 50))
    pairs = np.stack([3 * a + rng.normal(size=a.shape), a], -1)
    covered = np.mean([(i := ratio(row)).low < 3 < i.high for row in pairs])
    assert 0.91 < covered < 0.98


@pytest.mark.slow  # many programs are compiled
def test_a_whole_run(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["test"])
    whole, parts = ({"out": str(tmp_path / name)} for name in ("whole", "parts"))
    main(dataclasses.replace(TINY, run=dataclasses.replace(TINY.run, **whole)))
    main(dataclasses.replace(TINY, run=dataclasses.replace(TINY.run, **parts, max_minutes=1e-6)))
    assert "The run is not finished" in (tmp_path / "parts" / "report.md").read_text()
    main(dataclasses.replace(TINY, run=dataclasses.replace(TINY.run, **parts, resume=True)))
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "parts")]
    assert results[0] == results[1]
    assert {row["model"] for row in results[0]["table"]} >= {"gaussian", "ones clipped", "few-shot attention"}
    for name in ("report.md", "flow.png", "training.png", "weights.png", "errors.png", "layers.png"):
        assert (tmp_path / "whole" / name).stat().st_size > 0

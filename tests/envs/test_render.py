"""Plots of levels show their objects, and need no display."""

import functools

import jax
import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.patches import Arc, Circle  # noqa: E402

from envs.gridworld import All, draw_path, draw_policy, draw_visits, render, render_grid  # noqa: E402
from tests.envs.keys import make_keys  # noqa: E402

DIST = All(sizes=(4, 6), objects=(2, 3), num_walls=5, wall_range=6)


@functools.cache
def levels():
    return jax.jit(jax.vmap(DIST))(make_keys(0, 3)).params


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_a_level_shows_its_objects_and_its_own_size():
    for n in range(3):
        level = jax.tree.map(lambda x, n=n: np.asarray(x[n]), levels())
        ax = render(level, DIST.environment, title="a level")
        present = level.present.sum()
        assert sum(isinstance(patch, Circle) for patch in ax.patches) == present
        arcs = [patch for patch in ax.patches if isinstance(patch, Arc)]
        shares = sorted((arc.theta2 - arc.theta1) / 360 for arc in arcs)
        np.testing.assert_allclose(shares, np.sort(level.p_terminate[level.present]), rtol=1e-5)
        free = level.free.reshape(6, 6)
        assert ax.get_ylim() == (np.flatnonzero(free.any(1))[-1] + 0.5, -0.5)
        assert ax.get_title() == "a level"


def test_policy_path_and_visits(tmp_path):
    env, level = DIST.environment, jax.tree.map(lambda x: x[0], levels())
    ax = render(level, env)
    before = len(ax.get_children())
    draw_policy(ax, np.eye(5)[np.arange(36) % 5] * np.asarray(level.free)[:, None], env)
    draw_visits(ax, np.arange(36), env)
    draw_path(ax, np.array([0, 1, 7, 7, 6]), env)
    draw_path(ax, np.array([0]), env)
    assert len(ax.get_children()) == before + 5
    ax.figure.savefig(tmp_path / "level.png")
    assert (tmp_path / "level.png").stat().st_size > 2000


def test_a_grid_of_levels(tmp_path):
    figure = render_grid(levels(), DIST.environment, ["one", "two", "three"], columns=2)
    assert [ax.get_title() for ax in figure.axes if ax.axison] == ["one", "two", "three"]
    figure.savefig(tmp_path / "sheet.png")
    with pytest.raises(ValueError, match="3 titles"):
        render_grid(levels(), DIST.environment, ["one"])

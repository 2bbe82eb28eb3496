"""Values, slopes and pictures of drifts."""

import jax
import numpy as np

from lopt.evaluation import drift_plots
from lopt.objectives import DPO, LPO, Clip, Fraction, NoTime


def test_values_and_slopes_of_ppo_and_dpo_are_those_of_their_formulas():
    ratio, advantage = np.array([0.5, 0.9, 1.1, 1.5]), np.array([1.0, -1.0])
    np.testing.assert_allclose(
        drift_plots.slopes(Clip(), (), ratio, advantage, 0.0), [[1, 1, 1, 0], [0, -1, -1, -1]], atol=1e-5
    )
    slopes = drift_plots.slopes(DPO(), (), ratio, advantage, 0.0)
    np.testing.assert_allclose([slopes[0, 3], slopes[1, 0]], [0.940015, 0.343109], rtol=1e-4)
    values = drift_plots.values(DPO(), (), ratio, advantage, 0.0)
    np.testing.assert_allclose([values[0, 3], values[1, 0]], [0.010163, 0.201457], rtol=1e-3)


def test_drifts_are_drawn_and_depend_on_time_only_with_time_inputs(tmp_path):
    for time in (NoTime(), Fraction()):
        drift = LPO(hidden=4, conditioning=time, init_scale=3.0)
        path = tmp_path / f"{type(time).__name__}.png"
        theta = drift.init(jax.random.key(0))
        drift_plots.draw(drift, theta, path)
        assert path.stat().st_size > 5000
        first, last = (drift_plots.values(drift, theta, np.array([0.5, 1.5]), np.array([2.0]), x) for x in (0.0, 1.0))
        assert (first == last).all() == isinstance(time, NoTime)

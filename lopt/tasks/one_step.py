"""The best single step of gradient descent on a few examples, in closed form."""

from dataclasses import dataclass

from lopt.tasks.regression import GaussianInputs, UniformInputs


@dataclass(frozen=True)
class OneStep:
    """y_hat = eta / N sum_i y_i x_i . x_q for y_i = w . x_i, with w ~ N(0, I), and a question like the examples.

    With v = E x_i^2, m_4 = E x_i^4, A = X^T X / N and E tr A^2 = (d m_4 + d (d - 1) v^2 + (N - 1) d v^2) / N, the loss
    E 1/2 (y - y_hat)^2 is v / 2 (d - 2 eta d v + eta^2 E tr A^2): the least at eta* = d v / E tr A^2.

    Attributes:
        dimensions: d.
        examples: N.
        inputs: distribution of x.

    Raises:
        ValueError: a size below one.

    Paper: the setting is that of arXiv 2212.07677, section 3; the closed form is not from there.
    """

    dimensions: int
    examples: int
    inputs: GaussianInputs | UniformInputs

    def __post_init__(self) -> None:
        if self.dimensions < 1 or self.examples < 1:
            raise ValueError(
                f"OneStep: expected dimensions >= 1 and examples >= 1 (got {self.dimensions} and {self.examples})"
            )

    @property
    def trace(self) -> float:
        """E tr A^2."""
        (v, fourth), d, n = self.inputs.moments(), self.dimensions, self.examples
        return d * (fourth + (d - 1) * v * v + (n - 1) * v * v) / n

    @property
    def step_size(self) -> float:
        """eta*."""
        return self.dimensions * self.inputs.moments()[0] / self.trace

    def loss(self, step_size: float) -> float:
        """E 1/2 (y - y_hat)^2 with any eta; that of the prediction of zero is d v / 2."""
        v, d = self.inputs.moments()[0], self.dimensions
        return 0.5 * v * (d - 2 * step_size * d * v + step_size**2 * self.trace)

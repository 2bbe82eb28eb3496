"""The optimal single step of gradient descent in few-shot linear regression, in closed form."""

from dataclasses import dataclass

from lopt.tasks.regression import GaussianInputs, UniformInputs


@dataclass(frozen=True, kw_only=True)
class OneStep:
    """Theory of y_hat = eta / N sum_i y_i x_i . x_q for labels y_i = w . x_i, where w ~ N(0, I).

    This is the prediction for the query x_q after one step of gradient descent from zero. x_q has the distribution of
    the x_i. With v = E x_i^2, m_4 = E x_i^4, A = X^T X / N and E tr A^2 = (d m_4 + d (d - 1) v^2 + (N - 1) d v^2) / N,
    the loss E 1/2 (y - y_hat)^2 is v / 2 (d - 2 eta d v + eta^2 E tr A^2). It is minimal at eta* = d v / E tr A^2.

    Attributes:
        dimensions: d.
        examples: N, examples in the context.
        inputs: distribution of x.

    Raises:
        ValueError: a size is below one.

    Paper: the setting of arXiv 2212.07677, section 3.
    Differs: the closed form is derived here; the paper finds eta by a search.
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
        """E tr A^2, the expected squared Frobenius norm of A = X^T X / N."""
        (v, fourth), d, n = self.inputs.moments(), self.dimensions, self.examples
        return d * (fourth + (d - 1) * v * v + (n - 1) * v * v) / n

    @property
    def step_size(self) -> float:
        """eta*, the step size that minimises the expected loss."""
        return self.dimensions * self.inputs.moments()[0] / self.trace

    def loss(self, step_size: float) -> float:
        """Expected loss E 1/2 (y - y_hat)^2 with step size eta; eta = 0 (predicting zero) gives d v / 2."""
        v, d = self.inputs.moments()[0], self.dimensions
        return 0.5 * v * (d - 2 * step_size * d * v + step_size**2 * self.trace)

"""Single layers of linear attention and the gradient steps that they can make; the mesa-layer, attention that solves a
regularised least-squares problem over the context at every position.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Inexact

from lopt.incontext.blocks import check_positive, check_sequence
from lopt.types import Key, Theta


def merged_attention(
    pv: Float[Array, "O D"],
    kq: Float[Array, "D D"],
    tokens: Inexact[Array, "T D"],
    visible: Bool[Array, "T T"] | None = None,
) -> Inexact[Array, "T O"]:
    """Unnormalised linear attention y_t = sum_s W_PV e_s (e_s^* W_KQ e_t) over the visible tokens s.

    Args:
        pv: W_PV, the product of output projection and value matrix.
        kq: W_KQ = W_K^T W_Q, the product of key and query matrices.
        tokens: e_1, ..., e_T, real or complex; e_s^* is the conjugate transpose.
        visible: whether token t attends to token s, `[t, s]`; None for all.
    """
    scores = (tokens @ kq.T) @ tokens.conj().T  # [t, s]
    if visible is not None:
        scores = jnp.where(visible, scores, 0.0)
    return scores @ (tokens @ pv.T)


def paired_tokens(xs: Float[Array, "T X"], ys_prev: Float[Array, "T Y"]) -> Float[Array, "T X2Y"]:
    """Tokens e_t = (x_t, x_{t-1}, y_{t-1}) with x_0 = 0: the query x_t together with the previous example.

    A single layer of linear attention cannot combine x_{t-1} and y_{t-1} from different tokens. In next-token
    prediction, where y_t = x_{t+1}, the tokens are (x_t, x_{t-1}, x_t).

    Paper: arXiv 2309.05858, section 3 (constructed tokens).
    """
    previous = jnp.concatenate([jnp.zeros_like(xs[:1]), xs[:-1]])
    return jnp.concatenate([xs, previous, ys_prev], -1)


@dataclass(frozen=True, kw_only=True)
class OneStepAttention:
    """One head of causal linear attention on `paired_tokens`: y_t = W_PV E_t E_t^T W_KQ e_t / (t - 1).

    With the weights `gradient_descent(eta)`, y_t = eta / (t - 1) sum_{s<t} y_s x_s^T x_t, the prediction after one step
    of gradient descent from zero on the examples before position t.

    Attributes:
        inputs: width of x.
        targets: width of y.
        outputs: width of a prediction.
        scale: standard deviation of the initial weights.

    Raises:
        ValueError: a size is below one, or `scale` is negative.

    Paper: arXiv 2212.07677, proposition 1; causal and divided by t - 1 as in arXiv 2405.16845.
    Differs: at t = 1, where the context is empty, the sum is divided by one.
    """

    inputs: int
    targets: int
    outputs: int
    scale: float = 0.1

    def __post_init__(self) -> None:
        check_positive(self, "inputs", "targets", "outputs")
        if self.scale < 0:
            raise ValueError(f"OneStepAttention: scale must not be negative (got {self.scale})")

    def init(self, key: Key) -> Theta:
        """Initial weights `pv` and `kq`, with i.i.d. entries from N(0, scale^2)."""
        key_pv, key_kq = jax.random.split(key)
        width = 2 * self.inputs + self.targets
        return {
            "pv": self.scale * jax.random.normal(key_pv, (self.outputs, width)),
            "kq": self.scale * jax.random.normal(key_kq, (width, width)),
        }

    def gradient_descent(self, step_size: float) -> Theta:
        """The weights of one step of gradient descent with step size eta.

        W_PV is eta I on y_{t-1}, W_KQ compares x_{t-1} with x_t, and all other entries are zero.

        Raises:
            ValueError: `outputs` differs from `targets`.
        """
        if self.outputs != self.targets:
            raise ValueError(f"OneStepAttention: outputs must equal targets (got {self.outputs} and {self.targets})")
        x, width = self.inputs, 2 * self.inputs + self.targets
        pv = jnp.zeros((self.outputs, width)).at[:, 2 * x :].set(step_size * jnp.eye(self.outputs))
        return {"pv": pv, "kq": jnp.zeros((width, width)).at[x : 2 * x, :x].set(jnp.eye(x))}

    def apply(self, theta: Theta, xs: Float[Array, "T X"], ys_prev: Float[Array, "T Y"]) -> Float[Array, "T F"]:
        """Predictions `[T, outputs]` of y_t from x_1, ..., x_t and y_1, ..., y_{t-1}."""
        check_sequence(self, xs, ys_prev)
        length = len(xs)
        sums = merged_attention(theta["pv"], theta["kq"], paired_tokens(xs, ys_prev), jnp.tri(length, dtype=bool))
        return sums / jnp.maximum(jnp.arange(length), 1)[:, None]

    def state_size(self, length: int) -> int:
        """W_PV E_t E_t^T and the previous x, independent of `length`."""
        return self.outputs * (2 * self.inputs + self.targets) + self.inputs


@dataclass(frozen=True, kw_only=True)
class FewShotAttention:
    """K layers e_j <- e_j + W_PV E E^T W_KQ e_j / N over N example tokens (x_i, y_i) and a query token (x_q, 0).

    The prediction is minus the second half of the query token after the last layer. With the weights
    `gradient_descent(eta, gamma)`, every layer is a step of gradient descent from zero on
    1/2 sum_i |y_i - W x_i|^2 / N with step size eta; the residuals replace the y_i. With gamma > 0 a layer also
    transforms the inputs, x_j <- (I - gamma X^T X / N) x_j, which improves the condition number (GD++).

    Attributes:
        inputs: width of x.
        targets: width of y.
        layers: K.
        scale: standard deviation of the initial weights.

    Raises:
        ValueError: a size is below one, or `scale` is negative.

    Paper: arXiv 2212.07677, proposition 1, and section 4 for GD++.
    Differs: key and query matrix, and projection and value matrix, are merged into one matrix each; the factor 1 / N is
        explicit, where the paper has it in the projection; no token attends to the query, whose second half is a
        prediction and not a residual after the first layer.
    """

    inputs: int
    targets: int
    layers: int = 1
    scale: float = 0.02

    def __post_init__(self) -> None:
        check_positive(self, "inputs", "targets", "layers")
        if self.scale < 0:
            raise ValueError(f"FewShotAttention: scale must not be negative (got {self.scale})")

    def init(self, key: Key) -> Theta:
        """Initial weights `pv` and `kq` `[K, ...]`, with i.i.d. entries from N(0, scale^2)."""
        key_pv, key_kq = jax.random.split(key)
        width = self.inputs + self.targets
        shape = (self.layers, width, width)
        return {
            "pv": self.scale * jax.random.normal(key_pv, shape),
            "kq": self.scale * jax.random.normal(key_kq, shape),
        }

    def gradient_descent(self, step_size: float, curvature: float = 0.0) -> Theta:
        """The weights of K equal steps of gradient descent (GD++ if gamma is positive).

        Args:
            step_size: eta; W_PV is -eta I in the block of y.
            curvature: gamma; W_PV is -gamma I in the block of x.
        """
        x, y = self.inputs, self.targets
        sizes = jnp.concatenate([jnp.full(x, curvature), jnp.full(y, step_size)])
        inputs_only = jnp.concatenate([jnp.ones(x), jnp.zeros(y)])
        pv, kq = jnp.diag(-sizes), jnp.diag(inputs_only)
        return {"pv": jnp.stack([pv] * self.layers), "kq": jnp.stack([kq] * self.layers)}

    def apply(
        self, theta: Theta, xs: Float[Array, "N X"], ys: Float[Array, "N Y"], query: Float[Array, " X"]
    ) -> Float[Array, " Y"]:
        """The prediction `[targets]` for the query x_q, given N examples."""
        tokens = jnp.concatenate([xs, ys], -1)
        query_token = jnp.concatenate([query, jnp.zeros(self.targets)])
        tokens = jnp.concatenate([tokens, query_token[None]])
        visible = jnp.broadcast_to(jnp.arange(len(tokens)) < len(xs), (len(tokens), len(tokens)))

        def layer(tokens, theta):
            return tokens + merged_attention(theta["pv"], theta["kq"], tokens, visible) / len(xs), None

        return -jax.lax.scan(layer, tokens, theta)[0][-1, self.inputs :]


@dataclass(frozen=True)
class AutoregressiveAttention:
    """Predicts x_{t+1} from x_1, ..., x_t by y_t = W_PV E_t E_t^* W_KQ e_t / (t - 1).

    The tokens are e_t = (x_t, x_{t-1}) with x_0 = 0, and E_t = (e_1, ..., e_t). W_PV `[d, 2d]` and W_KQ `[2d, 2d]` are
    real; a sequence may be complex. With the weights `structured(a, b)`, the layer applies to x_t the matrix W that
    one step of gradient descent from zero on 1/2 sum_{s<t} |x_{s+1} - W x_s|^2 finds, with step size ab / (t - 1).

    Attributes:
        dimensions: d.
        scale: standard deviation of the initial weights.

    Raises:
        ValueError: `dimensions` is below one, or `scale` is negative.

    Paper: arXiv 2405.16845, section 3.
    Differs: the block of the token that is always zero is left out, as in the official code; the first prediction,
        which the loss does not use, is divided by one.
    """

    dimensions: int
    scale: float = 0.1

    def __post_init__(self) -> None:
        if self.dimensions < 1 or self.scale < 0:
            raise ValueError(
                "AutoregressiveAttention: expected dimensions >= 1 and scale >= 0 "
                f"(got {self.dimensions} and {self.scale})"
            )

    def init(self, key: Key) -> Theta:
        """Initial weights `pv` and `kq`, with i.i.d. entries from N(0, scale^2)."""
        key_pv, key_kq = jax.random.split(key)
        d = self.dimensions
        return {
            "pv": self.scale * jax.random.normal(key_pv, (d, 2 * d)),
            "kq": self.scale * jax.random.normal(key_kq, (2 * d, 2 * d)),
        }

    def structured(self, a: float, b: float) -> Theta:
        """Diagonal weights: W_KQ = a I in rows x_{t-1}, columns x_t; W_PV = b I in columns x_t; all else zero.

        Paper: arXiv 2405.16845, assumption 3.1.
        """
        identity, zero = jnp.eye(self.dimensions), jnp.zeros((self.dimensions, self.dimensions))
        return {"pv": jnp.hstack([b * identity, zero]), "kq": jnp.block([[zero, zero], [a * identity, zero]])}

    def apply(self, theta: Theta, xs: Inexact[Array, "T d"]) -> Inexact[Array, "T d"]:
        """The predictions y_t of x_{t+1} at every position t.

        Computed from the running sums of e_s e_s^*, `[T, 2d, 2d]`, which do not depend on the weights.
        """
        previous = jnp.concatenate([jnp.zeros_like(xs[:1]), xs[:-1]])
        tokens = jnp.concatenate([xs, previous], -1)
        sums = jnp.cumsum(tokens[:, :, None] * tokens[:, None].conj(), 0)
        outputs = jnp.einsum("tjk,tk->tj", sums, tokens @ theta["kq"].T) @ theta["pv"].T
        return outputs / jnp.maximum(jnp.arange(len(xs)), 1)[:, None]


def least_squares_attention(
    keys: Float[Array, "T K"],
    values: Float[Array, "T V"],
    queries: Float[Array, "T K"],
    strength: Float[Array, ""] | float,
) -> Float[Array, "T V"]:
    """Outputs o_t = W_t q_t with W_t = argmin_W sum_{s<=t} |W k_s - v_s|^2 + |W|^2 / lambda, for every t.

    One scan computes R_t = (sum_{s<=t} k_s k_s^T + I / lambda)^-1 by the Sherman-Morrison formula,
    R_t = R_{t-1} - R_{t-1} k_t k_t^T R_{t-1} / (1 + k_t^T R_{t-1} k_t) with R_0 = lambda I, and
    o_t = (sum_{s<=t} v_s k_s^T) R_t q_t. In single precision R is inaccurate if lambda |k|^2 exceeds about 10^6.

    Args:
        keys: k_t.
        values: v_t.
        queries: q_t.
        strength: lambda; a larger value regularises less.

    Paper: arXiv 2309.05858, section 5 (mesa-layer).
    """

    def body(carry, step):
        inverse, sums = carry
        k, v, q = step
        gain = inverse @ k
        inverse = inverse - jnp.outer(gain, gain) / (1 + k @ gain)
        sums = sums + jnp.outer(v, k)
        return (inverse, sums), sums @ (inverse @ q)

    initial = strength * jnp.eye(keys.shape[1]), jnp.zeros((values.shape[1], keys.shape[1]))
    return jax.lax.scan(body, initial, (keys, values, queries))[1]


@dataclass(frozen=True, kw_only=True)
class MesaLayer:
    """One mesa-layer on `paired_tokens`: y_t = sum_h P_h o_{h,t}, with keys, values and queries linear in the token.

    o_{h,t} is `least_squares_attention` of head h. With the weights `least_squares(strength)`, the layer is ridge
    regression on the examples before position t, applied to x_t.

    Attributes:
        inputs: width of x.
        targets: width of y.
        outputs: width of a prediction.
        heads: H, number of heads.
        key_size: width of keys and queries; None for `inputs`.
        value_size: width of values; None for `targets`.

    Raises:
        ValueError: a size is below one.

    Paper: arXiv 2309.05858, section 5.
    Differs: keys and queries are not normalised; gradients are computed through the scan.
    """

    inputs: int
    targets: int
    outputs: int
    heads: int = 1
    key_size: int | None = None
    value_size: int | None = None

    def __post_init__(self) -> None:
        optional = [name for name in ("key_size", "value_size") if getattr(self, name) is not None]
        check_positive(self, "inputs", "targets", "outputs", "heads", *optional)

    @property
    def _sizes(self) -> tuple[int, int, int]:
        """Widths of a token, a key and a value."""
        key = self.inputs if self.key_size is None else self.key_size
        return 2 * self.inputs + self.targets, key, self.targets if self.value_size is None else self.value_size

    def init(self, key: Key) -> Theta:
        """Initial weights: Gaussian with variance 1 / fan-in, and lambda = 1 for every head."""
        token, size, value = self._sizes
        shapes = {"key": (size, token), "value": (value, token), "query": (size, token), "out": (self.outputs, value)}
        keys = dict(zip(shapes, jax.random.split(key, len(shapes)), strict=True))
        heads = {
            name: jax.random.normal(keys[name], (self.heads, *shape)) / shape[1] ** 0.5
            for name, shape in shapes.items()
        }
        return heads | {"log_strength": jnp.zeros(self.heads)}

    def least_squares(self, strength: float) -> Theta:
        """The weights of ridge regression with penalty 1 / `strength`: key x_{t-1}, value y_{t-1}, query x_t.

        Raises:
            ValueError: there is more than one head, or a size differs from that of x or y.
        """
        x, y, (token, key, value) = self.inputs, self.targets, self._sizes
        if self.heads != 1 or key != x or not value == self.outputs == y:
            raise ValueError(
                "MesaLayer.least_squares: expected one head, keys as wide as x, values and outputs as wide as y (got "
                f"{self.heads}, {key}, {value} and {self.outputs})"
            )
        rows = jnp.eye(token)[None]
        return {
            "key": rows[:, x : 2 * x],
            "value": rows[:, 2 * x :],
            "query": rows[:, :x],
            "out": jnp.eye(y)[None],
            "log_strength": jnp.log(jnp.full(1, strength)),
        }

    def apply(self, theta: Theta, xs: Float[Array, "T X"], ys_prev: Float[Array, "T Y"]) -> Float[Array, "T F"]:
        """Predictions `[T, outputs]` of y_t from x_1, ..., x_t and y_1, ..., y_{t-1}."""
        check_sequence(self, xs, ys_prev)
        tokens = paired_tokens(xs, ys_prev)

        def head(theta: Theta) -> Array:
            keys, values, queries = (tokens @ theta[name].T for name in ("key", "value", "query"))
            outputs = least_squares_attention(keys, values, queries, jnp.exp(theta["log_strength"]))
            return outputs @ theta["out"].T

        return jax.vmap(head)(theta).sum(0)

    def state_size(self, length: int) -> int:
        """R and the sum of v k^T of every head, and the previous x, independent of `length`."""
        _, key, value = self._sizes
        return self.heads * key * (key + value) + self.inputs

"""NumPy loops for what the library computes with scans and gathers."""

import numpy as np


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def log_softmax(x):
    shifted = x - x.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gae(reward, discount, truncated, value, next_value, gamma, lam):
    """A_t = sum_l (gamma lam)^l delta_{t+l} over the steps up to the episode's or the trajectory's last, O(T^2)."""
    advantage = np.zeros_like(value)
    for at in np.ndindex(value.shape[1:]):
        for t in range(len(value)):
            for k in range(t, len(value)):
                i = (k, *at)
                delta = reward[i] + gamma * discount[i] * next_value[i] - value[i]
                advantage[(t, *at)] += (gamma * lam) ** (k - t) * delta
                if discount[i] == 0 or truncated[i]:
                    break
    return advantage


def discounted_returns(reward, discount, truncated, next_value, gamma):
    """Discounted rewards up to the episode's last step, plus the bootstrapped value unless it terminated, O(T^2)."""
    total = np.zeros_like(reward)
    for at in np.ndindex(reward.shape[1:]):
        for t in range(len(reward)):
            for k in range(t, len(reward)):
                i = (k, *at)
                total[(t, *at)] += gamma ** (k - t) * reward[i]
                if discount[i] == 0:
                    break
                if truncated[i] or k == len(reward) - 1:
                    total[(t, *at)] += gamma ** (k - t + 1) * next_value[i]
                    break
    return total


def reverse_gru(p, x, reset):
    """GRU over `x` `[T, B, F]` from the last step to the first."""
    h, out = np.zeros((x.shape[1], p["state"].shape[0])), []
    for t in reversed(range(len(x))):
        h = np.where(reset[t][:, None], 0, h)
        a, b = x[t] @ p["input"] + p["bias"], h @ p["state"]
        (ar, az, an), (br, bz, bn) = np.split(a, 3, -1), np.split(b, 3, -1)
        r, z = sigmoid(ar + br), sigmoid(az + bz)
        n = np.tanh(an + r * (bn + p["bias_candidate"]))
        h = (1 - z) * n + z * h
        out.append(h)
    return np.stack(out[::-1])


def reverse_lstm(p, x, reset):
    """LSTM over `x` `[T, B, F]` from the last step to the first."""
    h = c = np.zeros((x.shape[1], p["state"].shape[0]))
    out = []
    for t in reversed(range(len(x))):
        h, c = (np.where(reset[t][:, None], 0, s) for s in (h, c))
        i, f, g, o = np.split(x[t] @ p["input"] + h @ p["state"] + p["bias"], 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.stack(out[::-1])


def lpg(theta, recurrence, traj, out, out_next, time):
    """pi_hat and y_hat (logits) of the learned policy gradient; `time` `[features]`; arXiv 2007.08794, section 3.2."""

    def dense(layer, x):
        return x @ layer["kernel"] + layer["bias"]

    def phi(logits):
        return dense(theta["Dense_1"], np.maximum(dense(theta["Dense_0"], softmax(logits)), 0))

    terminated = traj.discount == 0
    pi = np.take_along_axis(softmax(out.policy), traj.action[..., None], -1)
    columns = [traj.reward[..., None], terminated[..., None], pi]
    columns += [np.full_like(pi, value) for value in time]
    columns += [phi(out.prediction), np.where(terminated[..., None], 0, phi(out_next.prediction))]
    h = recurrence(theta["recurrence"], np.concatenate(columns, -1), terminated | traj.truncated)
    h = np.maximum(h, 0)
    pi_hat = dense(theta["pi_hat"], h)[..., 0]
    if "log_step" in theta:
        pi_hat = np.exp(dense(theta["log_step"], h).mean()) * (pi_hat - pi_hat.mean()) / pi_hat.std()
    return pi_hat, dense(theta["y_hat"], h)


def lpo(theta, r, advantage, time):
    """The network of a learned drift, before f_0 and xi; `time` are the time features g; arXiv 2210.05639."""
    x = np.stack([np.log(r), np.log(r) ** 2, 1 - r, (1 - r) ** 2], -1)
    x = np.concatenate([x, advantage[..., None] * x], -1)
    x = np.concatenate([x, *(factor * x for factor in time)], -1)
    return np.tanh(x @ theta["hidden"]) @ theta["out"]

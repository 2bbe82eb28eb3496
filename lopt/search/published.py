"""Published programs: the initial program of the search, programs that it found, and hand-designed optimizers.

They are texts for `parse` and `from_program`. The peak learning rate is a constant of the program; the input lr is the
value of a schedule in [0, 1].

Paper: arXiv 2302.06675 unless another one is named. Constants have the four digits that were published.
"""

ADAMW = """\
def train(w, g, m, v, lr):
    g2 = square(g)
    m = interp(g, m, 0.9)
    v = interp(g2, v, 0.999)
    u = m / sqrt(v)
    wd = w * 0.01
    u = u + wd
    lr = lr * 0.001
    u = u * lr
    return u, m, v
"""
"""AdamW without bias correction and with the language's epsilon: the initial program of the search."""

LION_RAW = """\
def train(w, g, m, v, lr):
    g = clip(g, lr)
    m = clip(m, lr)
    v845 = sqrt(0.6271)
    v968 = sign(v)
    v968 = v - v
    g = arcsin(g)
    m = interp(g, v, 0.9000)
    v1 = m * m
    v = interp(g, m, 1.1091)
    v845 = tanh(v845)
    lr = lr * 0.0002172
    update = m * lr
    v1 = sqrt(v1)
    update = update / v1
    wd = lr * 0.4602
    v1 = square(v1)
    wd = wd * w
    m = cosh(update)
    lr = tan(1.4572)
    update = update + wd
    lr = cos(v845)
    return update, m, v
"""
"""Lion as the search found it (Program 8); most statements have no effect."""

LION_PRUNED = """\
def train(w, g, m, v, lr):
    g = clip(g, lr)
    g = arcsin(g)
    m = interp(g, v, 0.899)
    m2 = m * m
    v = interp(g, m, 1.109)
    abs_m = sqrt(m2)
    u = m / abs_m
    wd = 0.4602 * w
    u = u + wd
    lr = lr * 0.0002
    m = cosh(u)
    u = u * lr
    return u, m, v
"""
"""The pruned form of `LION_RAW` (Program 3). It was edited by hand, so its cosh has another argument."""

LION = """\
def train(w, g, m, lr):
    c = interp(g, m, 0.9)
    m = interp(g, m, 0.99)
    u = sign(c)
    wd = w * 0.1
    u = u + wd
    lr = lr * 0.0001
    u = u * lr
    return u, m
"""
"""Lion (Program 4) with a learning rate of 1e-4 and a weight decay of 0.1."""

ADAGRAD_LIKE = """\
def train(w, g, v, lr):
    v = v + square(g)
    u = g / sqrt(v)
    lr = lr * 0.01
    u = u * lr
    return u, v
"""
"""AdaGrad (a sum of squared gradients), which the search rediscovered (appendix)."""

ADABELIEF_LIKE = """\
def train(w, g, m, v, lr):
    m = interp(g, m, 0.9)
    d = g - m
    v = interp(square(d), v, 0.999)
    u = m / sqrt(v)
    lr = lr * 0.001
    u = u * lr
    return u, m, v
"""
"""AdaBelief (arXiv 2010.07468: second moment of g - m), which the search rediscovered (appendix)."""

HEROLION = """\
def train(w, g, m, lr):
    m = interp(g, m, 0.999)
    c = interp(g, m, 0.9)
    u = sign(c)
    wd = w * 0.01
    u = u + wd
    lr = lr * 0.001
    u = u * lr
    return u, m
"""
"""An optimizer that the search found earlier, for vision: the momentum is updated before the interpolation.

Differs: the momentum is not divided by 1 - 0.999^t, since programs have no step count.
"""

POWERSIGN = """\
def train(w, g, m, lr):
    m = interp(g, m, 0.9)
    agree = sign(g) * sign(m)
    u = exp(agree) * g
    lr = lr * 0.01
    u = u * lr
    return u, m
"""
"""e^(sign g sign m) g: arXiv 1709.07417."""

ADDSIGN = """\
def train(w, g, m, lr):
    m = interp(g, m, 0.9)
    agree = sign(g) * sign(m)
    u = (1.0 + agree) * g
    lr = lr * 0.01
    u = u * lr
    return u, m
"""
"""(1 + sign g sign m) g: arXiv 1709.07417."""

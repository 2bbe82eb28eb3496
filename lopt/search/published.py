"""Programs that are known: what the search starts from, what it has found, and what others have written by hand.

They are texts for `parse` and `from_program`. The peak learning rate stands inside, beside the schedule's lr in [0, 1].

Paper: arXiv 2302.06675 unless another is named. Constants as published, to their four digits.
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
"""AdamW without bias correction, with the language's own epsilon: the search begins here."""

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
"""Lion as the search found it (Program 8), most of it without effect."""

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
"""The same after pruning, as published (Program 3): tidied by hand, so that the cosh is of another value."""

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
"""Lion (Program 4), with a rate of 1e-4 and a decay of 0.1."""

ADAGRAD_LIKE = """\
def train(w, g, v, lr):
    v = v + square(g)
    u = g / sqrt(v)
    lr = lr * 0.01
    u = u * lr
    return u, v
"""
"""A second moment that adds up: AdaGrad, which the search has found again (appendix)."""

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
"""A second moment of the gradient's distance from its mean: AdaBelief (arXiv 2010.07468), found again (appendix)."""

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
"""The search's earlier find for vision: the momentum moves before the interpolation.

Differs: the momentum is not divided by 1 - 0.999^t, for programs do not count their steps.
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

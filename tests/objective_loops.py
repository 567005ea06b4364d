"""Robust objectives as plain loops in NumPy, of a linear model, with gradients worked out by hand.

Nothing here is of the library. A method is a class only because a loop needs its variables.
"""

import numpy as np


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def cross_entropy(z, y):
    return -np.log(softmax(z)[np.arange(len(y)), y])


def through(p, d_p):
    """Return the gradient in the logits from that in the probabilities."""
    return p * (d_p - (p * d_p).sum(axis=1, keepdims=True))


class Plain:
    """Cross-entropy at targets t with weights w; the others change a part of it."""

    num_networks = 1

    def __init__(self, labels, num_classes):
        self.c, self.eye = num_classes, np.eye(num_classes)
        self.labels = np.array(labels)

    def tell(self, z, peer_z, peer, rows, step):
        return self.eye[self.labels[rows]], np.ones(len(rows)), None

    def slope(self, z, told):
        """Return the gradient of the mean objective in the logits."""
        t, w, extra = told
        size = w.sum() if w.sum() > 0 else 1.0
        return w[:, None] * self.costs(z, t) / size + self.penalty(z, extra)

    def costs(self, z, t):
        return t.sum(axis=1, keepdims=True) * softmax(z) - t

    def penalty(self, z, extra):
        return np.zeros_like(z)

    def after_epoch(self, step):
        pass


class Gce(Plain):
    q = 0.7

    def costs(self, z, t):
        p = softmax(z)
        return through(p, -t * p ** (self.q - 1))


class Sce(Plain):
    alpha, beta = 0.1, 1.0

    def costs(self, z, t):
        p = softmax(z)
        reverse = through(p, t * np.log(1e-4) * self.beta)
        return self.alpha * (p - t) + reverse


class NceRce(Plain):
    def costs(self, z, t):
        p = softmax(z)
        logs = np.log(p)
        total = logs.sum(axis=1, keepdims=True)
        own = (t * logs).sum(axis=1, keepdims=True)
        d_p = (t * total - own) / p / total**2 + t * np.log(1e-4)
        return through(p, d_p)


class Smoothing(Plain):
    s = 0.2

    def tell(self, z, peer_z, peer, rows, step):
        t = (1 - self.s) * self.eye[self.labels[rows]] + self.s / self.c
        return t, np.ones(len(rows)), None


class Bootstrapping(Plain):
    beta, hard = 0.8, True

    def tell(self, z, peer_z, peer, rows, step):
        own = self.eye[z.argmax(axis=1)] if self.hard else softmax(z)
        t = self.beta * self.eye[self.labels[rows]] + (1 - self.beta) * own
        return t, np.ones(len(rows)), None


class SoftBootstrapping(Bootstrapping):
    beta, hard = 0.9, False


class Forward(Plain):
    def costs(self, z, t):
        p = softmax(z)
        matrix = 0.7 * np.eye(self.c) + 0.3 / self.c
        given = p @ matrix
        return through(p, -(t / given) @ matrix.T)


class Elr(Plain):
    strength, decay = 3.0, 0.7

    def __init__(self, labels, num_classes):
        super().__init__(labels, num_classes)
        self.m = np.zeros((len(labels), num_classes))

    def tell(self, z, peer_z, peer, rows, step):
        p = np.clip(softmax(z), 1e-4, 1 - 1e-4)
        p = p / p.sum(axis=1, keepdims=True)
        self.m[rows] = self.decay * self.m[rows] + (1 - self.decay) * p
        return self.eye[self.labels[rows]], np.ones(len(rows)), self.m[rows]

    def penalty(self, z, m):
        p = softmax(z)
        is_free = (p > 1e-4) & (p < 1 - 1e-4)
        inner = (m * np.clip(p, 1e-4, 1 - 1e-4)).sum(axis=1, keepdims=True)
        return self.strength * through(p, -m * is_free / (1 - inner)) / len(z)


class Selc(Plain):
    start, decay = 2, 0.9

    def __init__(self, labels, num_classes):
        super().__init__(labels, num_classes)
        self.m = self.eye[self.labels]

    def tell(self, z, peer_z, peer, rows, step):
        if step >= self.start:
            self.m[rows] = self.decay * self.m[rows] + (1 - self.decay) * softmax(z)
        return self.m[rows], np.ones(len(rows)), None


class Window(Plain):
    """Keep the predictions of the last epochs."""

    length, steps_per_epoch = 2, 3

    def __init__(self, labels, num_classes):
        super().__init__(labels, num_classes)
        self.recent = np.zeros((len(labels), self.length, num_classes))

    def keep(self, z, rows, step):
        self.recent[rows, (step // self.steps_per_epoch) % self.length] = softmax(z)


class Plc(Window):
    start, delta = 2, 0.9

    def tell(self, z, peer_z, peer, rows, step):
        self.keep(z, rows, step)
        return self.eye[self.labels[rows]], np.ones(len(rows)), None

    def after_epoch(self, step):
        if step <= self.start:
            return
        f = self.recent.mean(axis=1)
        ratio = f[np.arange(len(f)), self.labels] / f.max(axis=1)
        flips = ratio < self.delta
        self.labels = np.where(flips, f.argmax(axis=1), self.labels)
        if flips.mean() < 1e-3:
            self.delta = min(self.delta + 0.1, 0.9)


class Joint(Window):
    start, length, alpha, beta = 2, 3, 1.2, 0.8

    def __init__(self, labels, num_classes):
        super().__init__(labels, num_classes)
        self.s = self.eye[self.labels]

    def tell(self, z, peer_z, peer, rows, step):
        self.keep(z, rows, step)
        return self.s[rows], np.ones(len(rows)), None

    def penalty(self, z, extra):
        p = softmax(z)
        mean = p.mean(axis=0)
        prior = through(p, np.broadcast_to(-1 / self.c / mean, p.shape)) / len(z)
        entropy = through(p, -(np.log(p) + 1)) / len(z)
        return self.alpha * prior + self.beta * entropy

    def after_epoch(self, step):
        if step > self.start:
            total = self.recent.sum(axis=1)
            self.s = total / total.sum(axis=1, keepdims=True)


def clean_posterior(losses, rounds=50, floor=5e-4):
    x = (losses - losses.min()) / (losses.max() - losses.min())
    mean = np.quantile(x, [0.25, 0.75])
    var, share = np.full(2, x.var() + floor), np.full(2, 0.5)
    density = lambda: (
        share * np.exp(-((x[:, None] - mean) ** 2) / 2 / var) / np.sqrt(2 * np.pi * var)
    )
    for _ in range(rounds):
        r = density()
        r /= r.sum(axis=1, keepdims=True)
        n = r.sum(axis=0)
        mean = (r * x[:, None]).sum(axis=0) / n
        var = (r * (x[:, None] - mean) ** 2).sum(axis=0) / n + floor
        share = n / len(x)
    r = density()
    return (r / r.sum(axis=1, keepdims=True))[:, mean.argmin()]


class CleanWeights(Plain):
    start, decay = 2, 0.9

    def __init__(self, labels, num_classes):
        super().__init__(labels, num_classes)
        self.clean = np.ones(len(labels))
        self.loss = np.full(len(labels), np.nan)

    def keep(self, z, rows):
        new, old = cross_entropy(z, self.labels[rows]), self.loss[rows]
        self.loss[rows] = np.where(np.isnan(old), new, self.decay * old + (1 - self.decay) * new)

    def tell(self, z, peer_z, peer, rows, step):
        w = np.ones(len(rows)) if step < self.start else self.clean[rows]
        self.keep(z, rows)
        return self.eye[self.labels[rows]], w, None

    def after_epoch(self, step):
        self.clean = clean_posterior(self.loss)


class DynamicBootstrapping(CleanWeights):
    def tell(self, z, peer_z, peer, rows, step):
        c = (np.ones(len(rows)) if step < self.start else self.clean[rows])[:, None]
        self.keep(z, rows)
        t = c * self.eye[self.labels[rows]] + (1 - c) * self.eye[z.argmax(axis=1)]
        return t, np.ones(len(rows)), step >= self.start

    def penalty(self, z, has_begun):
        p = softmax(z)
        d_p = np.broadcast_to(-1 / self.c / p.mean(axis=0), p.shape)
        return has_begun * through(p, d_p) / len(z)


def smallest(losses, share):
    w = np.zeros(len(losses))
    w[np.argsort(losses, kind="stable")[: max(int(share * len(losses) + 1e-4), 1)]] = 1
    return w


class SmallLosses(Plain):
    def kept(self, step):
        return 1 - 0.3 * min(step / 4, 1)

    def tell(self, z, peer_z, peer, rows, step):
        y = self.labels[rows]
        return self.eye[y], smallest(cross_entropy(peer_z, y), self.kept(step)), None


class CoTeaching(SmallLosses):
    num_networks = 2


class Jocor(SmallLosses):
    num_networks, strength = 2, 0.5

    def tell(self, z, peer_z, peer, rows, step):
        y, p, q = self.labels[rows], softmax(z), softmax(peer_z)
        apart = ((p - q) * (np.log(p) - np.log(q))).sum(axis=1)
        both = cross_entropy(z, y) + cross_entropy(peer_z, y)
        scores = (1 - self.strength) * both + self.strength * apart
        return self.eye[y], smallest(scores, self.kept(step)), q

    def slope(self, z, told):
        t, w, q = told
        p = softmax(z)
        apart = through(p, np.log(p) - np.log(q) + (p - q) / p)
        each = (1 - self.strength) * (p - t) + self.strength * apart
        return w[:, None] * each / w.sum()


class DivideMix(CleanWeights):
    num_networks, unlabeled, ramp = 2, 25.0, 3

    def tell(self, z, peer_z, peer, rows, step):
        y, p, q = self.labels[rows], softmax(z), softmax(peer_z)
        self.loss[rows] = cross_entropy(z, y)
        if step < self.start:
            return self.eye[y], np.ones(len(rows)), None
        clean = peer.clean[rows][:, None]
        refined = clean * self.eye[y] + (1 - clean) * p
        t = np.where(clean > 0.5, refined, (p + q) / 2) ** 2
        t /= t.sum(axis=1, keepdims=True)
        is_clean = clean[:, 0] > 0.5
        strength = self.unlabeled * min((step - self.start) / self.ramp, 1.0)
        return t, is_clean * 1.0, (t, ~is_clean, strength)

    def penalty(self, z, extra):
        if extra is None:
            return np.zeros_like(z)
        t, is_unlabeled, strength = extra
        p = softmax(z)
        d_p = np.broadcast_to(-1 / self.c / p.mean(axis=0), p.shape)
        prior = through(p, d_p) / len(z)
        errors = is_unlabeled[:, None] * through(p, 2 * (p - t) / self.c)
        return strength * errors / max(is_unlabeled.sum(), 1) + prior


def slope_of(method, x, w, told):
    return x.T @ method.slope(x @ w, told)


def train(kind, inputs, labels, weights, orders, *, rate, rho, alpha):
    """Train a linear model for each network by SANER on SGD; SGD where rho is 0.

    Args:
        kind: of the classes above.
        inputs: `(n, d)`.
        labels: `(n,)`.
        weights: one `(d, c)` for each network.
        orders: for each epoch the rows of its minibatches.
        rate: the learning rate.
        rho: the radius.
        alpha: SANER's strength.

    Returns:
        The weights of each network after every step.
    """
    weights = [w.copy() for w in weights]
    methods = [kind(labels, weights[0].shape[1]) for _ in weights]
    kept, step = [], 0
    for order in orders:
        for rows in order:
            x = inputs[rows]
            logits = [x @ w for w in weights]
            told = []
            for own in range(len(weights)):
                other = len(weights) - 1 - own
                told.append(
                    methods[own].tell(logits[own], logits[other], methods[other], rows, step)
                )
            for own, method in enumerate(methods):
                g = slope_of(method, x, weights[own], told[own])
                out = g
                if rho:
                    up = weights[own] + rho * g / np.linalg.norm(g)
                    g_up = slope_of(method, x, up, told[own])
                    is_shrunk = (g_up * g > 0) & (np.abs(g_up) < np.abs(g))
                    out = (1 - alpha * is_shrunk) * g_up
                weights[own] = weights[own] - rate * out
            step += 1
            kept.append([w.copy() for w in weights])
        for method in methods:
            method.after_epoch(step)
    return kept

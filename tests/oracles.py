"""The papers' update rules as plain NumPy loops: the independent half of the proof.

Every rule is written from its paper, in float64, on one flat parameter vector, and is slow on
purpose. Neither jax nor saner_jax is imported, so the library cannot agree with itself here.

Notation: ``w`` parameters, ``g`` gradient at ``w``, ``e`` perturbation, ``gs`` gradient at
``w + e`` on the same batch, or ``g`` on a step that skips the second pass. Strengths follow the
papers' equations, 0 being plain SAM; each may be a number or a function of the step index, which
counts from 0.
"""

from typing import NamedTuple

import numpy as np

# A SANER variant is the method on the right followed by SANER's mask. arXiv 2411.17132.
DAMPED = {
    "saner": "sam",
    "asaner": "asam",
    "gsaner": "gsam",
    "friendly_saner": "friendly_sam",
    "vasso_saner": "vasso",
}

# ASAM's eta and scope: arXiv 2102.11600 and SamsungLabs/ASAM @f156a68. GSAM's alpha: Table 4 of
# arXiv 2203.08065. F-SAM: nblt/F-SAM @2e2f989. VaSSO: BingcongLi/VaSSO @3524bad. SANER's alpha:
# README of lhchau/saner @07fd303. None: the paper has no default, so it must be given.
DEFAULTS = {
    "sam": {},
    "asam": {"eta": 0.01, "scaled": "weights"},
    "gsam": {"alpha": 0.01},
    "friendly_sam": {"sigma": 1.0, "decay": 0.9},
    "vasso": {"theta": 0.9},
    "saner": {"alpha": 0.5},
    "asaner": {"alpha": 0.5, "eta": 0.01, "scaled": "weights"},
    "gsaner": {"alpha": 0.5, "gsam_alpha": 0.01},
    "friendly_saner": {"alpha": 0.5, "sigma": 1.0, "decay": 0.9},
    "vasso_saner": {"alpha": 0.5, "theta": 0.9},
    "wsam": {"gamma": 0.9},  # arXiv 2305.15817
    "stable_sam": {},
    "zsharp": {"quantile": 0.95},  # arXiv 2505.02369
    "sparse_sam": {"sparsity": 0.5, "decay": 0.9},  # arXiv 2210.05177
    "sam_only": {},
    "sam_without": {},
    "look_sam": {"alpha": 0.7, "period": 5},  # arXiv 2203.02714
    "ae_sam": {"num_steps": None, "first": 1.0, "last": -1.0},  # arXiv 2304.14647
    "ncsam": {"kappa": None},  # arXiv 2601.19947
}


class Step(NamedTuple):
    """Everything one step computes, for tests that look inside it."""

    looked: bool  # whether the step took a second pass
    origin: np.ndarray  # g
    perturbation: np.ndarray  # e
    perturbed: np.ndarray  # gs, before any combination
    combined: np.ndarray  # what the base optimizer receives
    momentum: np.ndarray  # the buffer after the step
    params: np.ndarray  # w after the step


def takes_second_pass(method, t, g, moments, strengths):
    """Return whether step t takes a second pass, and the moments that the next step needs."""
    if method == "look_sam":
        # arXiv 2203.02714, algorithm 1.
        return t % strengths["period"] == 0, None
    if method == "ae_sam":
        # arXiv 2304.14647, eqs. 4 to 6, with a decay of 0.9; the first gradient starts the moments.
        square = g @ g
        mean, variance = (square, 0.0) if moments is None else moments
        mean = 0.9 * mean + 0.1 * square if t else mean
        variance = 0.9 * variance + 0.1 * (square - mean) ** 2
        share = min(t / strengths["num_steps"], 1.0)
        threshold = (1 - share) * strengths["first"] + share * strengths["last"]
        return square >= mean + threshold * np.sqrt(variance), (mean, variance)
    return True, None


def ascent_direction(method, g, memory, strengths, tensors):
    """Return the vector to climb along and what the next step has to remember."""
    if method == "friendly_sam":
        # arXiv 2403.12350: leave out the trend. The official code subtracts the average of the
        # steps before this one and then feeds it the raw gradient.
        if memory is None:
            return g, g
        decay = strengths["decay"]
        return g - strengths["sigma"] * memory, decay * memory + (1 - decay) * g
    if method == "vasso":
        # arXiv 2309.15639: climb along the average itself. theta weighs the NEW gradient.
        theta = strengths["theta"]
        d = g if memory is None else (1 - theta) * memory + theta * g
        return d, d
    if method == "sparse_sam":
        decay = strengths["decay"]
        return g, g**2 if memory is None else decay * memory + (1 - decay) * g**2
    if method == "zsharp":
        # arXiv 2505.02369: z-scores within each tensor; biases and scales are left alone.
        d = g.copy()
        for start, stop, ndim in tensors:
            part = g[start:stop]
            z = np.abs((part - part.mean()) / part.std())
            if ndim > 1:
                d[start:stop] = np.where(z >= np.quantile(z, strengths["quantile"]), part, 0.0)
        return d, None
    return g, None


def perturbation(method, d, w, is_bias, rho, strengths):
    """Return ``rho * T**2 d / ||T d||``, where T = 1 everywhere except in ASAM."""
    t = np.ones_like(w)
    if method == "asam":
        # arXiv 2102.11600 with p = 2, element-wise; the paper leaves biases unscaled.
        t = np.abs(w) + strengths["eta"]
        if strengths["scaled"] == "weights":
            t = np.where(is_bias, 1.0, t)
    norm = np.sqrt(np.sum((t * d) ** 2))
    if norm == 0.0:  # no slope, nowhere to climb
        return np.zeros_like(w)
    return rho * t**2 * d / norm


def project(e, rho):
    """Return the nearest vector of length ``rho`` at most."""
    length = np.linalg.norm(e)
    return e if length <= rho else rho * e / length


def reuse_orthogonal(g, gs, looked, v, alpha):
    """Return LookSAM's gradient, and the unit vector that the next step remembers."""
    # arXiv 2203.02714, algorithm 1: the part of gs orthogonal to g is reused on skipped steps.
    if not looked:
        return g + alpha * np.linalg.norm(g) * v, v
    orthogonal = gs - np.dot(gs, g) / np.dot(g, g) * g
    return gs, orthogonal / np.linalg.norm(orthogonal)


def is_shrunk(g, gs):
    """Return where ``0 < gs / g < 1``, both ends excluded, without dividing."""
    return (np.sign(g) == np.sign(gs)) & (gs != 0) & (np.abs(gs) < np.abs(g))


def combine(method, g, gs, strengths):
    """Return the gradient to descend along, before SANER's mask."""
    if method == "gsam" and np.any(gs):
        # arXiv 2203.08065, Algorithm 1: the ORIGIN gradient is decomposed along the perturbed one.
        orthogonal = g - np.dot(g, gs) / np.dot(gs, gs) * gs
        return gs - strengths["gsam_alpha"] * orthogonal
    if method == "wsam":
        # arXiv 2305.15817: the sharpness gs - g, weighed against the loss.
        return g + strengths["gamma"] / (1 - strengths["gamma"]) * (gs - g)
    if method == "stable_sam" and np.any(gs):
        # arXiv 2401.07250: the surrogate gradient at the length of the exact one.
        return gs * np.linalg.norm(g) / np.linalg.norm(gs)
    if method == "sam_only":  # SAM on group B, SGD on the rest
        return np.where(is_shrunk(g, gs), gs, g)
    if method == "sam_without":  # the paper's SGD-GrB
        return np.where(is_shrunk(g, gs), g, gs)
    return gs


def damp(g, combined, alpha):
    """Return SANER's ``(1 - alpha m) * combined``; m compares with the raw origin gradient."""
    return np.where(is_shrunk(g, combined), (1 - alpha) * combined, combined)


def steps(
    name,
    grad,
    w0,
    num_updates,
    *,
    learning_rate,
    momentum,
    weight_decay,
    rho,
    is_bias=None,
    tensors=(),
    noise_grad=None,
    **given,
):
    """Yield a ``Step`` per update of ``name``; ``grad`` maps (flat w, step index) to flat g.

    ``noise_grad`` is like ``grad``, on simulated wrong labels; NCSAM alone needs it. ``tensors``
    has (start, stop, number of axes) of each parameter tensor.
    """
    unknown = set(given) - set(DEFAULTS[name])
    if unknown:
        raise TypeError(f"{name} has no {sorted(unknown)}")
    method = DAMPED.get(name, name)
    w = np.array(w0, dtype=np.float64)
    buffer = np.zeros_like(w)
    memory = moments = remembered = None
    is_bias = np.zeros(w.shape, bool) if is_bias is None else is_bias

    for t in range(num_updates):
        chosen = {"rho": rho} | DEFAULTS[name] | given
        now = {key: value(t) if callable(value) else value for key, value in chosen.items()}
        if name == "gsam":  # its only strength, so the paper's alpha is GSAM's
            now["gsam_alpha"] = now["alpha"]

        g = grad(w, t)
        looked, moments = takes_second_pass(method, t, g, moments, now)
        d, memory = ascent_direction(method, g, memory, now, tensors)
        e = perturbation(method, d, w, is_bias, now["rho"], now)
        if method == "sparse_sam":
            # arXiv 2210.05177: the mask comes after the norm.
            left_alone = np.argsort(memory)[: int(now["sparsity"] * len(w))]
            e[left_alone] = 0.0
        if method == "ncsam":
            # arXiv 2601.19947: the noise gradient joins in, and the ball bounds the sum.
            e = project(e + now["kappa"] * noise_grad(w, t), now["rho"])
        gs = grad(w + e, t) if looked else g
        combined = combine(method, g, gs, now)
        if method == "look_sam":
            combined, remembered = reuse_orthogonal(g, gs, looked, remembered, now["alpha"])
        if name in DAMPED:
            combined = damp(g, combined, now["alpha"])

        # Coupled L2 decay at w and after the combination, so neither mask nor perturbation sees
        # it; then heavy ball from a zero buffer, without dampening.
        buffer = momentum * buffer + (combined + weight_decay * w)
        w = w - learning_rate * buffer
        yield Step(looked, g, e, gs, combined, buffer, w)


def run(name, grad, w0, num_updates, **settings):
    """Return the flat parameters after each step; the keywords are those of ``steps``."""
    return [step.params for step in steps(name, grad, w0, num_updates, **settings)]

"""NCSAM: look a little further along what wrong labels would pull at.

A share of each minibatch gets wrong labels on purpose, the gradient on them, ``noise_grads``, is
added to SAM's perturbation, and the sum is drawn back into the ball. A step costs three gradients,
the third on the flipped examples alone (:func:`saner_jax.objectives.weighted_mean`)::

    tx = optax.chain(ncsam(rho, smooth_ramp(0.1, num_epochs=200, steps_per_epoch=390)), base)
    flipped = simulate_flips(key, logits, labels, share=0.2)
    noise_loss = lambda p: weighted_mean(losses(p, flipped), flipped != labels)
    noise_grads = jax.grad(noise_loss)(params)
    updates, state = tx.update(grads, state, params, grad_fn=grad_fn, noise_grads=noise_grads)
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from saner_jax._core._strengths import Strength, check_strength, is_off
from saner_jax._core._trees import Mask, resolve_mask
from saner_jax.ascent import add_direction, project_to_radius, scale_to_radius
from saner_jax.step import sharpness_aware


def ncsam(
    rho: Strength, kappa: Strength, *, perturb_mask: Mask = None, metrics: bool = False
) -> optax.GradientTransformationExtraArgs:
    r"""Perturb along simulated label noise too: Noise-Compensated SAM.

    .. math:: \mathrm{out} = \nabla L(w + e), \quad
        e = \Pi_\rho(\rho \, g / \lVert g \rVert + s \, g_n)

    g: ``updates``; g_n: ``noise_grads``; s: ``kappa``; Pi: :func:`project_to_radius`.

    Args:
        rho: radius; the paper's value is 0.05. 0 is the base optimizer alone.
        kappa: how much of the noise gradient is added; 0 is SAM, and needs no ``noise_grads``.
            Published: 0.1 (CIFAR-10) and 0.3 (CIFAR-100) at 20 % noise, with
            :func:`smooth_ramp`, without which the paper's accuracy falls by 22 points.
        perturb_mask: as for :func:`sharpness_aware`; lengths run over the selected leaves.
        metrics: as for :func:`sharpness_aware`.

    Returns:
        As :func:`sharpness_aware`. ``update`` and :func:`perturbed_params` also need
        ``noise_grads``, a tree like the gradients: of the mean loss over the examples of the
        minibatch whose labels :func:`simulate_flips` changed, at the parameters and the new labels.

    Raises:
        TypeError: at update, without ``noise_grads``; for the rest see :func:`sharpness_aware`.
        ValueError: at update, for ``noise_grads`` that do not match the gradients.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from saner_jax import perturbed_params
        >>> tx, w = ncsam(rho=1.0, kappa=0.5), jnp.array([3.0, 4.0])
        >>> noise_grads = jnp.array([2.0, -1.6])  # e is [0.6, 0.8] + [1.0, -0.8], drawn back
        >>> w_up = perturbed_params(tx, w, tx.init(w), w, noise_grads=noise_grads)
        >>> [round(x, 3) for x in (w_up - w).tolist()]
        [1.0, 0.0]

    Source:
        Xu et al. 2026, arXiv 2601.19947; xujiayuxu/CBNI-NCSAM @2c8da6c train_noise_CBN.py.

    Differences:
        1. The authors' code does not project: its perturbation can be longer than rho. That is
           ``sharpness_aware(optax.chain(scale_to_radius(rho), add_direction(scale)))``.
        2. Their code's scale is the ramp times the first learning rate (0.05, whatever the
           schedule makes of it later) times a factor of 2 to 30; the paper's is the ramp times
           kappa, followed here.
        3. Their code takes the first 49 epochs with plain SGD and counts the ramp from the start
           of training. Here the ramp alone decides; ``rho`` may be a schedule too.
        4. Their code smooths the flipped labels by 0.1, and moves the running statistics of
           batch normalization in the passes for the flips; both are the caller's choice here.
    """
    edge = scale_to_radius(rho)
    if is_off(kappa):
        return sharpness_aware(edge, perturb_mask=perturb_mask, metrics=metrics)

    def select(updates: optax.Updates, params: Any = None) -> optax.Updates:
        selected = resolve_mask("ncsam", "perturb_mask", perturb_mask, params)
        keep = lambda is_selected, x: x if is_selected else jnp.zeros_like(x)
        return jax.tree.map(keep, selected, updates)

    # The noise gradient has not been masked yet, and must not count in the length.
    only_selected = optax.identity() if perturb_mask is None else optax.stateless(select)
    ascent = optax.chain(edge, add_direction(kappa), only_selected, project_to_radius(rho))
    return sharpness_aware(ascent, perturb_mask=perturb_mask, metrics=metrics)


def simulate_flips(key: jax.Array, logits: jax.Array, labels: jax.Array, share: float) -> jax.Array:
    r"""Give a share of the examples the wrong label that the model finds likeliest.

    ``int(share * n)`` examples are drawn without replacement, one after the other, with
    probabilities in proportion to q, so that unsure ones come first:

    .. math:: q_i = 1 / (1 + d_i)

    d_i: difference of the two largest logits of example i.

    Args:
        key: of the draw, such as `jax.random.key(0)`.
        logits: `(n, c)` of at least two classes, the model's at the parameters.
        labels: integers `(n,)` in [0, c), as given.
        share: of the examples to flip, in [0, 1]; static, a Python number. The paper's is near
            the noise rate up to 40 %, and below it above.

    Returns:
        The labels `(n,)`; those flipped differ from the given ones, and are the class of the
        largest other logit, the lowest one of a tie.

    Raises:
        ValueError: for a share outside [0, 1].
        TypeError: for a share that is no number, or traced.

    Limits:
        A logit of NaN counts as 0, an infinite one as the largest finite number.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> logits, labels = jnp.array([[9.0, 1.0, 2.0], [1.0, 2.0, 9.0]]), jnp.array([0, 1])
        >>> simulate_flips(jax.random.key(0), logits, labels, share=1.0).tolist()
        [2, 2]

    Source:
        Xu et al. 2026, arXiv 2601.19947.

    Differences:
        1. The authors' code flips by another rule: per cluster of features, with a rate that
           falls with the mean of d, to a class drawn uniformly.
    """
    check_strength("simulate_flips", "share", share, upper=1.0, meaning="the share flipped")
    num_examples = logits.shape[0]
    num_flipped = int(share * num_examples)
    logits = jnp.nan_to_num(jnp.asarray(logits, jnp.float32))
    largest, second = jnp.moveaxis(jax.lax.top_k(logits, 2)[0], -1, 0)
    # The k largest of log q + Gumbel noise are k draws in turn without replacement.
    keys = jax.random.gumbel(key, (num_examples,)) - jnp.log1p(largest - second)
    chosen = jax.lax.top_k(keys, num_flipped)[1]
    is_given = jax.nn.one_hot(labels, logits.shape[1], dtype=bool)
    wrong = jnp.argmax(jnp.where(is_given, -jnp.inf, logits), axis=-1).astype(labels.dtype)
    return labels.at[chosen].set(wrong[chosen])

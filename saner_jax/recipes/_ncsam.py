"""NCSAM: SAM with a perturbation that includes simulated label noise.

:func:`simulate_flips` gives a share of each minibatch wrong labels. The gradient on these examples,
``noise_grads``, is added to SAM's perturbation, and the sum is projected onto the ball. A step
costs three gradients, the third one over the flipped examples only
(:func:`saner_jax.objectives.weighted_mean`)::

    tx = optax.chain(ncsam(rho, smooth_ramp(0.1, num_epochs=200, steps_per_epoch=390)), base)
    flipped = simulate_flips(key, logits, labels, share=0.2)
    noise_loss = lambda p: weighted_mean(losses(p, flipped), flipped != labels)
    noise_grads = jax.grad(noise_loss)(params)
    updates, state = tx.update(grads, state, params, grad_fn=grad_fn, noise_grads=noise_grads)
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from saner_jax._core._strengths import Strength, check_strength, is_off
from saner_jax._core._transformations import stateless
from saner_jax._core._trees import Mask, resolve_mask
from saner_jax.ascent import add_direction, project_to_radius, scale_to_radius
from saner_jax.step import sharpness_aware


def ncsam(
    rho: Strength, kappa: Strength, *, perturb_mask: Mask = None, metrics: bool = False
) -> optax.GradientTransformationExtraArgs:
    r"""Add the gradient on simulated wrong labels to the perturbation: Noise-Compensated SAM.

    .. math:: \mathrm{out} = \nabla L(w + e), \quad
        e = \Pi_\rho(\rho \, g / \lVert g \rVert + \kappa \, n)

    w: ``params``; g: ``updates``, the gradient at w; the gradient of L: ``grad_fn``.
    n: ``noise_grads``; Pi: the projection onto the ball of radius rho, :func:`project_to_radius`.

    Args:
        rho: radius. Published: 0.05.
        kappa: multiple of the noise gradient that is added, at least 0; 0 is SAM and needs no
            ``noise_grads``. Published: a :func:`smooth_ramp` to 0.1 on CIFAR-10 and to 0.3 on
            CIFAR-100, at 20 % noise. Without the ramp the accuracy in the paper is 22 points
            lower.
        perturb_mask: as for :func:`sharpness_aware`. Lengths are over the selected leaves.
        metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, which must be the first of a chain. Its ``update`` needs
        ``params``, ``grad_fn`` and ``noise_grads``, and :func:`perturbed_params` needs
        ``noise_grads`` too. They are the gradient, at ``params``, of the mean loss over the
        examples whose labels :func:`simulate_flips` changed, with the changed labels.

    Raises:
        TypeError: at update, without ``noise_grads``, and as for :func:`sharpness_aware`.
        ValueError: at update, for ``noise_grads`` that do not match the gradients, and as for
            :func:`sharpness_aware`.

    Limits:
        At a zero g the perturbation is the projection of kappa n. If the length of the sum is not
        finite, nothing is perturbed.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from saner_jax import perturbed_params
        >>> tx, w = ncsam(rho=1.0, kappa=0.5), jnp.array([3.0, 4.0])
        >>> noise_grads = jnp.array([2.0, -1.6])  # [0.6, 0.8] + [1.0, -0.8], projected
        >>> w_up = perturbed_params(tx, w, tx.init(w), w, noise_grads=noise_grads)
        >>> [round(x, 3) for x in (w_up - w).tolist()]
        [1.0, 0.0]

    Source:
        Xu et al. 2026, arXiv 2601.19947; xujiayuxu/CBNI-NCSAM @2c8da6c train_noise_CBN.py.

    Differences:
        1. The authors' code does not project, so its perturbation can be longer than rho:
           ``sharpness_aware(optax.chain(scale_to_radius(rho), add_direction(scale)))``.
        2. In the authors' code the factor of n is the ramp times the first learning rate, 0.05,
           times a number from 2 to 30. In the paper and here it is the ramp times kappa.
        3. The authors' code trains the first 49 epochs with plain SGD, and its ramp starts with
           training. Here a schedule of ``rho`` that starts with 0 does the same.
        4. The authors' code smooths the flipped labels by 0.1, and updates the running statistics
           of batch normalization in the passes for the flips. Here the caller decides both.
    """
    edge = scale_to_radius(rho)
    if is_off(kappa):
        return sharpness_aware(edge, perturb_mask=perturb_mask, metrics=metrics)

    def select(updates: optax.Updates, state: Any, params: Any = None) -> tuple[optax.Updates, Any]:
        selected = resolve_mask("ncsam", "perturb_mask", perturb_mask, params)
        keep = lambda is_selected, x: x if is_selected else jnp.zeros_like(x)
        return jax.tree.map(keep, selected, updates), state

    # sharpness_aware masks g but not the noise gradient, which must not count in the length.
    only_selected = optax.GradientTransformation(stateless, select)
    ascent = optax.chain(edge, add_direction(kappa), only_selected, project_to_radius(rho))
    return sharpness_aware(ascent, perturb_mask=perturb_mask, metrics=metrics)


def simulate_flips(key: jax.Array, logits: jax.Array, labels: jax.Array, share: float) -> jax.Array:
    r"""Replace a share of the labels by the most likely wrong class of the model.

    The function draws ``int(share * n)`` examples without replacement, one after the other. The
    probability of example i is proportional to q_i, so examples of which the model is unsure are
    drawn more often.

    .. math:: q_i = 1 / (1 + d_i)

    d_i: the difference of the two largest logits of example i.

    Args:
        key: key of the draw, such as ``jax.random.key(0)``.
        logits: ``(n, c)``, the logits of the model at the parameters, for two classes or more.
        labels: integers ``(n,)`` in [0, c), the given labels.
        share: share of the labels to flip, in [0, 1], a Python number. In the paper it is near
            the noise rate up to a rate of 40 %, and lower than the rate above that.

    Returns:
        Labels ``(n,)`` of the dtype of ``labels``. A flipped label is the class with the largest
        logit among the classes other than the given one; in a tie, the lowest class.

    Raises:
        ValueError: for a share outside [0, 1].
        TypeError: for a share that is no number, or traced.

    Limits:
        A logit of NaN counts as 0, and an infinite logit as the largest finite number.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> logits, labels = jnp.array([[9.0, 1.0, 2.0], [1.0, 2.0, 9.0]]), jnp.array([0, 1])
        >>> simulate_flips(jax.random.key(0), logits, labels, share=1.0).tolist()
        [2, 2]

    Source:
        Xu et al. 2026, arXiv 2601.19947.

    Differences:
        1. The authors' code flips by another rule: it clusters the features, the rate of a cluster
           falls with the mean of d in it, and the new class is drawn uniformly.
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

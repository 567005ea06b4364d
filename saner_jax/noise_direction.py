"""NCSAM: look a little further along what wrong labels would pull at.

A share of each minibatch gets wrong labels on purpose, the gradient on them, ``noise_grads``, is
added to SAM's perturbation, and the sum is drawn back into the ball. A step costs three gradients,
the third on the flipped examples alone (:func:`saner_jax.clean_split.weighted_mean`)::

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

from saner_jax._precision import global_norm, safe_ratio, scale_tree, widely
from saner_jax._strengths import Strength, check_strength, counted, is_off
from saner_jax._trees import Mask, check_like, resolve_mask
from saner_jax.balls import scale_to_radius
from saner_jax.sharpness_aware import SharpnessAware, sharpness_aware


def ncsam(
    rho: Strength, kappa: Strength, *, perturb_mask: Mask = None, metrics: bool = False
) -> SharpnessAware:
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
        As :func:`sharpness_aware`. ``update`` and ``perturb`` also need ``noise_grads``, a tree
        like the gradients: of the mean loss over the examples of the minibatch whose labels
        :func:`simulate_flips` changed, at the parameters and the new labels.

    Raises:
        TypeError: at update, without ``noise_grads``; for the rest see :func:`sharpness_aware`.
        ValueError: at update, for ``noise_grads`` that do not match the gradients.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tx, w = ncsam(rho=1.0, kappa=0.5), jnp.array([3.0, 4.0])
        >>> noise_grads = jnp.array([2.0, -1.6])  # e is [0.6, 0.8] + [1.0, -0.8], drawn back
        >>> w_up = tx.perturb(w, tx.init(w), w, noise_grads=noise_grads)
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
           batch normalisation in the passes for the flips; both are the caller's choice here.
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


def add_direction(scale: Strength) -> optax.GradientTransformationExtraArgs:
    r"""Add a multiple of another gradient to the perturbation coming in.

    .. math:: e \leftarrow e + s \, g_n

    e: ``updates``; g_n: the extra argument ``noise_grads``; s: ``scale``. As an ascent, or the
    part of one; what it adds is not limited in length, see :func:`project_to_radius`.

    Args:
        scale: in parameter units per unit of gradient, at least 0; 0 adds nothing.

    Returns:
        An Optax transformation of perturbations; its state is the count of updates, and its
        ``update`` needs ``noise_grads``.

    Raises:
        TypeError: at update, without ``noise_grads``.
        ValueError: at update, for ``noise_grads`` that do not match ``updates``.

    Limits:
        Non-finite coordinates pass to the sum, unless the scale is 0.

    Example:
        >>> import jax.numpy as jnp
        >>> tx, e = add_direction(0.5), jnp.array([1.0, 0.0])
        >>> tx.update(e, tx.init(e), noise_grads=jnp.array([2.0, -4.0]))[0].tolist()
        [2.0, -2.0]

    Source:
        Xu et al. 2026, arXiv 2601.19947: there e - Delta with Delta = -s g_n.
    """
    check_strength("add_direction", "scale", scale, meaning="0 adds nothing")

    def add(updates: Any, scale: Any, *, noise_grads: Any = None, **_: Any) -> optax.Updates:
        if noise_grads is None:
            raise TypeError(
                "add_direction: update needs the keyword noise_grads, the gradient on the flipped "
                "labels: tx.update(grads, state, params, grad_fn=..., noise_grads=...)."
            )
        advice = "Differentiate with respect to the same params."
        check_like(updates, noise_grads, "add_direction: noise_grads", advice)

        def add_leaf(e: jax.Array, g: jax.Array) -> jax.Array:
            step = jnp.asarray(scale, e.dtype)
            # Selected, so that a scale of 0 adds nothing whatever the gradient holds.
            return jnp.where(step == 0, e, e + step * g)

        return jax.tree.map(widely(add_leaf), updates, noise_grads)

    return counted(add, scale, when_off=lambda updates: updates)


def project_to_radius(rho: Strength) -> optax.GradientTransformationExtraArgs:
    r"""Draw a perturbation back into the l2 ball, if it has left it.

    .. math:: e \leftarrow e \, \min(1, \rho / \lVert e \rVert_2)

    e: ``updates``; the norm runs over all leaves together.

    Args:
        rho: radius in parameter units, at least 0; 0 perturbs nothing.

    Returns:
        An Optax transformation of perturbations; its state is the count of updates.

    Limits:
        A length within 1e-6 of the radius counts as inside, so that what :func:`scale_to_radius`
        made passes bit for bit. Zero and non-finite perturbations give zero, and so does a norm
        whose square leaves float32. Schedules are not checked.

    Example:
        >>> import jax.numpy as jnp
        >>> tx, e = project_to_radius(5.0), jnp.array([6.0, 8.0])
        >>> tx.update(e, tx.init(e))[0].tolist(), tx.update(e / 4, tx.init(e))[0].tolist()
        ([3.0, 4.0], [1.5, 2.0])

    Source:
        Xu et al. 2026, arXiv 2601.19947.
    """
    check_strength("project_to_radius", "rho", rho, meaning="the radius; 0 perturbs nothing")

    def project(updates: optax.Updates, radius: Any, **_: Any) -> optax.Updates:
        norm = global_norm(updates)
        radius = jnp.asarray(radius, norm.dtype)
        length = jnp.where(norm <= radius * (1 + 1e-6), norm, radius)
        return scale_tree(safe_ratio(length, norm), updates)

    return counted(project, rho, when_off=optax.tree.zeros_like)


def smooth_ramp(kappa: float, *, num_epochs: float, steps_per_epoch: float) -> optax.Schedule:
    r"""Raise NCSAM's strength smoothly from 0 to ``kappa``, reached half-way, then hold it.

    .. math:: s_t = \kappa \min(1, 2 (3 - 2 t) t^2)

    t: share of the training done, the updates so far over ``num_epochs * steps_per_epoch``.

    Args:
        kappa: final strength, at least 0.
        num_epochs: length of the training, above 0; the paper's value is 200.
        steps_per_epoch: updates in an epoch, above 0.

    Returns:
        A schedule: the updates so far to the strength, for ``kappa`` of :func:`ncsam`.

    Raises:
        ValueError: for numbers out of range.
        TypeError: for other things.

    Limits:
        Holds ``kappa`` when the training goes on beyond its end.

    Example:
        >>> schedule = smooth_ramp(0.1, num_epochs=10, steps_per_epoch=10)
        >>> [round(float(schedule(count)), 4) for count in (0, 25, 50, 100, 1000)]
        [0.0, 0.0312, 0.1, 0.1, 0.1]

    Source:
        Xu et al. 2026, arXiv 2601.19947.

    Differences:
        1. The authors' code raises the strength once per epoch; here it rises with every update.
    """
    check_strength("smooth_ramp", "kappa", kappa, meaning="the final strength")
    for argument, value in (("num_epochs", num_epochs), ("steps_per_epoch", steps_per_epoch)):
        check_strength("smooth_ramp", argument, value, meaning="above 0")
        if not value > 0:
            raise ValueError(f"smooth_ramp: {argument} must be above 0, got {value:g}.")
    num_steps = num_epochs * steps_per_epoch

    def ramp(count: jax.typing.ArrayLike) -> jax.Array:
        # Beyond the end of the training the cubic falls again.
        t = jnp.minimum(jnp.asarray(count, float) / num_steps, 1.0)
        return kappa * jnp.minimum(2 * (3 - 2 * t) * t**2, 1.0)

    return ramp


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

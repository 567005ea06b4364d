"""SAM's effect on the Jacobian as two explicit penalties, for one gradient a step."""

import jax
import jax.numpy as jnp
import optax

from saner_jax._core._precision import global_dot, wide_dtype
from saner_jax._core._strengths import check_strength, is_off


def penalized_loss(
    losses: jax.Array,
    last_layer_weights: optax.Params,
    activations: jax.Array,
    *,
    weight_coefficient: jax.typing.ArrayLike,
    activation_coefficient: jax.typing.ArrayLike,
) -> jax.Array:
    r"""Add l2 penalties on the last layer and on what enters it: regularized SGD.

    .. math:: l_i \leftarrow l_i + \frac{c_w}{2} \lVert V \rVert^2
        + \frac{c_a}{2} \lVert z_i \rVert^2

    l: ``losses``; V: ``last_layer_weights``; z: ``activations``; c_w and c_a: the coefficients.
    The mean over the minibatch is the loss to differentiate.

    Flax Linen models need no change: :func:`saner_jax.models.with_penultimate` gives V
    and z beside the logits::

        forward = with_penultimate(model)

        def loss(outputs, labels):
            losses = cross_entropy(outputs.logits, labels)
            return penalized_loss(
                losses, outputs.last_layer_weights, outputs.activations,
                weight_coefficient=1e-3, activation_coefficient=1e-3,
            )

        step = make_train_step(forward, loss, tx)

    In a linear net of two layers, the step of Jacobian-SAM (radius rho, one example x with loss
    gradient g, and r the derivative of the loss by the logit) is that of this loss with
    c_a = rho r^2 / ||g|| and c_w = c_a ||x||^2, exactly. In deep nets the penalties recover much
    of SAM's gain under label noise, not all of it.

    Args:
        losses: float ``(n,)``, one per example.
        last_layer_weights: an array or a tree of them; the paper's has no biases.
        activations: float ``(n, ...)``, the input of the last layer, one entry per example.
        weight_coefficient: c_w, at least 0; 0 leaves the weights alone. A number or traced scalar.
        activation_coefficient: c_a, at least 0; 0 leaves the activations alone.

    Returns:
        ``(n,)``, float32 at least; ``losses`` itself where both coefficients are the number 0.

    Raises:
        ValueError: for a coefficient that is negative, not finite or no scalar.
        TypeError: for one that is no number.

    Limits:
        Weight decay of the base optimizer adds to c_w on the last layer. An overflowing norm makes
        the loss infinite.

    Example:
        >>> import jax.numpy as jnp
        >>> weights, activations = jnp.array([[1.0], [3.0]]), jnp.array([[2.0, 0.0], [0.0, 4.0]])
        >>> losses = jnp.array([0.5, 0.25])
        >>> penalized_loss(losses, weights, activations, weight_coefficient=0.5,
        ...                activation_coefficient=0.25).tolist()
        [3.5, 4.75]

    Source:
        Baek, Kolter and Raghunathan, ICLR 2024, arXiv 2405.03676. No code was published.

    Differences:
        1. The paper's coefficients could not be read: there are no defaults.
        2. The paper's derivation weighs each example's penalties by its r^2, which vanishes as it
           is fitted; the penalties here weigh all alike.
    """
    coefficients = {
        "weight_coefficient": weight_coefficient,
        "activation_coefficient": activation_coefficient,
    }
    for argument, value in coefficients.items():
        check_strength("penalized_loss", argument, value, meaning="0 is no penalty")
    dtype = wide_dtype(losses)
    half = lambda coefficient: jnp.asarray(coefficient, dtype) / 2
    if not is_off(weight_coefficient):
        square = global_dot(last_layer_weights, last_layer_weights)
        losses = losses.astype(dtype) + half(weight_coefficient) * square.astype(dtype)
    if not is_off(activation_coefficient):
        flat = jnp.reshape(activations, (activations.shape[0], -1)).astype(dtype)
        losses = losses.astype(dtype) + half(activation_coefficient) * jnp.sum(flat**2, axis=1)
    return losses

"""Two penalties with the effect of SAM on the Jacobian, at one gradient per step."""

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
    r"""Add l2 penalties on the weights and the input of the last layer to each loss.

    .. math:: l_i \leftarrow l_i + \frac{c_w}{2} \lVert V \rVert^2
        + \frac{c_a}{2} \lVert z_i \rVert^2

    l: ``losses``; V: ``last_layer_weights``; z: ``activations``; c_w: ``weight_coefficient``;
    c_a: ``activation_coefficient``. The loss to differentiate is the mean over the minibatch.

    For Flax Linen models, :func:`saner_jax.models.with_penultimate` returns V and z with the
    logits, without a change to the model::

        forward = with_penultimate(model)

        def loss(outputs, labels):
            losses = cross_entropy(outputs.logits, labels)
            return penalized_loss(
                losses, outputs.last_layer_weights, outputs.activations,
                weight_coefficient=1e-3, activation_coefficient=1e-3,
            )

        step = make_train_step(forward, loss, tx)

    For a linear net of two layers and one example x, the gradient of this loss equals the step of
    Jacobian-SAM exactly if c_a = rho r^2 / ||g|| and c_w = c_a ||x||^2. Here rho is SAM's radius,
    g the gradient of the loss, and r the derivative of the loss with respect to the logit. In deep
    nets the penalties recover a large part of SAM's gain under label noise.

    Args:
        losses: float ``(n,)``, one per example.
        last_layer_weights: an array or a tree of arrays. The paper's last layer has no biases.
        activations: float ``(n, ...)``, the input of the last layer for each example.
        weight_coefficient: c_w, a number or traced scalar of at least 0; 0 is no penalty.
        activation_coefficient: c_a, a number or traced scalar of at least 0; 0 is no penalty.

    Returns:
        ``(n,)``, float32 or float64; ``losses`` itself if both coefficients are the number 0.

    Raises:
        ValueError: for a coefficient that is negative, not finite or not a scalar.
        TypeError: for a coefficient that is not a number.

    Limits:
        Weight decay of the base optimizer adds to c_w on the last layer. If a norm overflows, the
        loss is infinite.

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
        1. The paper's coefficients were not accessible, so there are no defaults.
        2. The paper's derivation weights each example's penalties by its r^2, which vanishes as
           the example is fitted; here all examples have the same weight.
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

"""CA-SAM-style training: perturb along the gradient of the examples that are likely clean.

Running averages of each example's outputs and losses show which labels are likely right. The
perturbation uses the gradient of these examples alone; the step descends on all examples::

    tx = optax.chain(sam(rho), base)  # no new transformation: it perturbs along the given gradient

    def step(params, state, history, is_clean, rows):
        losses = lambda p: cross_entropy(model(p, inputs[rows]), labels[rows])
        weights = ascent_weights(is_clean, rows)
        ascent_grads = jax.grad(lambda p: weighted_mean(losses(p), weights))(params)
        grad_fn = jax.grad(lambda p: jnp.mean(losses(p)))
        updates, state = tx.update(ascent_grads, state, params, grad_fn=grad_fn)

A step needs two gradients, as many as SAM. `record_outputs` uses the logits of the first pass, so
it needs no pass of its own. `likely_clean` runs on the host once an epoch. Before its first run
`is_clean` is false everywhere, and the step is plain SAM; this is the warm-up.

With SANER's combine in `tx`, the mask compares the perturbed gradient with the gradient passed to
`update`, here that of the likely clean examples. On digits this loses most of SANER's gain.
Comparing with the whole minibatch's gradient keeps the gain, but needs a third gradient and a step
in two phases: `perturbed_params` with `ascent_grads`, then `update` with `grad_fn(params)` and the
gradient at the perturbed parameters.

Source:
    Huang, Xie and Xu, Scientific Reports 15, 2025, doi 10.1038/s41598-025-85679-8 (CA-SAM).

Differences:
    1. Only the abstract of the paper was accessible. It says that the history of the model's
       outputs splits the training set into likely clean and likely noisy examples, and that the
       clean ones give the direction of the perturbation. The averages, the rule of `likely_clean`,
       the warm-up and the descent on all examples with equal weights are choices of this library.
    2. The paper constrains the perturbation of noisy examples to agree with that of the clean
       ones; here all examples share one perturbation.
"""

import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from saner_jax._core._exporting import exportable
from saner_jax._core._precision import wide_dtype
from saner_jax._core._strengths import check_strength


@exportable
class OutputHistory(NamedTuple):
    """The running averages of a model's outputs for each of `n` training examples.

    Examples are indexed by their position in the training set.

    Attributes:
        probabilities: float32 `(n, c)`, running average of the softmax of the logits.
        losses: float32 `(n,)`, running average of the cross-entropy with the given label.
        count: int32 `(n,)`, number of averaged outputs; with 0 both averages are zero.
    """

    probabilities: jax.Array
    losses: jax.Array
    count: jax.Array


class SplitQuality(NamedTuple):
    """The precision and recall of a selection of likely clean examples, in [0, 1].

    Attributes:
        precision: share of the selected examples whose label is right; NaN if none is selected.
        recall: share of the examples with a right label that are selected; NaN if there are none.
    """

    precision: float
    recall: float


def init_history(num_examples: int, num_classes: int) -> OutputHistory:
    """Return an `OutputHistory` without outputs.

    Args:
        num_examples: number of training examples.
        num_classes: number of logits.

    Returns:
        The history. It takes `4 * num_examples * (num_classes + 2)` bytes on the device.

    Example:
        >>> init_history(5, 3).probabilities.shape
        (5, 3)
    """
    return OutputHistory(
        probabilities=jnp.zeros((num_examples, num_classes), jnp.float32),
        losses=jnp.zeros((num_examples,), jnp.float32),
        count=jnp.zeros((num_examples,), jnp.int32),
    )


def record_outputs(
    history: OutputHistory,
    rows: jax.Array,
    logits: jax.Array,
    labels: jax.Array,
    decay: jax.typing.ArrayLike = 0.9,
) -> OutputHistory:
    r"""Update the running averages of a minibatch's examples with their new outputs.

    .. math:: p_i \leftarrow \lambda p_i + (1 - \lambda) \, \mathrm{softmax}(z_i), \quad
        l_i \leftarrow \lambda l_i - (1 - \lambda) \log \mathrm{softmax}(z_i)_{y_i}

    p: `probabilities`; l: `losses`; z: `logits`; y: `labels`; lambda: `decay`, or 0 for the first
    output of an example.

    Args:
        history: the averages so far.
        rows: integers `(batch,)`, the examples' positions in the training set, each at most once,
            as in the orders of `batch_order`.
        logits: `(batch, c)`, computed at the unperturbed parameters.
        labels: integers `(batch,)`, the given labels.
        decay: weight of the old average, from 0 to 1; 0 keeps only the last output.

    Returns:
        The new history. An example whose probabilities or loss are not finite keeps its old
        averages and count. If a row occurs twice, one of its outputs counts; which one is
        undefined.

    Raises:
        ValueError: for a decay outside [0, 1].
        TypeError: for a decay that is not a number.

    Example:
        >>> history = init_history(3, 2)
        >>> for logits in ([[9.0, -9.0]], [[-9.0, 9.0]]):
        ...     history = record_outputs(
        ...         history, jnp.array([1]), jnp.array(logits), jnp.array([0]), decay=0.75)
        >>> history.probabilities.tolist()[1], history.count.tolist()
        ([0.75, 0.25], [0, 2, 0])
    """
    check_strength("record_outputs", "decay", decay, upper=1.0, meaning="the share of the past")
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
    probabilities = jnp.exp(log_probabilities)
    losses = -jnp.take_along_axis(log_probabilities, labels[:, None], axis=1)[:, 0]
    old = jax.tree.map(lambda leaf: leaf[rows], history)
    kept = jnp.where(old.count == 0, 0.0, jnp.asarray(decay, jnp.float32))
    now = OutputHistory(
        kept[:, None] * old.probabilities + (1 - kept[:, None]) * probabilities,
        kept * old.losses + (1 - kept) * losses,
        old.count + 1,
    )
    # Without this mask, one NaN would remain in every later average.
    is_usable = jnp.isfinite(losses) & jnp.all(jnp.isfinite(probabilities), axis=1)

    def put(leaf: jax.Array, old: jax.Array, now: jax.Array) -> jax.Array:
        mask = jnp.expand_dims(is_usable, tuple(range(1, now.ndim)))
        return leaf.at[rows].set(jnp.where(mask, now, old))

    return jax.tree.map(put, history, old, now)


def likely_clean(
    history: OutputHistory, labels: ArrayLike, *, threshold: float = 0.5
) -> NDArray[np.bool_]:
    r"""Select the examples whose labels are likely right, on the host.

    An example is selected if it satisfies both of two conditions:

    1. Agreement: the class with the largest average probability is the label.
    2. Low loss: the average losses are scaled to [0, 1], and two Gaussians are fitted to them. The
       example belongs to the lower Gaussian with a probability above `threshold`, or its loss is
       at most the mean of that Gaussian.

    Both conditions are required because precision matters more than recall: a selected wrong label
    turns the direction of the perturbation, while a right label that is left out only makes the
    selection smaller. Agreement alone fails as soon as wrong labels are memorized.

    Args:
        history: the averages of `n` examples.
        labels: integers `(n,)`, the given labels.
        threshold: smallest probability of the lower Gaussian, from 0 to 1. A higher threshold
            selects fewer examples.

    Returns:
        Bool `(n,)`. Examples without a finite output so far are not selected, so before the first
        epoch none is. If fewer than two examples have outputs, or all their losses are equal,
        agreement alone decides. The result is deterministic.

    Raises:
        ValueError: for a threshold outside [0, 1].
        TypeError: for a threshold that is not a number.
        ImportError: without scikit-learn.

    Limits:
        The selection works only while wrong labels are fitted later than right ones. It fails once
        everything is memorized, and is poor if the wrong class resembles the right one (pair
        noise).

    Example:
        >>> probabilities = jnp.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.0, 0.0]])
        >>> history = OutputHistory(
        ...     probabilities, jnp.array([0.1, 0.2, 1.2, 0.0]), jnp.array([5, 5, 5, 0]))
        >>> likely_clean(history, [0, 0, 1, 0]).tolist()
        [True, True, False, False]

    Source:
        Li et al., ICLR 2020, arXiv 2002.07394 (DivideMix), section 3.1, for the two Gaussians.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    check_strength("likely_clean", "threshold", threshold, upper=1.0, meaning="higher selects less")
    probabilities, losses, count = (np.asarray(leaf) for leaf in history)
    is_seen = count > 0
    is_clean = is_seen & (np.argmax(probabilities, axis=1) == np.asarray(labels))
    seen = losses[is_seen].astype(np.float64)
    if seen.size < 2 or seen.min() == seen.max():
        return is_clean
    scaled = ((seen - seen.min()) / (seen.max() - seen.min()))[:, None]
    # DivideMix's lower bound on the variances. Without it, nearly equal small losses could form a
    # narrow Gaussian of their own.
    mixture: Any = GaussianMixture(n_components=2, reg_covar=5e-4, random_state=0)
    with warnings.catch_warnings():
        # A fit that has not converged after 100 iterations is good enough to separate losses.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(scaled)
    lower = int(np.argmin(mixture.means_))
    # A wide upper Gaussian can be the more probable one even for the smallest losses.
    is_low = scaled[:, 0] <= mixture.means_[lower, 0]
    is_clean[is_seen] &= is_low | (mixture.predict_proba(scaled)[:, lower] > threshold)
    return is_clean


def ascent_weights(is_clean: ArrayLike, rows: jax.Array) -> jax.Array:
    """Return the weights of a minibatch's examples in the ascent: 1 if likely clean, else 0.

    Args:
        is_clean: bool `(n,)`, the result of `likely_clean` for the training set.
        rows: integers `(batch,)`, the examples' positions in the training set.

    Returns:
        Float32 `(batch,)`. If no example of the minibatch is likely clean, all weights are 1, and
        the step is SAM's.

    Example:
        >>> is_clean = np.array([True, False, True, False])
        >>> ascent_weights(is_clean, jnp.array([0, 1, 2])).tolist()
        [1.0, 0.0, 1.0]
        >>> ascent_weights(is_clean, jnp.array([1, 3])).tolist()
        [1.0, 1.0]
    """
    chosen = jnp.asarray(is_clean)[rows]
    return jnp.where(chosen | ~jnp.any(chosen), 1.0, 0.0)


def weighted_mean(losses: jax.Array, weights: jax.Array) -> jax.Array:
    r"""Return the weighted mean of a minibatch's losses.

    .. math:: \frac{\sum_i c_i l_i}{\sum_i c_i}

    l: `losses`; c: `weights`.

    Args:
        losses: float `(batch,)`.
        weights: `(batch,)`, bools or numbers of at least 0, for example from `ascent_weights`.

    Returns:
        A scalar, float32 or float64; 0, with gradient 0, if all weights are 0. A loss with weight
        0 has no effect, even if it is not finite.

    Example:
        >>> weighted_mean(jnp.array([1.0, 4.0, jnp.inf]), jnp.array([2.0, 1.0, 0.0])).item()
        2.0
    """
    dtype = wide_dtype(losses)
    weights = jnp.asarray(weights, dtype)
    # Zeros are selected, because 0 * inf is NaN.
    total = jnp.sum(weights * jnp.where(weights > 0, losses.astype(dtype), 0.0))
    size = jnp.sum(weights)
    return total / jnp.where(size > 0, size, 1.0)


def split_quality(is_clean: ArrayLike, is_flipped: ArrayLike) -> SplitQuality:
    """Return the precision and recall of a selection, given the truly wrong labels.

    Args:
        is_clean: bool `(n,)`, the selection.
        is_flipped: bool `(n,)`, which labels are wrong, such as `NoisyLabels.is_flipped`.

    Returns:
        Precision and recall. A random selection has the precision `1 - rate`, with `rate` the
        share of wrong labels.

    Example:
        >>> split_quality([True, True, True, False], [False, False, True, False])
        SplitQuality(precision=0.666..., recall=0.666...)
    """
    selected, right = np.asarray(is_clean, bool), ~np.asarray(is_flipped, bool)
    both = int(np.sum(selected & right))
    share = lambda size: both / int(size) if size else float("nan")
    return SplitQuality(precision=share(selected.sum()), recall=share(right.sum()))

"""CA-SAM-style training: look where the examples that are likely clean point.

Per-example averages of the model's outputs and losses tell which labels are likely right; the
perturbation is then that of their gradient alone, while the step still descends on all examples::

    tx = optax.chain(sam(rho), base)  # no new transformation: it climbs along what it is given

    def step(params, state, history, is_clean, rows):
        losses = lambda p: cross_entropy(model(p, inputs[rows]), labels[rows])
        weights = ascent_weights(is_clean, rows)
        ascent_grads = jax.grad(lambda p: weighted_mean(losses(p), weights))(params)
        grad_fn = jax.grad(lambda p: jnp.mean(losses(p)))
        updates, state = tx.update(ascent_grads, state, params, grad_fn=grad_fn)

Two gradients a step, as many as SAM. The logits of the first pass go to `record_outputs` at no
further pass, and `likely_clean` runs on the host once an epoch. Until it first has, `is_clean` is
false everywhere, which is plain SAM: that is the warm-up.

With SANER's combine in `tx`, the mask compares with the gradient passed, so with that of the
likely clean examples, which on digits costs most of SANER's gain. To compare with the whole
minibatch's, which keeps it, take the step in two phases, for a third gradient:
`perturbed_params` with `ascent_grads`, then `update` with `grad_fn(params)` and the gradient at
the perturbed parameters.

Source:
    Huang, Xie and Xu, Scientific Reports 15, 2025, doi 10.1038/s41598-025-85679-8 (CA-SAM).

Differences:
    1. Only the abstract could be read: the training set is split dynamically into likely clean and
       likely noisy examples from the history of the model's outputs, and the perturbation's
       direction comes from the clean ones. The averages, the rule of `likely_clean`, the warm-up
       and the descent on all examples with equal weights are choices made here.
    2. There, the perturbation of noisy examples is constrained to agree with that of the clean
       ones; here both share one perturbation.
"""

import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from saner_jax._core._precision import wide_dtype
from saner_jax._core._strengths import check_strength


class OutputHistory(NamedTuple):
    """Hold what the model made of each of `n` training examples, by position in the set.

    Attributes:
        probabilities: float32 `(n, c)`, moving average of the softmax of the logits.
        losses: float32 `(n,)`, moving average of the cross-entropy at the given label.
        count: int32 `(n,)`, how many outputs went into them; 0 leaves both at zero.
    """

    probabilities: jax.Array
    losses: jax.Array
    count: jax.Array


class SplitQuality(NamedTuple):
    """Hold how well a selection of likely clean examples did, in [0, 1].

    Attributes:
        precision: share of the selected examples whose label is right; NaN if none is selected.
        recall: share of the examples with a right label that are selected; NaN if there are none.
    """

    precision: float
    recall: float


def init_history(num_examples: int, num_classes: int) -> OutputHistory:
    """Start with no outputs seen.

    Args:
        num_examples: size of the training set.
        num_classes: number of logits.

    Returns:
        The history, `4 * num_examples * (num_classes + 2)` bytes on the device.

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
    r"""Move the averages of a minibatch's examples towards what the model says now.

    .. math:: p_i \leftarrow \lambda p_i + (1 - \lambda) \, \mathrm{softmax}(z_i), \quad
        l_i \leftarrow \lambda l_i - (1 - \lambda) \log \mathrm{softmax}(z_i)_{y_i}

    z: `logits`; y: `labels`; lambda: `decay`, but 0 at the first output of an example.

    Args:
        history: the averages so far.
        rows: integers `(batch,)`, the examples' positions in the training set, each at most once,
            as in the orders of `batch_order`.
        logits: `(batch, c)`, from the pass at the parameters.
        labels: integers `(batch,)`, as given.
        decay: share of the past kept, 0 to 1; 0 keeps the last output alone.

    Returns:
        The next history. An example whose probabilities or loss are not finite keeps its old
        averages and count. Of a row given twice, one output counts, and which is not defined.

    Raises:
        ValueError: for a decay outside [0, 1].
        TypeError: for a decay that is no number.

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
    # One bad batch must not poison every later average.
    is_usable = jnp.isfinite(losses) & jnp.all(jnp.isfinite(probabilities), axis=1)

    def put(leaf: jax.Array, old: jax.Array, now: jax.Array) -> jax.Array:
        mask = jnp.expand_dims(is_usable, tuple(range(1, now.ndim)))
        return leaf.at[rows].set(jnp.where(mask, now, old))

    return jax.tree.map(put, history, old, now)


def likely_clean(
    history: OutputHistory, labels: ArrayLike, *, threshold: float = 0.5
) -> NDArray[np.bool_]:
    r"""Select the examples whose labels are likely right, on the host, once an epoch.

    An example is selected if both of two views say so:

    1. Agreement: the class of its largest average probability is its label.
    2. Loss: of two Gaussians fitted to the average losses, scaled to [0, 1] by their smallest and
       largest, the lower one claims it with a probability above `threshold`, or it lies below
       that one's mean.

    Both together, because the selection should be pure: a wrong label among the selected turns
    the direction, a right one left out is only missed. Agreement alone fails first as wrong
    labels are memorized.

    Args:
        history: the averages, of `n` examples.
        labels: integers `(n,)`, as given.
        threshold: least probability of the lower Gaussian, from 0 to below 1; higher selects less.

    Returns:
        Bool `(n,)`. Examples never seen, or never with a finite loss, are not selected, so nothing
        is before the first epoch. Agreement decides alone where losses cannot: where fewer than
        two examples were seen, or all their losses are equal. The same history gives the same
        selection.

    Raises:
        ValueError: for a threshold outside [0, 1].
        TypeError: for a threshold that is no number.
        ImportError: without scikit-learn.

    Limits:
        Tells right from wrong only while wrong labels are fitted later than right ones: not after
        everything is memorized, and poorly where the wrong class looks alike (pair noise).

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
    # DivideMix's floor under the variances: near-equal small losses are no narrow class apart.
    mixture: Any = GaussianMixture(n_components=2, reg_covar=5e-4, random_state=0)
    with warnings.catch_warnings():
        # A fit that has not settled after 100 rounds is good enough to rank losses.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(scaled)
    lower = int(np.argmin(mixture.means_))
    # A wide upper Gaussian can claim both ends: the smallest losses are low all the same.
    is_low = scaled[:, 0] <= mixture.means_[lower, 0]
    is_clean[is_seen] &= is_low | (mixture.predict_proba(scaled)[:, lower] > threshold)
    return is_clean


def ascent_weights(is_clean: ArrayLike, rows: jax.Array) -> jax.Array:
    """Weigh a minibatch's examples in the ascent: 1 for the likely clean, 0 for the rest.

    Args:
        is_clean: bool `(n,)`, of the training set, such as `likely_clean` returns.
        rows: integers `(batch,)`, the examples' positions in the training set.

    Returns:
        Float32 `(batch,)`; all ones, which is SAM, where no example of the minibatch is clean.

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
    r"""Average the losses of a minibatch with a weight for each example.

    .. math:: \frac{\sum_i c_i l_i}{\sum_i c_i}

    l: `losses`; c: `weights`, of `ascent_weights` or of any other rule.

    Args:
        losses: float `(batch,)`.
        weights: `(batch,)`, bools or numbers of at least 0.

    Returns:
        A scalar, float32 at least; 0, with gradient 0, where no weight is above 0. A loss whose
        weight is 0 does not count, even one that is not finite.

    Example:
        >>> weighted_mean(jnp.array([1.0, 4.0, jnp.inf]), jnp.array([2.0, 1.0, 0.0])).item()
        2.0
    """
    dtype = wide_dtype(losses)
    weights = jnp.asarray(weights, dtype)
    # Selected, not multiplied: 0 * inf is NaN.
    total = jnp.sum(weights * jnp.where(weights > 0, losses.astype(dtype), 0.0))
    size = jnp.sum(weights)
    return total / jnp.where(size > 0, size, 1.0)


def split_quality(is_clean: ArrayLike, is_flipped: ArrayLike) -> SplitQuality:
    """Compare a selection with the true flips, where they are known.

    Args:
        is_clean: bool `(n,)`, the selection.
        is_flipped: bool `(n,)`, where labels are wrong, such as `NoisyLabels.is_flipped`.

    Returns:
        The two shares. Precision above `1 - rate`, the share of right labels, is what the
        selection adds.

    Example:
        >>> split_quality([True, True, True, False], [False, False, True, False])
        SplitQuality(precision=0.666..., recall=0.666...)
    """
    selected, right = np.asarray(is_clean, bool), ~np.asarray(is_flipped, bool)
    both = int(np.sum(selected & right))
    share = lambda size: both / int(size) if size else float("nan")
    return SplitQuality(precision=share(selected.sum()), recall=share(right.sum()))

"""Decide which labels are flipped on purpose, and flip them."""

from dataclasses import replace

import numpy as np

from saner_jax._options import Config, DataOptions, NoiseOptions
from saner_jax.data import Dataset, input_statistics
from saner_jax.data.noise import NOISE_TYPES, NoisyLabels, human, instance, record
from saner_jax.runs import LabelDraw

_BENCHMARKS = ("digits", "cifar10", "cifar100")
_RATE = 0.4


def with_noise(config: Config) -> Config:
    """Return a config in which the noise is named, with its rate.

    Args:
        config: options of a command; see `resolve_noise`.

    Returns:
        The config with the resolved noise.

    Raises:
        ValueError: for options that contradict each other.
    """
    return replace(config, noise=resolve_noise(config.noise, config.data))


def resolve_noise(options: NoiseOptions, data: DataOptions) -> NoiseOptions:
    """Return options in which the noise is named, with its rate.

    Labels are flipped only for experiments: on request, or by default on the benchmarks digits,
    cifar10 and cifar100 as long as no label file corrects them. Data of one's own keep their
    labels.

    Args:
        options: of the noise; `noise` and `rate` may be None.
        data: the options that name the dataset.

    Returns:
        The options with a noise that is not None. The rate of "none" and "file" is 0, that of
        simulated noise 0.4 if it was None.

    Raises:
        ValueError: for noise "file" without a label file, and for a rate without noise.

    Example:
        >>> resolve_noise(NoiseOptions(), DataOptions("digits")).noise
        'symmetric'
        >>> resolve_noise(NoiseOptions(), DataOptions("photos")).noise
        'none'
    """
    noise, rate = options.noise, options.rate
    if noise == "file" and data.labels_file is None:
        raise ValueError("labels_file must name the file of labels for noise file")
    if noise is None:
        is_benchmark = data.dataset in _BENCHMARKS and data.labels_file is None
        noise = "symmetric" if is_benchmark or rate else "none"
    if noise in ("none", "file"):
        if rate:
            raise ValueError(f"rate must be 0 or left out for noise {noise}, got {rate}")
        return replace(options, noise=noise, rate=0.0)
    if rate is None and not noise.startswith("human:"):
        rate = _RATE
    return replace(options, noise=noise, rate=rate)


def draw_noise(options: NoiseOptions, dataset: Dataset, seed: int) -> NoisyLabels:
    """Flip training labels as the options ask.

    Args:
        options: of the noise, as from `resolve_noise`.
        dataset: as from `load_data`.
        seed: the seed of the run. Human noise does not depend on it.

    Returns:
        The labels with their record.

    Raises:
        ValueError: for noise that is not named or does not fit the dataset, and for labels that
            cannot be read.

    Example:
        >>> from saner_jax.experiments import load_data
        >>> noisy = draw_noise(NoiseOptions("pair", 0.2), load_data(DataOptions()), seed=0)
        >>> round(noisy.rate, 2)
        0.2
    """
    labels, num_classes, noise = dataset.train_labels, len(dataset.class_names), options.noise
    if noise is None:
        raise ValueError("noise must be named, got None: resolve_noise gives the default")
    if noise in ("none", "file"):
        return record(labels, labels, np.eye(num_classes))
    if noise.startswith("human:"):
        if options.noise_dir is None:
            raise ValueError(f"noise_dir must name the folder of CIFAR-N for {noise}")
        if dataset.name not in ("cifar10", "cifar100"):
            raise ValueError(f"noise {noise} is for cifar10 and cifar100 alone")
        return human(
            labels,
            noise.removeprefix("human:"),
            dataset=dataset.name,
            folder=options.noise_dir,
            ids=dataset.train_keys.astype(np.int64),
        )
    rate = _RATE if options.rate is None else options.rate
    if noise == "instance":
        # The noise of an example depends on all of its class, so all must be in memory.
        inputs = np.asarray(dataset.train_inputs)
        if not dataset.is_images:
            mean, deviation = input_statistics(inputs)
            inputs = (inputs - mean) / np.where(deviation < 1e-12, 1, deviation)
        return instance(labels, inputs, rate, num_classes=num_classes, seed=seed)
    return NOISE_TYPES[noise](labels, rate, num_classes=num_classes, seed=seed)


def label_draw(noisy: NoisyLabels) -> LabelDraw:
    """Return the entry of results.json for the labels of one seed.

    Args:
        noisy: as from `draw_noise`.

    Returns:
        Their rate, hash and number of flipped labels.

    Example:
        >>> labels = np.array([0, 1, 1, 0], np.int32)
        >>> label_draw(record(labels, 1 - labels, np.eye(2))).flipped
        4
    """
    return LabelDraw(float(noisy.rate), noisy.label_hash, int(noisy.is_flipped.sum()))

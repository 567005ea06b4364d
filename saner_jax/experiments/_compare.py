"""Compare methods on one dataset with noisy training labels: the command `saner-jax compare`.

`prepare_comparison` refuses bad options before anything is written; `run_comparison` trains one
method after the other and keeps the run folder up to date.
"""

import dataclasses
import itertools
import os
import shutil
import time
from dataclasses import replace
from functools import partial

import numpy as np

from saner_jax import runs
from saner_jax._options import (
    CompareConfig,
    IntervalOptions,
    Method,
    RunConfig,
    TrainConfig,
    TrainOutputOptions,
)
from saner_jax.experiments._build import (
    build_loss,
    build_model,
    build_objective,
    check_pixels,
    perturbed_parameters,
)
from saner_jax.experiments._checks import check_compare
from saner_jax.experiments._examples import (
    load_data,
    write_left_out,
)
from saner_jax.experiments._many_seeds import (
    ComparisonJob,
    EpochRecord,
    initial_params,
    train_all_seeds,
)
from saner_jax.experiments._noise import draw_noise, label_draw, with_noise
from saner_jax.experiments._prepare import prepare_training
from saner_jax.experiments._run import train_to_end
from saner_jax.experiments._saved_options import options_to_json
from saner_jax.models import is_dense
from saner_jax.runs import MethodResult, Results, join_seeds, write_results
from saner_jax.training import SILENT, Diverged, Reporter, check_backend, shares


def prepare_comparison(config: CompareConfig) -> ComparisonJob:
    """Check the options, load the data, draw the noise and make the run folder, in this order.

    Args:
        config: the options.

    Returns:
        The job for `run_comparison`.

    Raises:
        ValueError: for an option out of range, a bad dataset, a model that does not fit it, a
            batch larger than the training set, or an output folder that exists or cannot be made;
            nothing is left behind.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> folder = Path(tempfile.mkdtemp(), "run")
        >>> job = prepare_comparison(CompareConfig.of(seeds=2, output_folder=folder))
        >>> [int(noisy.is_flipped.sum()) for noisy in job.noisy]
        [574, 574]
    """
    check_compare(config)
    folder, batch_size = config.output.output_folder, config.budget.batch_size
    if folder is not None and os.path.lexists(folder):
        raise ValueError(f"output_folder {str(folder)!r} exists, and is not written into")
    check_backend()
    config = with_noise(config)
    dataset = load_data(config.data)
    num_train = len(dataset.train_labels)
    if batch_size > num_train:
        raise ValueError(
            f"batch_size must be at most {num_train}, the number of training examples of"
            f" {config.data.dataset}, got {batch_size}"
        )
    check_pixels(config.model, config.inputs)
    model = build_model(config.model, dataset)
    perturbed = perturbed_parameters(config.perturbation, model, dataset)
    noisy = tuple(draw_noise(config.noise, dataset, seed) for seed in config.all_seeds)
    for name in config.all_objectives:
        options = replace(config.objective, objective=name)
        build_loss(options, dataset)
        build_objective(
            options,
            noisy,
            num_classes=len(dataset.class_names),
            epochs=config.budget.epochs,
            steps_per_epoch=num_train // batch_size,
        )
    folder = runs.make_folder(folder, "compare")
    job = ComparisonJob(config, folder, dataset, noisy, perturbed)
    try:
        write_left_out(job.folder, dataset)
    except OSError:
        shutil.rmtree(job.folder)
        raise
    return job


def run_comparison(
    job: ComparisonJob, command: str | None = None, reporter: Reporter = SILENT
) -> Results:
    """Train every method, and keep the run folder up to date.

    Args:
        job: as prepared.
        command: the command line, for the record.
        reporter: told of every evaluation, with means over the seeds that are trained at once.

    Returns:
        The results, as written to results.json.

    Raises:
        KeyboardInterrupt: on Ctrl-C, with a sentence on the results that are kept.
        OSError: when the run folder cannot be written.
    """
    began = time.perf_counter()
    config, folder = job.config, job.folder
    options = {**options_to_json(config), "output_folder": str(folder)}
    results = Results(
        config=options,
        seeds=config.all_seeds,
        noise=tuple(label_draw(noisy) for noisy in job.noisy),
        methods={},
        command=command,
        provenance=runs.provenance(),
        num_train=len(job.dataset.train_labels),
        num_test=len(job.dataset.test_labels),
        is_test_set_aside=job.dataset.is_test_set_aside,
        num_corrected=job.dataset.num_corrected,
    )
    runs.write_json(folder / "config.json", options)
    write_results(folder / "results.json", results)
    try:
        # Dense layers gain from training all seeds at once, convolutions lose by it.
        model = build_model(config.model, job.dataset)
        is_at_hand = not job.dataset.is_streamed
        at_once = is_at_hand and is_dense(model, job.dataset.train_inputs.shape[1:])
        params = initial_params(job) if at_once else None
        on_epoch = lambda name, epoch, record: reporter.show(name, epoch, *_means(record))
        for objective, method in itertools.product(config.all_objectives, config.methods):
            name = f"{objective}, {method}" if config.objectives else method
            options = replace(config.objective, objective=objective)
            one = job._replace(config=replace(config, objective=options))
            result = (
                train_all_seeds(one, method, params, partial(on_epoch, name))
                if at_once
                else _train_seed_by_seed(one, method, name, reporter)
            )
            results = replace(results, methods={**results.methods, name: result})
            write_results(folder / "results.json", results)
        results = replace(results, complete=True, seconds=time.perf_counter() - began)
        write_results(folder / "results.json", results)
    except KeyboardInterrupt:
        kept = ", ".join(results.methods) or "no method"
        raise KeyboardInterrupt(
            f"interrupted; {folder / 'results.json'} keeps the finished methods: {kept}"
        ) from None
    return results


def _means(record: EpochRecord) -> tuple[float, float, float]:
    test, train = shares(record.test), shares(record.train)
    return float(np.mean(record.loss)), float(test.accuracy.mean()), float(train.memorized.mean())


def _train_seed_by_seed(
    job: ComparisonJob, method: Method, name: str, reporter: Reporter
) -> MethodResult:
    """Train one method as many runs of `saner-jax train`, and join their results."""
    config = job.config
    by_seed: list[MethodResult | None] = []
    shared = {field.name: getattr(config, field.name) for field in dataclasses.fields(RunConfig)}
    for seed in config.all_seeds:
        options = TrainConfig(
            **shared,
            method=method,
            seed=seed,
            intervals=IntervalOptions(checkpoint_every_epochs=config.budget.epochs),
            output=TrainOutputOptions(job.folder / f"{name.replace(', ', '-')}-seed-{seed}"),
        )
        one = prepare_training(options, job.dataset)
        try:
            results = train_to_end(
                one, reporter.say, partial(reporter.show, f"{name}, seed {seed}")
            )
            by_seed.append(results.methods[method])
        except Diverged as error:
            reporter.say(f"{name}, seed {seed}: {error}")
            by_seed.append(None)
    return join_seeds(by_seed)

"""Train one model with one method, so that it can be interrupted: the command `saner-jax train`."""

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from saner_jax import runs
from saner_jax._options import (
    DeviceOptions,
    PlaceOptions,
    TrainOutputOptions,
    option_types,
    option_values,
)
from saner_jax.data import input_digest
from saner_jax.experiments._noise import label_draw
from saner_jax.experiments._prepare import TrainingJob
from saner_jax.experiments._saved_options import options_to_json
from saner_jax.runs import Results, only_writer, summarize_log, write_results
from saner_jax.training import (
    SILENT,
    Checkpoints,
    Reporter,
    Row,
    Stopped,
    confusion_on_test,
    fit_resumably,
    random_stream,
    to_evidence,
    write_evidence,
)

# Options that do not change the result of a run. The examples and labels themselves are part of a
# checkpoint's identity.
_PLACES = {
    *option_types(PlaceOptions),
    *option_types(TrainOutputOptions),
    *option_types(DeviceOptions),
}


def run_training(
    job: TrainingJob, command: str | None = None, reporter: Reporter = SILENT
) -> Results:
    """Train to the end from the newest checkpoint, if there is one.

    Keeps in the folder: config.json, model.json, metrics.jsonl (a line per epoch), checkpoints/last
    (the two newest) and checkpoints/best (the best by held-out noisy labels), and, at the end,
    results.json and history.npz (see `saner_jax.training.Evidence`).

    Args:
        job: as from `prepare_training` or `reopen_training`.
        command: the command line, for the record.
        reporter: told of every evaluation under the name of the method.

    Returns:
        The results, as written to results.json.

    Raises:
        Diverged: when the loss stops being finite.
        Stopped: on SIGINT and SIGTERM, with a sentence on the files that are kept.
        ValueError: when no checkpoint of the folder can be used though there are some, its log is
            damaged, or another process is at work on the run.
        OSError: when the run folder cannot be written.
    """
    try:
        return train_to_end(job, reporter.say, partial(reporter.show, job.config.method), command)
    except Stopped as stopped:
        raise Stopped(
            stopped.signum, f"{stopped}; saner-jax train --resume {job.folder} goes on"
        ) from None


def train_to_end(
    job: TrainingJob,
    say: Callable[[str], None],
    show: Callable[..., None],
    command: str | None = None,
) -> Results:
    """Train to the end from the newest checkpoint, and keep log and results in the folder.

    Args:
        job: as from `prepare_training` or `reopen_training`.
        say: called with lines worth telling.
        show: called after every evaluation with the epochs done, the loss, the test accuracy and
            the memorized share.
        command: the command line, for the record.

    Returns:
        The results, as written to results.json.

    Raises:
        As `run_training`.
    """
    dataset, is_main = job.dataset, job.task.mesh.is_main

    def told(row: Row) -> None:
        if "test_accuracy" in row:
            show(row["epoch"], row["loss"], row["test_accuracy"], row["memorized"])

    with only_writer(job.folder) if is_main else contextlib.nullcontext():
        last, best = checkpoints_of(job)
        fitted, rows = fit_resumably(
            job.task,
            job.progress,
            folder=job.folder,
            last=last,
            best=best,
            tensorboard=job.config.output.tensorboard,
            say=say,
            on_epoch=told,
        )
        confusion = confusion_on_test(
            job.task, fitted.progress.state, dataset.class_names, fitted.test_predictions
        )
        results = replace(_results(job, rows, fitted.best_row, command), confusion=confusion)
        if is_main:
            evidence = to_evidence(
                fitted.progress.history,
                keys=dataset.train_keys,
                hashes=dataset.train_hashes,
                class_names=dataset.class_names,
                labels=job.noisy.labels,
                true_labels=job.noisy.true_labels,
                held=job.held,
            )
            write_evidence(job.folder, evidence)
            write_results(job.folder / "results.json", results)
    return results


def checkpoints_of(job: TrainingJob, *, to_resume: bool = True) -> tuple[Checkpoints, Checkpoints]:
    """Open the checkpoints of a run.

    Args:
        job: as from `prepare_training` or `reopen_training`.
        to_resume: whether training goes on from them. Checkpoints of another stream of random
            numbers are then refused, and those of another number of devices if each device
            perturbs by itself.

    Returns:
        Those to resume from, and that of the best epoch.
    """
    options = {k: v for k, v in option_values(job.config).items() if k not in _PLACES}
    identity = {**options, "label hash": job.noisy.label_hash}
    identity["image hash"] = input_digest(job.dataset.train_inputs)
    identity["fingerprint"] = job.dataset.fingerprint
    if to_resume:
        identity["stream of random numbers"] = random_stream()
        if job.task.mesh.is_per_device:
            identity["number of devices"] = job.task.mesh.num_devices
    identity = json.loads(json.dumps(runs.plain(identity)))
    folder = job.folder / "checkpoints"
    return (
        Checkpoints(folder / "last", identity, keep=2),
        Checkpoints(folder / "best", identity, keep=1),
    )


def _results(job: TrainingJob, rows: list[Row], best: Row | None, command: str | None) -> Results:
    config, splits = job.config, job.task.splits
    num_train = len(splits.train.labels)
    seconds = float(sum(num_train / row["images_per_second"] for row in rows))
    result = summarize_log(rows, seconds=seconds)
    if best and result.final:
        chosen = {"test_accuracy_chosen": (best["test_accuracy"],)}
        result = replace(result, final={**result.final, **chosen})
    return Results(
        config={**options_to_json(config), "output_folder": str(job.folder)},
        seeds=(config.seed,),
        noise=(label_draw(job.noisy),),
        methods={config.method: result},
        complete=bool(rows) and rows[-1]["epoch"] == config.budget.epochs,
        command=command,
        provenance=runs.provenance(),
        num_train=num_train,
        num_test=len(splits.test.labels),
        is_test_set_aside=job.dataset.is_test_set_aside,
        num_corrected=job.dataset.num_corrected,
        chosen_epoch=best["epoch"] if best else None,
        seconds=seconds,
    )

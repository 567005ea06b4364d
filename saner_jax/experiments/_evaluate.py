"""Evaluate a checkpoint of a run: the command `saner-jax evaluate`."""

from pathlib import Path
from typing import NamedTuple

from saner_jax._options import DeviceOptions, PlaceOptions
from saner_jax.experiments._prepare import reopen_training as reopen
from saner_jax.experiments._run import checkpoints_of
from saner_jax.runs import Confusion
from saner_jax.training import Shares, confusion_on_test, make_predict, restored, shares


class Evaluation(NamedTuple):
    """The evaluation of a checkpoint.

    Attributes:
        step: of the checkpoint.
        shares: measured shares and loss of "train", "validation" (if examples were held out) and
            "test" (if there are test examples).
        confusion: of the test examples; None without them.
        is_test_set_aside: whether the test examples are training examples that were set aside.
    """

    step: int
    shares: dict[str, Shares]
    confusion: Confusion | None = None
    is_test_set_aside: bool = False


def evaluate_run(folder: Path, which: str, places: PlaceOptions | None = None) -> Evaluation:
    """Evaluate a checkpoint of a run: the command `saner-jax evaluate`.

    Args:
        folder: a run folder of `saner-jax train`.
        which: "last", or "best" by the held-out noisy labels.
        places: where the data are now. What it leaves as None is as in the run's own options.

    Returns:
        The evaluation.

    Raises:
        ValueError: for a folder that holds no run, or no such checkpoint that can be used.
    """
    job = reopen(folder, DeviceOptions(devices=1), places)
    if which == "best" and not len(job.task.splits.validation.labels):
        raise ValueError(
            f"{folder}: this run held out no examples, so it kept no best checkpoint; train with"
            " --validation-fraction 0.1, or evaluate the last one"
        )
    checkpoints = checkpoints_of(job, to_resume=False)[("last", "best").index(which)]
    progress, _ = restored(checkpoints, job.progress, lambda _: None)
    step = int(progress.state.step)
    parts = job.task.splits._asdict()
    predict = make_predict(job.task)
    found = {
        name: predict(progress.state, part) for name, part in parts.items() if len(part.labels)
    }
    measured = {name: shares(counts) for name, (counts, _) in found.items()}
    predicted = found["test"][1].argmax(axis=-1) if "test" in found else None
    confusion = confusion_on_test(job.task, progress.state, job.dataset.class_names, predicted)
    return Evaluation(step, measured, confusion, job.dataset.is_test_set_aside)

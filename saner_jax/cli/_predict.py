"""Predict new examples with a run, or export its model: `saner-jax predict` and `export`."""

import csv
import io

import numpy as np

from saner_jax._options import check_options
from saner_jax.cli._options import ExportConfig, PredictConfig, named_run
from saner_jax.experiments import export_run, load_run
from saner_jax.reports import plural, say
from saner_jax.runs import write_bytes


def predict(config: PredictConfig) -> None:
    """Write the predicted classes of new examples.

    Args:
        config: the options.

    Raises:
        ValueError: for a run or inputs that cannot be used, and for an output file that exists.
        OSError: when the output file cannot be written.
    """
    check_options(config)
    run = load_run(named_run(config.run), config.checkpoint)
    if config.output_file.exists():
        raise ValueError(f"output_file {str(config.output_file)!r} exists, and is not written over")
    examples = run.read(config.inputs, skip_unreadable=config.skip_unreadable)
    probabilities = run.predict(examples.inputs)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["key", "class", "probability"])
    for key, row in zip(examples.keys.tolist(), probabilities, strict=True):
        best = int(np.argmax(row))
        writer.writerow([key, run.class_names[best], f"{row[best]:.6f}"])
    write_bytes(config.output_file, text.getvalue().encode(errors="backslashreplace"))
    say(
        f"{config.output_file}: the predicted classes of {plural(len(probabilities), 'example')},"
        f" by the checkpoint of step {run.step}"
    )


def export(config: ExportConfig) -> None:
    """Write a run's model for use elsewhere.

    Args:
        config: the options.

    Raises:
        ValueError: for a run that cannot be used.
        OSError: when a file cannot be written.
    """
    check_options(config)
    folder = named_run(config.run)
    run = load_run(folder, config.checkpoint)
    for path in export_run(run, config.output_folder or folder / "export"):
        say(f"{path}: {path.stat().st_size:,} bytes")

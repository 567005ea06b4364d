"""Turn a reviewed list of suspects into a label file: the command `saner-jax relabel`."""

import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from saner_jax import runs
from saner_jax._core._numbers import check_count
from saner_jax._options import RelabelConfig
from saner_jax.data import LabelRow, format_labels, read_labels
from saner_jax.label_errors._corrected_tree import write_tree
from saner_jax.label_errors._review import decide, read_review


class Relabeled(NamedTuple):
    """The result of `relabel`.

    Attributes:
        file: the file written.
        num_labels: number of examples in it.
        num_changed: number of those that got another label, in this or an earlier review.
        num_excluded: number of those that were excluded.
        num_earlier: number of those that only the earlier review decided on.
        num_files: number of files in the new folder; None without one.
    """

    file: Path
    num_labels: int
    num_changed: int
    num_excluded: int
    num_earlier: int
    num_files: int | None = None


def relabel(config: RelabelConfig) -> Relabeled:
    """Write the labels that a reviewed suspects.csv decides on.

    Examples without a decision are not written, so that they keep the label of the dataset, even if
    the ranking judged a simulated one.

    Args:
        config: the options.

    Returns:
        The file written, and what is in it.

    Raises:
        ValueError: for an option out of range, a file that is missing or damaged, a decision that
            is none, no decision at all, an output that exists, and images that are not those that
            were ranked; nothing is written then.
        OSError: when a file cannot be written.
    """
    path = config.suspects
    if path is None:
        raise ValueError("suspects must name a reviewed suspects.csv")
    check_count("accept_top", config.accept_top, least=0)
    output = path.with_name("labels.csv") if config.output_file is None else config.output_file
    for name, place in (("output_file", output), ("apply_to", config.apply_to)):
        if place is not None and os.path.lexists(place):
            raise ValueError(f"{name} {os.fspath(place)!r} exists, and is not written over")
    listed = read_review(path)
    decided = {row.key: row for row in decide(path, listed, config.accept_top)}
    if not decided:
        raise ValueError(
            f"{path}: it decides nothing: write suggested, keep, exclude or the name of a class"
            " into the column decision, or pass accept_top"
        )
    data, earlier_file = _ranked(path.with_name("suspects.json"))
    earlier_file = config.labels_file or earlier_file
    earlier = [] if earlier_file is None else read_labels(earlier_file)
    rows = _merged(decided, earlier, {one.key for one in listed})
    num_files = None
    if config.apply_to is not None:
        images = config.images or data
        if images is None:
            raise ValueError("images must name the folder of the ranked images, for apply_to")
        num_files = write_tree(path, listed, rows, images, config.apply_to, config.apply_as)
    runs.write_bytes(output, format_labels(rows.values()))
    count = Counter(row.decision for row in rows.values())
    return Relabeled(
        output,
        num_labels=len(rows),
        num_changed=count["changed"],
        num_excluded=count["excluded"],
        num_earlier=len(rows) - len(decided),
        num_files=num_files,
    )


def _merged(
    decided: dict[str, LabelRow], earlier: list[LabelRow], listed: set[str]
) -> dict[str, LabelRow]:
    """Return the rows of both reviews by key; those of this one go before the earlier ones.

    An example that was moved between the reviews is known by its content, where its former key is
    not listed any more.
    """
    contents = {row.hash for row in decided.values() if row.hash}
    of_before = {row.key: row for row in earlier}
    rows = {
        key: row for key, row in of_before.items() if key in listed or row.hash not in contents
    } | decided
    for key, row in decided.items():
        # What was changed before is kept now; the label still differs from the dataset's.
        before = of_before.get(key)
        if row.decision == "kept" and before is not None and before.decision == "changed":
            rows[key] = row._replace(decision="changed")
    return rows


def _ranked(path: Path) -> tuple[Path | None, Path | None]:
    """Return the dataset that was ranked and the file of its labels, as suspects.json tells."""
    if not path.is_file():
        return None, None
    results = runs.SuspectsResults.read(path)
    return (
        Path(results.dataset) if results.dataset else None,
        Path(results.labels_file) if results.labels_file else None,
    )

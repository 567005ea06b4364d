"""Hand a judgment of labels to other tools, and take one of theirs."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from saner_jax._options import OtherTool
from saner_jax.label_errors._judge import LabelErrors, find_label_errors


def columns_of(
    judgment: LabelErrors, labels: ArrayLike, class_names: Sequence[str]
) -> dict[str, list[Any]]:
    """Return a judgment as columns with the names of cleanlab's Datalab.

    They go into a data frame as they are, and into a dataset of Hugging Face by `add_column`.

    Args:
        judgment: of `n` labels.
        labels: integers `(n,)`, as given.
        class_names: of the classes.

    Returns:
        `is_label_issue`, `label_score` (one less the probability that the label is wrong),
        `given_label` and `predicted_label` (the more likely of the given and the suggested one),
        each with `n` entries.

    Example:
        >>> judgment = find_label_errors([0, 1], pred_probs=[[0.9, 0.1], [0.99, 0.01]])
        >>> columns_of(judgment, [0, 1], ["cat", "dog"])["given_label"]
        ['cat', 'dog']
    """
    given = np.asarray(labels)
    names = np.array(list(class_names), object)
    predicted = np.where(judgment.is_issue, judgment.suggested, given)
    return {
        "is_label_issue": judgment.is_issue.tolist(),
        "label_score": (1 - judgment.wrong).tolist(),
        "given_label": names[given].tolist(),
        "predicted_label": names[predicted].tolist(),
    }


def from_datalab(issues: Any, class_names: Sequence[str], pred_probs: ArrayLike) -> LabelErrors:
    """Take the judgment of cleanlab's Datalab, to review it here.

    Args:
        issues: `lab.get_issues("label")`, or any mapping from the names of its columns to them.
        class_names: of the classes, in the order of the columns of `pred_probs`.
        pred_probs: `(n, c)`, by which it judged.

    Returns:
        A judgment with its flags and its order. `wrong` is one less its score, which is no
        probability. The tables and the share are estimated here, from `pred_probs`.

    Raises:
        ValueError: for columns that are missing, and a label that is no class.

    Example:
        >>> issues = {"is_label_issue": [False, True], "label_score": [0.9, 0.01],
        ...           "given_label": ["cat", "dog"], "predicted_label": ["cat", "cat"]}
        >>> found = from_datalab(issues, ["cat", "dog"], [[0.9, 0.1], [0.99, 0.01]])
        >>> found.order.tolist(), found.is_issue.tolist(), found.suggested.tolist()
        ([1, 0], [False, True], [1, 0])
    """
    wanted = ("is_label_issue", "label_score", "given_label", "predicted_label")
    lacking = [name for name in wanted if name not in issues]
    if lacking:
        raise ValueError(f"issues must have the columns {', '.join(wanted)}; {lacking[0]} is not")
    number_of = {str(name): number for number, name in enumerate(class_names)}
    label_of = {}
    for name in ("given_label", "predicted_label"):
        try:
            label_of[name] = np.array([number_of[str(label)] for label in issues[name]])
        except KeyError as error:
            raise ValueError(f"{name} has {error}, which is not in class_names") from None
    given, predicted = label_of["given_label"], label_of["predicted_label"]
    ours = find_label_errors(given, pred_probs=pred_probs)
    wrong = 1 - np.asarray(issues["label_score"], np.float64)
    return ours._replace(
        wrong=wrong,
        suggested=np.where(predicted == given, ours.suggested, predicted),
        order=np.argsort(-wrong, kind="stable"),
        is_issue=np.asarray(issues["is_label_issue"], bool),
    )


def label_studio_tasks(
    judgment: LabelErrors,
    keys: Sequence[str],
    labels: ArrayLike,
    class_names: Sequence[str],
    prefix: str = "/data/local-files/?d=",
) -> bytes:
    """Return tasks of Label Studio with the suggestions as predictions, the likeliest wrong first.

    Args:
        judgment: of `n` labels; its issues become tasks.
        keys: `(n,)`, files relative to the folder that Label Studio serves.
        labels: integers `(n,)`, as given.
        class_names: of the classes, as the choices of the project are called.
        prefix: before every file; the default is that of Label Studio's local storage.

    Returns:
        JSON to import into a project whose configuration has `<Image name="image"
        value="$image"/>` and `<Choices name="label" toName="image">`. Each task holds the given
        label and two predictions: the suggestion, with the probability that the label is wrong as
        its score, and the given label, with the rest.

    Example:
        >>> p = np.eye(2)[[0] * 9 + [1] * 10] * 0.98 + 0.01
        >>> labels = [0] * 10 + [1] * 9  # the tenth is said to be a dog
        >>> judgment = find_label_errors(labels, pred_probs=p)
        >>> keys = [f"{row}.png" for row in range(19)]
        >>> (task,) = json.loads(label_studio_tasks(judgment, keys, labels, ["cat", "dog"]))
        >>> task["data"], task["predictions"][0]["result"][0]["value"]
        ({'image': '/data/local-files/?d=9.png', 'given_label': 'cat'}, {'choices': ['dog']})

    Source:
        https://labelstud.io/guide/predictions
    """
    given = np.asarray(labels).tolist()
    suggested, wrong = judgment.suggested.tolist(), judgment.wrong.tolist()

    def prediction(label: int, score: float, version: str) -> dict[str, Any]:
        choice = {
            "from_name": "label",
            "to_name": "image",
            "type": "choices",
            "value": {"choices": [class_names[label]]},
        }
        return {"model_version": version, "score": round(score, 6), "result": [choice]}

    tasks = [
        {
            "data": {"image": f"{prefix}{keys[row]}", "given_label": class_names[given[row]]},
            "predictions": [
                prediction(suggested[row], wrong[row], "saner-jax suggestion"),
                prediction(given[row], 1 - wrong[row], "given label"),
            ],
        }
        for row in judgment.order.tolist()
        if judgment.is_issue[row]
    ]
    return json.dumps(tasks, indent=1).encode()


def coco_rows(
    judgment: LabelErrors, keys: Sequence[str], labels: ArrayLike, class_names: Sequence[str]
) -> bytes:
    r"""Return a CSV file with COCO's names for images and categories, in the order of the data.

    Args:
        judgment: of `n` labels.
        keys: `(n,)`, the file of each image.
        labels: integers `(n,)`, as given.
        class_names: of the classes; their numbers count from 1, as COCO's do.

    Returns:
        The columns image_id, file_name, category_id and category_name as given, and
        suggested_category_id, suggested_category_name, wrong_probability and is_issue.

    Example:
        >>> judgment = find_label_errors([0, 1], pred_probs=[[0.9, 0.1], [0.1, 0.9]])
        >>> coco_rows(judgment, ["a.png", "b.png"], [0, 1], ["cat", "dog"]).splitlines()[1][:24]
        b'1,a.png,1,cat,2,dog,0.00'

    Source:
        https://cocodataset.org/#format-data
    """
    given, text = np.asarray(labels), io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    columns = ("image_id", "file_name", "category_id", "category_name")
    more = ("suggested_category_id", "suggested_category_name", "wrong_probability", "is_issue")
    writer.writerow((*columns, *more))
    for row, key in enumerate(keys):
        label, suggested = int(given[row]), int(judgment.suggested[row])
        writer.writerow(
            [
                *(row + 1, key, label + 1, class_names[label]),
                *(suggested + 1, class_names[suggested], f"{judgment.wrong[row]:.6f}"),
                int(judgment.is_issue[row]),
            ]
        )
    return text.getvalue().encode()


FILES: Mapping[OtherTool, tuple[str, Any]] = {
    "label_studio": ("label_studio.json", label_studio_tasks),
    "coco": ("coco.csv", coco_rows),
}
"""The file for each tool, and the function that makes it."""

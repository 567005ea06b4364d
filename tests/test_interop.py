"""Judgments of labels in the words of other tools: cleanlab, Hugging Face, Label Studio, COCO."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_wine

from saner_jax.cli import main
from saner_jax.label_errors import columns_of, find_label_errors, from_datalab

NAMES = ["barolo", "grignolino", "barbera"]


@pytest.fixture(scope="module")
def wine():
    features, truth = load_wine(return_X_y=True)
    rng = np.random.default_rng(0)
    labels, rows = truth.copy(), rng.choice(len(truth), 30, replace=False)
    labels[rows] = (labels[rows] + 1) % 3
    return features, labels, labels != truth


# cleanlab 2.9 with pandas 3.1.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The inplace keyword")
def test_datalab_takes_our_predictions_and_we_take_its_judgment(wine):
    datalab = pytest.importorskip("cleanlab").Datalab
    features, labels, is_wrong = wine
    ours = find_label_errors(labels, features=features)
    names = [NAMES[label] for label in labels]
    # Datalab sorts the names of classes, and wants the columns in this order.
    order = np.argsort(NAMES)
    lab = datalab({"label": names}, label_name="label", verbosity=0)
    # In this process: a fork of one that has loaded JAX may hang.
    alone = {"clean_learning_kwargs": {"find_label_issues_kwargs": {"n_jobs": 1}}}
    lab.find_issues(pred_probs=ours.pred_probs[:, order], issue_types={"label": alone})
    issues = lab.get_issues("label")
    sorted_names = [NAMES[number] for number in order]
    theirs = from_datalab(issues, sorted_names, ours.pred_probs[:, order])
    assert theirs.is_issue.sum() == issues["is_label_issue"].sum()
    assert is_wrong[theirs.order[:20]].mean() > 0.9
    np.testing.assert_allclose(theirs.given_for_true.sum(axis=1), 1)
    columns = columns_of(ours, labels, NAMES)
    assert list(columns) == [name for name in issues.columns if name in columns]
    assert columns["given_label"] == list(issues["given_label"])
    with pytest.raises(ValueError, match="label_score is not"):
        from_datalab({"is_label_issue": []}, NAMES, ours.pred_probs)
    with pytest.raises(ValueError, match="'barolo', which is not in class_names"):
        from_datalab(issues, NAMES[1:], ours.pred_probs)


@pytest.mark.slow
def test_a_dataset_of_hugging_face_gets_columns(wine):
    datasets = pytest.importorskip("datasets")
    features, labels, is_wrong = wine
    found = find_label_errors(labels, features=features)
    frame = datasets.Dataset.from_dict({"label": labels.tolist()})
    for name, column in columns_of(found, labels, NAMES).items():
        frame = frame.add_column(name, column)
    flagged = frame.filter(lambda row: row["is_label_issue"])
    assert len(flagged) == found.is_issue.sum()
    assert all(row["predicted_label"] != row["given_label"] for row in flagged)
    assert is_wrong[np.array(frame["is_label_issue"])].mean() > 0.9


@pytest.mark.slow
def test_files_for_other_tools_are_written(wine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    features, labels, is_wrong = wine
    np.savez("wine.npz", train_features=features, train_labels=labels, class_names=np.array(NAMES))
    given = "--dataset wine.npz --output-folder s --also-for label_studio coco"
    assert main(["suspects", *given.split()]) == 0
    tasks = json.loads(Path("s/label_studio.json").read_text())
    record = json.loads(Path("s/suspects.json").read_text())
    assert len(tasks) == record["num_issues"] > 20
    first = tasks[0]
    suggestion, kept = first["predictions"]
    assert first["data"]["image"].startswith("/data/local-files/?d=")
    assert kept["result"][0]["value"] == {"choices": [first["data"]["given_label"]]}
    assert suggestion["result"][0]["type"] == "choices"
    assert suggestion["score"] + kept["score"] == pytest.approx(1)
    assert suggestion["score"] > 0.5
    with Path("s/coco.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["category_id"]) - 1 for row in rows] == labels.tolist()
    assert all(
        NAMES[int(row["suggested_category_id"]) - 1] == row["suggested_category_name"]
        for row in rows
    )
    assert sum(int(row["is_issue"]) for row in rows) == len(tasks)
    flagged = np.array([row["is_issue"] == "1" for row in rows])
    assert is_wrong[flagged].mean() > 0.9
    assert main(["suspects", *given.split()[:-2], "excel"]) == 2

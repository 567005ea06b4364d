r"""Discriminants of features find the wrong labels of digits and tables, in seconds.

Labels of digits, wine and breast_cancer are flipped; `find_label_errors` judges the pixels or the
columns, beside cleanlab's score of a logistic regression out of sample on the same features.

    python benchmarks/labels_are_judged_by_features.py
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from _record import ROOT, write_result
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.metrics import roc_auc_score

from saner_jax.data import load
from saner_jax.data.noise import pair, symmetric
from saner_jax.label_errors import find_label_errors


@dataclasses.dataclass(frozen=True)
class Config:
    """Flip labels, judge them, and compare with the truth."""

    seeds: int = 10
    """Draws of the flipped labels."""
    output_folder: Path = ROOT / "benchmarks" / "results"
    """Where the result goes."""


def tasks() -> dict[str, tuple[Any, Any, Any, float]]:
    """Return features, true labels, the kind of noise and its rate by name."""
    digits = load("digits")
    wine: Any = load_wine(return_X_y=True)
    cancer: Any = load_breast_cancer(return_X_y=True)
    pixels = np.asarray(digits.train_images).reshape(len(digits.train_labels), -1)
    return {
        "digits, symmetric 0.4": (pixels, digits.train_labels, symmetric, 0.4),
        "digits, pair 0.3": (pixels, digits.train_labels, pair, 0.3),
        "wine, symmetric 0.2": (*wine, symmetric, 0.2),
        "breast_cancer, symmetric 0.2": (*cancer, symmetric, 0.2),
    }


def by_cleanlab(labels: Any, features: Any) -> Any:
    """Return one less cleanlab's quality of each label, by a logistic regression out of sample."""
    from cleanlab.rank import get_label_quality_scores
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    p: Any = cross_val_predict(model, features, labels, cv=5, method="predict_proba")
    return 1 - get_label_quality_scores(labels, p)


def summary(values: list[float]) -> dict[str, float]:
    """Return mean and standard deviation."""
    return {"mean": float(np.mean(values)), "deviation": float(np.std(values, ddof=1))}


def main(config: Config) -> None:
    """Judge and write."""
    found: dict[str, Any] = {}
    for name, (features, truth, noise, rate) in tasks().items():
        ours, cleanlab, precision, errors, seconds = [], [], [], [], []
        sure: list[Any] = []
        for seed in range(config.seeds):
            labels = np.asarray(noise(truth, rate, num_classes=truth.max() + 1, seed=seed).labels)
            is_wrong = labels != truth
            began = time.perf_counter()
            judged = find_label_errors(labels, features=features)
            seconds.append(time.perf_counter() - began)
            ours.append(float(roc_auc_score(is_wrong, judged.wrong)))
            cleanlab.append(float(roc_auc_score(is_wrong, by_cleanlab(labels, features))))
            precision.append(float(is_wrong[judged.order[: is_wrong.sum()]].mean()))
            errors.append(judged.share - float(is_wrong.mean()))
            sure.append(is_wrong[(judged.wrong >= 0.8) & (judged.wrong < 0.9)])
        pooled = np.concatenate(sure)
        found[name] = {
            "auroc": summary(ours),
            "auroc_of_cleanlab": summary(cleanlab),
            "precision": summary(precision),
            "share_less_truth": summary(errors),
            "called_80_to_90_percent_wrong": len(pooled),
            "wrong_of_those": float(pooled.mean()) if len(pooled) else float("nan"),
            "seconds": summary(seconds),
        }
    told = "; ".join(
        f"{name}: AUROC {100 * one['auroc']['mean']:.1f} ± {100 * one['auroc']['deviation']:.1f}"
        f" (cleanlab of a logistic regression {100 * one['auroc_of_cleanlab']['mean']:.1f}),"
        f" share {100 * one['share_less_truth']['mean']:+.1f} points off"
        for name, one in found.items()
    )
    headline = f"{told}; {config.seeds} seeds"
    write_result(__file__, config.output_folder, headline, {"seeds": config.seeds, "tasks": found})


if __name__ == "__main__":
    main(tyro.cli(Config))

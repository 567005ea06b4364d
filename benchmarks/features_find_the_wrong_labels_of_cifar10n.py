r"""Pretrained features find the wrong labels of CIFAR-10N in minutes, without a training.

10,000 training images and three sets of human labels: `find_label_errors` on the features of
EfficientNet-Lite0, beside cleanlab's Datalab on the same features and predictions out of sample by
logistic regression, as its tutorials have them.

    python benchmarks/features_find_the_wrong_labels_of_cifar10n.py \
        --data-dir ../shared/data/tfds --noise-dir ../shared/data/cifar_n
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from _record import ROOT, write_result

from saner_jax.experiments import DataOptions, NoiseOptions, draw_noise, load_data
from saner_jax.label_errors import find_label_errors
from saner_jax.models import features

KINDS = ("worse", "random1", "aggre")


@dataclasses.dataclass(frozen=True)
class Config:
    """Compute features once, and judge three sets of labels."""

    data_dir: Path
    """Folder of TensorFlow Datasets with a prepared cifar10."""
    noise_dir: Path
    """Folder with the files of CIFAR-N."""
    images: int = 10000
    """Training images, the first ones."""
    image_size: int = 224
    """Side to which they are brought."""
    cleanlab: bool = True
    """Whether to judge by cleanlab too; its logistic regression takes minutes."""
    output_folder: Path = ROOT / "benchmarks" / "results"
    """Where the result goes."""


def quality(is_wrong: Any, score: Any) -> dict[str, float]:
    """Return AUROC, and the precision among as many examples as are wrong."""
    from sklearn.metrics import roc_auc_score

    top = np.argsort(-score)[: is_wrong.sum()]
    return {
        "auroc": float(roc_auc_score(is_wrong, score)),
        "precision": float(is_wrong[top].mean()),
    }


def by_neighbors(labels: Any, computed: Any, number: int = 20) -> Any:
    """Return the shares of the labels of the nearest others, as predictions."""
    from sklearn.neighbors import NearestNeighbors

    scaled = (computed - computed.mean(axis=0)) / np.maximum(computed.std(axis=0), 1e-12)
    nearest = NearestNeighbors(n_neighbors=number).fit(scaled).kneighbors(return_distance=False)
    votes = np.eye(labels.max() + 1)[labels[nearest]].sum(axis=1)
    return (votes + 0.1) / (votes + 0.1).sum(axis=1, keepdims=True)


def by_cleanlab(labels: Any, computed: Any) -> tuple[Any, float]:
    """Return Datalab's score of each label, the larger the more likely wrong, and its share."""
    from cleanlab import Datalab
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # Of 0.1, 0.3 and 1 as the weight of half the squared weights beside the mean loss, the middle
    # one ranked best on the labels called worse.
    strength = 1 / (0.3 * 0.8 * len(labels))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=200))
    p: Any = cross_val_predict(model, computed, labels, cv=5, method="predict_proba")
    lab = Datalab({"label": labels}, label_name="label", verbosity=0)
    lab.find_issues(pred_probs=p, features=computed, issue_types={"label": {}})
    issues = lab.get_issues("label")
    scores, flags = (np.asarray(issues[name]) for name in ("label_score", "is_label_issue"))
    return 1 - scores, float(flags.mean())


def main(config: Config) -> None:
    """Judge and write."""
    dataset = load_data(DataOptions(dataset="cifar10", data_dir=config.data_dir))
    rows = slice(0, config.images)
    began = time.perf_counter()
    computed = features(dataset.train_images[rows], image_size=config.image_size)
    seconds = time.perf_counter() - began
    found: dict[str, Any] = {}
    for kind in KINDS:
        noise = NoiseOptions(f"human:{kind}", noise_dir=config.noise_dir)  # type: ignore[arg-type]
        noisy = draw_noise(noise, dataset, 0)
        labels, is_wrong = noisy.labels[rows], noisy.is_flipped[rows]
        truth = noisy.true_labels[rows]
        began = time.perf_counter()
        ours = find_label_errors(labels, features=computed)
        sure = (ours.wrong >= 0.8) & (ours.wrong < 0.9)
        found[kind] = {
            "wrong": float(is_wrong.mean()),
            **quality(is_wrong, ours.wrong),
            "share": ours.share,
            "interval": ours.interval,
            "suggestions_right": float((ours.suggested == truth)[is_wrong].mean()),
            "wrong_of_those_80_to_90_percent_sure": float(is_wrong[sure].mean()),
            "seconds": time.perf_counter() - began,
        }
        voted = find_label_errors(labels, pred_probs=by_neighbors(labels, computed))
        found[kind]["neighbors"] = quality(is_wrong, voted.wrong)
        if config.cleanlab:
            score, share = by_cleanlab(labels, computed)
            found[kind]["cleanlab"] = {**quality(is_wrong, score), "share": share}
    told = "; ".join(
        f"{kind}: AUROC {100 * one['auroc']:.1f}, precision {100 * one['precision']:.1f},"
        f" {100 * one['share']:.0f} of {100 * one['wrong']:.0f} % counted"
        for kind, one in found.items()
    )
    headline = f"{told}; {config.images:,} images, {seconds:.0f} s for their features"
    headline += "; by the vote of 20 neighbors: AUROC " + ", ".join(
        f"{100 * one['neighbors']['auroc']:.1f}" for one in found.values()
    )
    result = {
        "images": config.images,
        "image_size": config.image_size,
        "seconds_of_features": seconds,
        "labels": found,
    }
    write_result(__file__, config.output_folder, headline, result)


if __name__ == "__main__":
    main(tyro.cli(Config))

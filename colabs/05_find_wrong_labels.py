# %% [markdown]
# [![Open in Colab][badge]][notebook]
#
# [badge]: https://colab.research.google.com/assets/colab-badge.svg
# [notebook]: https://colab.research.google.com/github/saner-jax/saner_jax/blob/main/colabs/05_find_wrong_labels.ipynb
#
# # Find the wrong labels
#
# How many labels of a dataset are wrong, which, and what are they instead? `saner-jax suspects`
# judges every label by examples that it was not learned from. The data below stand for data of
# your own: a file of digits, of which 40 % have a wrong label. Here the right labels are known, so
# it can be measured how many are found, and how much is gained by training on the corrections.

# %%
# Install the library where it is missing, as in Colab; elsewhere this cell does nothing.
import importlib.util
import subprocess
import sys
from pathlib import Path

if importlib.util.find_spec("saner_jax") is None:
    # JAX and the plugin of an accelerator must be of one version, so they are upgraded together.
    plugins = {"libtpu": "tpu", "jax_cuda12_plugin": "cuda12", "jax_cuda13_plugin": "cuda13"}
    needed = [f"jax[{kind}]" for name, kind in plugins.items() if importlib.util.find_spec(name)]
    # A wheel beside this notebook, or else the repository.
    wheels = sorted(Path().glob("saner_jax-*.whl"))
    repository = "git+https://github.com/saner-jax/saner_jax"
    needed.append(f"saner-jax[train] @ {wheels[-1].resolve().as_uri() if wheels else repository}")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-U", *needed], check=True)

# %%
# Settings. The tests run each notebook in seconds, with SANER_JAX_SMOKE=1 in the environment.
import os

SMOKE = os.environ.get("SANER_JAX_SMOKE") == "1"
EPOCHS = 15 if SMOKE else 60
SEEDS = 2 if SMOKE else 3
METHODS = ("sgd",) if SMOKE else ("sgd", "sam", "saner")
RATE = 0.4

# %%
import csv
import json
import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import roc_auc_score

from saner_jax import cli, data
from saner_jax.data import noise
from saner_jax.runs import read_results

FOLDER = Path("runs") / time.strftime("find_wrong_labels-%Y%m%d-%H%M%S")


def saner(*arguments):
    """Run the command line `saner-jax`, here without leaving Python."""
    assert cli.main([str(argument) for argument in arguments]) == 0


# %% [markdown]
# ## The data
#
# An .npz of images and labels, with an identifier for each training image: label files and reports
# use it.

# %%
digits = data.load("digits")
noisy = noise.symmetric(digits.train_labels, RATE, num_classes=10, seed=0)
ids = np.array([f"scan-{number:04}" for number in range(len(noisy.labels))])
OWN = FOLDER / "own.npz"
FOLDER.mkdir(parents=True)
np.savez(
    OWN,
    train_images=digits.train_images,
    train_labels=noisy.labels,
    train_ids=ids,
    test_images=digits.test_images,
    test_labels=digits.test_labels,
)

# %% [markdown]
# ## Judge
#
# One command, and no option but the data. It takes the features that predict the labels best: here
# the pixels; for photographs, with `saner-jax[pretrained]`, those of a net trained on ImageNet.

# %%
saner("suspects", "--dataset", OWN, "--output-folder", FOLDER / "suspects")

# %% [markdown]
# The estimate, with its interval, which a person with an own dataset would go by:

# %%
found = json.loads((FOLDER / "suspects" / "suspects.json").read_text())
low, high = found["wrong_share_interval"]
print(f"{found['wrong_share']:.1%} of the labels are wrong, between {low:.1%} and {high:.1%}")

# %% [markdown]
# The most suspicious ones, with the label given and the one suggested:

# %%
plt.figure(figsize=(12, 8))
plt.imshow(plt.imread(FOLDER / "suspects" / "suspects.png"))
plt.axis("off")
plt.show()

# %% [markdown]
# ## Review
#
# `review.html` in the same folder shows the suspects beside images of the suggested class. It
# works offline, with the keyboard: K keeps a label, S takes the suggestion, O opens the other
# classes, X excludes an example. A button downloads `reviewed.csv`. The column `is_issue` says
# where a review may end. Here every such suggestion is taken, as a reviewer in a hurry would.

# %%
with (FOLDER / "suspects" / "suspects.csv").open(newline="") as file:
    rows = list(csv.DictReader(file))
reviewed = FOLDER / "reviewed.csv"
with reviewed.open("w", newline="") as file:
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    for row in rows:
        writer.writerow(row | {"decision": "suggested" if row["is_issue"] == "yes" else ""})

# %% [markdown]
# `relabel` writes the decided labels, by key and with a hash of each image. The data stay as they
# are. (For a folder of images, `--apply-to` copies them into a corrected tree.)

# %%
accepted = FOLDER / "labels.csv"
saner("relabel", reviewed, "--output-file", accepted)

# %% [markdown]
# ## Measure, by the known truth

# %%
column = lambda name: np.array([row[name] for row in rows])
given, suggested = column("given_name").astype(int), column("suggested_name").astype(int)
row_of = {key: row for row, key in enumerate(ids.tolist())}
truth = digits.train_labels[[row_of[row["key"]] for row in rows]]
is_wrong, is_issue = given != truth, column("is_issue") == "yes"
relabelled = np.where(is_issue, suggested, given)
precision, recall = is_wrong[is_issue].mean(), is_issue[is_wrong].mean()
auroc = roc_auc_score(is_wrong, column("wrong_probability").astype(float))
print(f"{is_wrong.sum()} of {len(rows)} labels are wrong; {is_issue.sum()} are called wrong")
print(f"precision {precision:.1%}, recall {recall:.1%}, AUROC {auroc:.4f}")
print(f"wrong labels before: {is_wrong.sum()}, after: {(relabelled != truth).sum()}")
print(f"right labels that became wrong: {(~is_wrong & (relabelled != truth)).sum()}")

# %% [markdown]
# The estimate was 40.5 %, and 574 of 1,437 (39.9 %) are wrong. Of the 582 that are called wrong,
# 566 are; 8 wrong ones were missed. After the review 38 labels are wrong: those 8, 16 right ones
# that were changed, and 14 that got another wrong class.
#
# ## Train again, and compare
#
# The methods on the labels as given, on the new labels, and on the true ones, which are what
# can be had at best. The seeds are those of the initial parameters and the order; the labels stay
# the same.

# %%
labels = {
    "given": ("--dataset", OWN),
    "new": ("--dataset", OWN, "--labels-file", accepted),
    "true": ("--dataset", "digits", "--noise", "none"),
}
accuracies = {}
for name, options in labels.items():
    folder = FOLDER / name
    budget = ("--methods", *METHODS, "--epochs", EPOCHS, "--seeds", SEEDS)
    saner("compare", *options, *budget, "--output-folder", folder)
    for method, result in read_results(folder / "results.json").methods.items():
        accuracies[name, method] = np.array(result.final["test_accuracy_last"])

# %%
print(f"test accuracy after the last epoch, %, mean ± standard deviation over {SEEDS} seeds")
print("labels " + "".join(f"{method:>14}" for method in METHODS))
for name in labels:
    cells = (100 * accuracies[name, method] for method in METHODS)
    print(f"{name:<7}" + "".join(f"{f'{a.mean():.1f} ± {a.std(ddof=1):.1f}':>14}" for a in cells))

# %% [markdown]
# On a CPU:
#
# | labels | SGD | SAM | SANER |
# |---|---|---|---|
# | given | 79.7 ± 1.2 | 85.7 ± 0.6 | 90.5 ± 0.8 |
# | new | 95.6 ± 0.0 | 95.6 ± 0.2 | 95.6 ± 0.4 |
# | true | 97.5 ± 0.3 | 97.8 ± 0.0 | 97.8 ± 0.0 |
#
# Most of the loss is won back, not all. On the new labels the methods are alike: the wrong ones
# that are left are those that a model believes.
#
# It is one draw of noise, symmetric and easy to find, on small images. On photographs the judge is
# less sure: see [results](../benchmarks/README.md).

"""Two command lines for the help of each command."""

EXAMPLES = {
    "train": (
        "saner-jax train --dataset photos --validation-fraction 0.1",
        "saner-jax train --preset saner-cifar10 --data-dir data --epochs 100",
    ),
    "evaluate": (
        "saner-jax evaluate runs/train-20261121-101500",
        "saner-jax evaluate runs/train-20261121-101500 --checkpoint best",
    ),
    "predict": (
        "saner-jax predict runs/train-20261121-101500 new_photos",
        "saner-jax predict runs/train-20261121-101500 new.csv --output-file classes.csv",
    ),
    "export": (
        "saner-jax export runs/train-20261121-101500",
        "saner-jax export runs/train-20261121-101500 --output-folder model --checkpoint best",
    ),
    "compare": (
        "saner-jax compare --seeds 5",
        "saner-jax compare --dataset photos --noise symmetric --rate 0.2",
    ),
    "suspects": (
        "saner-jax suspects --dataset photos",
        "saner-jax suspects runs/train-20261121-101500",
    ),
    "relabel": (
        "saner-jax relabel reviewed.csv --apply-to photos-mended",
        "saner-jax relabel suspects.csv --accept-top 100 --output-file labels.csv",
    ),
    "report": (
        "saner-jax report runs/train-20261121-101500",
        "saner-jax report runs/compare-1 runs/compare-2 --output-file both.html",
    ),
    "explain": (
        "saner-jax explain",
        "saner-jax explain --seeds 5 --output-folder theory",
    ),
    "data check": (
        "saner-jax data check photos",
        "saner-jax data check photos --image-size 224 --output-file found.json",
    ),
    "data prepare": (
        "saner-jax data prepare --dataset cifar10 --data-dir data",
        "saner-jax data prepare --archive cifar-10-binary.tar.gz",
    ),
    "data show": (
        "saner-jax data show digits --noise pair --rate 0.3",
        "saner-jax data show photos --noise symmetric --picture flipped.png",
    ),
}
"""By the name of the command."""

PRESET_HELP = "Start from the options of a paper's set-up"
"""The help of the one option that is no field of a config."""

COMMON = (
    *(
        "dataset",
        "features",
        "labels_file",
        "image_size",
        "model",
        "method",
        "methods",
        "rho",
        "alpha",
    ),
    *("epochs", "batch_size", "learning_rate", "validation_fraction"),
    *("seed", "seeds", "output_folder", "resume"),
)
"""The options that the help of a command with many of them shows first, in this order."""

"""Open a trained run without its data: predict new examples, and export the model."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from saner_jax._options import TrainConfig
from saner_jax.data import ImageOptions, Inputs, Unlabeled, read_unlabeled
from saner_jax.experiments._build import model_of
from saner_jax.experiments._prepare import read_options
from saner_jax.models import forward_of
from saner_jax.runs import write_bytes
from saner_jax.training import (
    Checkpoints,
    Preprocessing,
    mean_prediction,
    probabilities_of,
    restored,
)


class TrainedRun(NamedTuple):
    """The model of a run, with what it needs to predict.

    Attributes:
        config: the options of the run.
        class_names: the names of the classes, in the order of the logits.
        feature_names: the columns of the table that the run was trained on; empty for other data.
        input_shape: of one example.
        is_images: whether the examples are images; otherwise they are features.
        step: of the checkpoint.
        params: the parameters.
        statistics: the arrays that the model keeps beside them.
        preprocessing: from the inputs of examples to those of the model.
        logits: the compiled prediction: inputs `(n, ...)` to logits `(n, classes)`.
    """

    config: TrainConfig
    class_names: tuple[str, ...]
    feature_names: tuple[str, ...]
    input_shape: tuple[int, ...]
    is_images: bool
    step: int
    params: Any
    statistics: Any
    preprocessing: Preprocessing
    logits: Callable[[Any], jax.Array]

    def predict(self, inputs: ArrayLike | Inputs) -> NDArray[np.float32]:
        """Return the probability of each class.

        Args:
            inputs: `(n, ...)`: uint8 images, or features.

        Returns:
            float32 `(n, classes)`; rows sum to 1.

        Raises:
            ValueError: for inputs of another shape or kind than those of the training.
        """
        array: Any = inputs if hasattr(inputs, "dtype") else np.asarray(inputs)
        if array.ndim < 1 or tuple(array.shape[1:]) != self.input_shape:
            raise ValueError(
                f"inputs must be (n, {', '.join(map(str, self.input_shape))}) as in the training,"
                f" got {tuple(array.shape)}"
            )
        if (array.dtype == np.uint8) != self.is_images:
            kind = "uint8 images" if self.is_images else "features of floating-point numbers"
            raise ValueError(f"inputs must be {kind} as in the training, got {array.dtype}")
        return probabilities_of(self.logits, array, len(self.class_names))

    def as_nnx(self) -> Any:
        """Return the model as a Flax NNX module in evaluation mode, to edit or to train on.

        Returns:
            A module of `saner_jax.models.nnx` with the parameters and statistics of the checkpoint.
            It takes what `preprocessing` returns.

        Raises:
            ValueError: for a run of two networks.
        """
        if isinstance(self.params, tuple):
            raise ValueError("as_nnx is for runs of one network, and this one has two")
        from flax import nnx

        from saner_jax.models.nnx import as_nnx, load_linen

        linen = model_of(self.config.model, len(self.class_names))
        model = as_nnx(linen, self.input_shape, rngs=nnx.Rngs(0))
        load_linen(model, {"params": self.params, **self.statistics})
        model.eval()
        return model

    def read(self, sources: Sequence[Path], *, skip_unreadable: bool = False) -> Unlabeled:
        """Read new examples as those of the training were read.

        Args:
            sources: see `saner_jax.data.read_unlabeled`.
            skip_unreadable: whether to go on without image files that cannot be read.

        Returns:
            The examples.

        Raises:
            ValueError: for examples that are missing or of another kind.
        """
        data = self.config.data
        options = ImageOptions(data.image_size, data.image_fit, skip_unreadable)
        # The mean of each feature stands for a missing one, as in the training.
        fill = None if self.is_images else self.preprocessing.shift.reshape(self.input_shape)
        return read_unlabeled(
            sources,
            is_images=self.is_images,
            feature_names=self.feature_names,
            fill=fill,
            options=options,
        )


def load_run(folder: Path | str, which: str = "last") -> TrainedRun:
    """Open a run of `saner-jax train` to predict new examples; its data are not needed.

    Args:
        folder: the run folder.
        which: the checkpoint, "last", or "best" by the held-out noisy labels.

    Returns:
        The model.

    Raises:
        ValueError: for a folder that holds no run, or no such checkpoint that can be used.
    """
    folder = Path(folder)
    config, about = read_options(folder), _read_about(folder / "model.json")
    place = folder / "checkpoints" / which
    if which not in ("last", "best"):
        raise ValueError(f"checkpoint must be one of last, best, got {which!r}")
    if not place.is_dir() or not any(place.iterdir()):
        remedy = (
            "it held out no examples; train with --validation-fraction 0.1, or take the last one"
            if which == "best"
            else "it has trained no epoch"
        )
        raise ValueError(f"{folder}: the run has no {which} checkpoint: {remedy}")
    tree, _ = restored(Checkpoints(place, {}, keep=2), None, lambda _: None)
    params, statistics = tree["state"]["params"], tree["state"]["statistics"]
    step = int(tree["state"]["step"])
    model = model_of(config.model, len(about["class_names"]))
    is_pair = not isinstance(params, dict)
    forward = mean_prediction(forward_of(model)) if is_pair else forward_of(model)
    preprocessing = Preprocessing(
        np.array(about["shift"], np.float32), np.array(about["scale"], np.float32)
    )
    if is_pair:
        # A checkpoint read without its structure has lists for pairs.
        params, statistics = tuple(params), tuple(kept or {} for kept in statistics or ({}, {}))
    params, statistics = jax.tree.map(jnp.asarray, (params, statistics or {}))

    def logits(inputs: Any) -> jax.Array:
        return forward(params, statistics, preprocessing(inputs), train=False)[0]

    return TrainedRun(
        config,
        tuple(about["class_names"]),
        tuple(about["feature_names"]),
        tuple(about["input_shape"]),
        about["is_images"],
        step,
        params,
        statistics,
        preprocessing,
        jax.jit(logits),
    )


def export_run(run: TrainedRun, folder: Path) -> list[Path]:
    """Write the model as a program and as arrays, for use without saner_jax and Flax.

    Args:
        run: as from `load_run`.
        folder: made if it does not exist.

    Returns:
        The files: model.stablehlo, which `jax.export.deserialize` reads, takes inputs `(n, ...)` of
        any n and returns logits; parameters.npz, with an array for each parameter and statistic by
        its path; and classes.json, with class names, input shape, shift and scale.

    Raises:
        OSError: if a file cannot be written.
    """
    from jax import export

    (number,) = export.symbolic_shape("n")
    dtype = np.uint8 if run.is_images else np.float32
    spec = jax.ShapeDtypeStruct((number, *run.input_shape), dtype)
    program = export.export(jax.jit(run.logits), platforms=("cpu", "cuda", "tpu"))(spec)
    arrays: dict[str, Any] = {
        f"{kind}.{jax.tree_util.keystr(path, simple=True, separator='.')}": np.asarray(leaf)
        for kind, tree in (("params", run.params), ("statistics", run.statistics))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    file = io.BytesIO()
    np.savez(file, **arrays)
    classes = {
        "class_names": run.class_names,
        "feature_names": run.feature_names,
        "input_shape": run.input_shape,
        "is_images": run.is_images,
        "shift": run.preprocessing.shift.tolist(),
        "scale": run.preprocessing.scale.tolist(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "model.stablehlo": bytes(program.serialize()),
        "parameters.npz": file.getvalue(),
        "classes.json": json.dumps(classes, indent=1).encode(),
    }
    for name, content in contents.items():
        write_bytes(folder / name, content)
    return [folder / name for name in contents]


def _read_about(path: Path) -> dict[str, Any]:
    kinds = {
        **dict.fromkeys(("class_names", "feature_names", "input_shape", "shift", "scale"), list),
        "is_images": bool,
    }
    try:
        about = json.loads(path.read_text())
        for name, kind in kinds.items():
            if not isinstance(about[name], kind):
                raise ValueError(f"{name} is no {kind.__name__}")
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ValueError(
            f"{path}: not the description of a model of saner-jax train: {reason}"
        ) from error
    return about

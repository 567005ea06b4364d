"""The options of `saner-jax suspects` and `relabel`."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tyro.conf import OmitArgPrefixes, Positional

from saner_jax._options._choices import ApplyAs, OtherTool
from saner_jax._options._config import TrainConfig
from saner_jax._options._parts import DataOptions, PerturbationOptions, PixelOptions
from saner_jax._options._ranges import Count

NONE, AUTO = "none", "auto"
"""Values of the option `features`: with the first, a model is trained; by the second, features are
chosen."""


@dataclass(frozen=True)
class SuspectsConfig(TrainConfig):
    """Rank training examples by how likely their label is wrong, from runs or from new ones."""

    runs: Positional[tuple[Path, ...]] = ()
    """Finished run folders of saner-jax train, on the same labels. If none is given, a model is
    trained with the options below, or as many as num_folds, each judging the part held out."""
    data: OmitArgPrefixes[DataOptions] = DataOptions(test_fraction=0.0)
    """The examples. No test examples are set aside, so that every training example is ranked."""
    perturbation: OmitArgPrefixes[PerturbationOptions] = PerturbationOptions(rho=0.3)
    """The perturbation of SAM and the damping of SANER. The radius is larger than for the best
    accuracy, because larger radii found more of the wrong labels of digits."""
    inputs: OmitArgPrefixes[PixelOptions] = PixelOptions(pixels="standardized")
    """The model's inputs. They are standardized, as in the measurements of the README."""
    features: str = AUTO
    """Judge by features, in minutes and without training. pretrained: those of EfficientNet-Lite0
    with the weights of ImageNet, for images. pixels: of images of at most 16 x 16 pixels. data: the
    features that the examples are. FILE.npy: a row for each training example in their order. auto:
    data, or pixels or pretrained, whichever predict the labels better; but a model is trained if
    an option of its training is given. none: by the training of a model."""
    pictured: Count = 40
    """Suspects to show on the sheet."""
    reviewed: Count = 1000
    """Suspects to show on the page review.html, at most. They are those that are more likely wrong
    than right, and as many as on the sheet at least."""
    also_for: tuple[OtherTool, ...] = ()
    """Write a file for other tools too. label_studio: the suggestions as predictions, to import.
    coco: a CSV file with COCO's column names."""
    not_offered: ClassVar[tuple[str, ...]] = (
        *("fold", "resume", "process_id", "num_processes", "coordinator"),
    )
    """Options of `TrainConfig` that this command refuses and its help leaves out."""


@dataclass(frozen=True)
class RelabelConfig:
    """Write a file of labels from a reviewed suspects.csv; the originals are never touched."""

    suspects: Positional[Path | None] = None
    """The reviewed file. In its column decision stands: nothing (the label stays as it is),
    suggested, keep, exclude, or the name of a class."""
    output_file: Path | None = None
    """New CSV file, for saner-jax train --labels-file; labels.csv beside the reviewed one if not
    given."""
    accept_top: int = 0
    """Take the suggestion for the first so many suspects without a decision."""
    labels_file: Path | None = None
    """Labels of an earlier review, to go on from. If not given: those with which the suspects
    beside were ranked. A decision of this review goes before one of that."""
    apply_to: Path | None = None
    """New folder for the ranked images with their labels, a folder for each class, without the
    excluded ones."""
    images: Path | None = None
    """The folder of the ranked images, for apply_to. Where suspects.json is beside, it is that."""
    apply_as: ApplyAs = "copy"
    """Whether the new folder holds copies of the files, or symbolic links to them."""

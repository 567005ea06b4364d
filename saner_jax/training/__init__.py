"""The engine: steps, epochs, scores, evidence and checkpoints of a training run."""

from saner_jax.training._batches import Minibatches, make_batches
from saner_jax.training._checkpoints import CheckpointError, Checkpoints, InMemory, Keeper
from saner_jax.training._device_mesh import (
    AXIS,
    DeviceMesh,
    check_backend,
    join,
    make_device_mesh,
)
from saner_jax.training._dispatch import Totals, init_totals, make_dispatch, make_revise, revised
from saner_jax.training._errors import Diverged, Stopped
from saner_jax.training._evidence import (
    Evidence,
    History,
    add_evaluation,
    init_history,
    read_evidence,
    to_evidence,
    write_evidence,
)
from saner_jax.training._held_out import held_out, held_out_fold
from saner_jax.training._loop import Fitted, Progress, Row, fit, init_progress
from saner_jax.training._predict import (
    Evaluated,
    confusion_on_test,
    evaluated_forward,
    make_measure,
    make_predict,
    mean_prediction,
    probabilities_of,
)
from saner_jax.training._preprocessing import Preprocessing, standardize
from saner_jax.training._reporter import SILENT, Reporter
from saner_jax.training._resuming import fit_resumably, random_stream, restored
from saner_jax.training._scoring import Counts, Shares, evaluate, shares
from saner_jax.training._states import (
    StepRecord,
    Told,
    TrainState,
    TrainStep,
    init_networks,
    init_state,
    pair_states,
    peer_seed,
)
from saner_jax.training._step import STATISTICS, check_per_device, make_train_step
from saner_jax.training._steps import Prepare, batch_order, run_steps
from saner_jax.training._task import (
    Budget,
    Examples,
    InputFunctions,
    Optimizer,
    Splits,
    Task,
)
from saner_jax.training._train import Trained, train

__all__ = [
    "AXIS",
    "SILENT",
    "STATISTICS",
    "Budget",
    "CheckpointError",
    "Checkpoints",
    "Counts",
    "DeviceMesh",
    "Diverged",
    "Evaluated",
    "Evidence",
    "Examples",
    "Fitted",
    "History",
    "InMemory",
    "InputFunctions",
    "Keeper",
    "Minibatches",
    "Optimizer",
    "Prepare",
    "Preprocessing",
    "Progress",
    "Reporter",
    "Row",
    "Shares",
    "Splits",
    "StepRecord",
    "Stopped",
    "Task",
    "Told",
    "Totals",
    "TrainState",
    "TrainStep",
    "Trained",
    "add_evaluation",
    "batch_order",
    "check_backend",
    "check_per_device",
    "confusion_on_test",
    "evaluate",
    "evaluated_forward",
    "fit",
    "fit_resumably",
    "held_out",
    "held_out_fold",
    "init_history",
    "init_networks",
    "init_progress",
    "init_state",
    "init_totals",
    "join",
    "make_batches",
    "make_device_mesh",
    "make_dispatch",
    "make_measure",
    "make_predict",
    "make_revise",
    "make_train_step",
    "mean_prediction",
    "pair_states",
    "peer_seed",
    "probabilities_of",
    "random_stream",
    "read_evidence",
    "restored",
    "revised",
    "run_steps",
    "shares",
    "standardize",
    "to_evidence",
    "train",
    "write_evidence",
]

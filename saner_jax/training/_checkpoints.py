"""Checkpoints on Orbax, with which a run goes on exactly where it stopped.

A checkpoint is a tree of arrays beside a small record: which run it belongs to and a digest of
both. Orbax writes it under another name and renames it when it is whole, so a run that is
killed leaves the previous one; the digest tells one that was damaged later.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
import orbax.checkpoint as ocp

from saner_jax._core._process import late_writes_hushed, logger_level


class CheckpointError(ValueError):
    """Say in one sentence why a checkpoint is not used."""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # Orbax reports every save on the root logger, warns of uses that are meant here, and prints
    # the stacks of its exceptions.
    with logger_level("absl", logging.CRITICAL), late_writes_hushed():
        yield


class Keeper(Protocol):
    """What the loop needs of checkpoints."""

    def steps(self) -> list[int]:
        """Return the steps that have a whole checkpoint.

        Returns:
            Their numbers, ascending.
        """
        ...

    def save(self, step: int, tree: Any, record: dict[str, Any]) -> None:
        """Save a tree with a record.

        Args:
            step: its number.
            tree: any pytree of arrays.
            record: JSON values by name.
        """
        ...


class InMemory:
    """Keep the newest checkpoint in memory, or none.

    Args:
        keeps: whether a checkpoint is kept.

    Example:
        >>> kept = InMemory()
        >>> kept.save(3, {"w": np.ones(2)}, {"epoch": 1})
        >>> kept.steps(), kept.restore_newest(None, print)[2]
        ([3], {'epoch': 1})
    """

    def __init__(self, *, keeps: bool = True) -> None:
        self._keeps = keeps
        self._kept: tuple[int, Any, dict[str, Any]] | None = None

    def steps(self) -> list[int]:
        """Return the step of the checkpoint.

        Returns:
            A number, or none.
        """
        return [] if self._kept is None else [self._kept[0]]

    def save(self, step: int, tree: Any, record: dict[str, Any]) -> None:
        """Keep a copy of a tree, instead of the one before.

        Args:
            step: its number.
            tree: any pytree of arrays.
            record: values by name.
        """
        if self._keeps:
            self._kept = (step, jax.device_get(tree), record)

    def restore_newest(
        self, like: Any, refuse: Callable[[str], None]
    ) -> tuple[int, Any, dict[str, Any]]:
        """Return the checkpoint.

        Args:
            like: not used.
            refuse: not used.

        Returns:
            The step, the tree and the record.

        Raises:
            CheckpointError: when there is none.
        """
        del like, refuse
        if self._kept is None:
            raise CheckpointError("no checkpoint was kept")
        return self._kept


class Checkpoints:
    """Keep the newest checkpoints of one folder, at most `keep` of them.

    Args:
        folder: made if it does not exist.
        identity: what tells this run from others; JSON values by name.
        keep: how many to keep, at least 1.

    Example:
        >>> import tempfile
        >>> checkpoints = Checkpoints(Path(tempfile.mkdtemp(), "last"), {"seed": 0}, keep=2)
        >>> for step in (10, 20, 30):
        ...     checkpoints.save(step, {"w": np.full(3, step)}, {"epoch": step // 10})
        >>> checkpoints.steps()
        [20, 30]
        >>> tree, record = checkpoints.restore(30, {"w": np.zeros(3, int)})
        >>> tree["w"].tolist(), record["epoch"]
        ([30, 30, 30], 3)
    """

    def __init__(self, folder: Path, identity: dict[str, Any], *, keep: int) -> None:
        self._folder = folder
        self._identity = identity
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, enable_async_checkpointing=False, **_alone()
        )
        self._writes = jax.process_index() == 0
        # Left in place until a better one is saved.
        self._refused: list[int] = []
        with _quiet():
            self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    @_quiet()
    def steps(self) -> list[int]:
        """Return the steps that have a whole checkpoint, ascending.

        Returns:
            The numbers that `save` was given; none in a new folder.
        """
        return sorted(self._manager.all_steps(read=True))

    @_quiet()
    def save(self, step: int, tree: Any, record: dict[str, Any]) -> None:
        """Save a tree, whole or not at all, and delete all but the newest `keep`.

        Checkpoints that `restore_newest` refused are dropped first. Of several processes, the
        first alone writes.

        Args:
            step: above that of every checkpoint here; saving one step twice changes nothing.
            tree: any pytree of arrays.
            record: JSON values by name, to come back with it.

        Raises:
            OSError: when the folder cannot be written.
        """
        if not self._writes:
            return
        while self._refused:
            self._manager.delete(self._refused.pop())
        if step in self.steps():
            return
        tree = jax.device_get(tree)
        about = {"identity": self._identity, "digest": _digest(tree, record), "record": record}
        items = ocp.args.Composite(tree=ocp.args.StandardSave(tree), about=ocp.args.JsonSave(about))
        try:
            self._manager.save(step, args=items)
        # For a full disk TensorStore raises ValueError, and Orbax any other error.
        except Exception as error:
            raise OSError(
                f"{self._folder / str(step)}: the checkpoint cannot be written: {_reason(error)};"
                " those before it are left as they were"
            ) from error

    @_quiet()
    def restore(self, step: int, like: Any) -> tuple[Any, dict[str, Any]]:
        """Load the checkpoint of a step.

        Args:
            step: one of `steps()`.
            like: a tree of the wanted structure, shapes and dtypes. None takes any, as dicts and
                lists.

        Returns:
            The tree as NumPy arrays, and the record saved with it.

        Raises:
            CheckpointError: for a checkpoint of another run, of another structure, or damaged.
        """
        where = f"{self._folder / str(step)}"
        try:
            about = self._manager.restore(
                step, args=ocp.args.Composite(about=ocp.args.JsonRestore())
            )["about"]
            identity, digest, record = (about[name] for name in ("identity", "digest", "record"))
            identity = dict(identity)
        # Orbax, TensorStore and JSON each raise errors of their own for a damaged file.
        except Exception as error:
            raise CheckpointError(f"{where}: not a checkpoint of saner-jax, or damaged") from error
        for name, value in self._identity.items():
            if identity.get(name) != value:
                raise CheckpointError(
                    f"{where}: it belongs to a run with another {name},"
                    f" {identity.get(name)!r} instead of {value!r}"
                )
        wanted = () if like is None else (jax.device_get(like),)
        shapes = jax.tree.map(ocp.utils.to_shape_dtype_struct, wanted)
        try:
            tree = self._manager.restore(
                step, args=ocp.args.Composite(tree=ocp.args.StandardRestore(*shapes))
            )["tree"]
            tree = jax.device_get(tree)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"{where}: its arrays cannot be read: {reason}") from error
        if _digest(tree, record) != digest:
            raise CheckpointError(
                f"{where}: its content has another digest than the one that was saved"
            )
        return tree, record

    def restore_newest(
        self, like: Any, refuse: Callable[[str], None]
    ) -> tuple[int, Any, dict[str, Any]]:
        """Load the newest checkpoint that can be, telling of those that cannot.

        Args:
            like: as for `restore`.
            refuse: called with a sentence for every checkpoint passed over.

        Returns:
            The step, the tree and the record.

        Raises:
            CheckpointError: when no checkpoint is left.
        """
        for step in reversed(self.steps()):
            try:
                return step, *self.restore(step, like)
            except CheckpointError as error:
                self._refused.append(step)
                refuse(str(error))
        raise CheckpointError(f"{self._folder}: no checkpoint here can be used")


def _alone() -> dict[str, Any]:
    """Tell Orbax that this process waits for no other: every one holds the whole tree."""
    if jax.process_count() == 1:
        return {}
    index = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=index, active_processes={index}, barrier_sync_key_prefix=f"alone_{index}"
    )
    return {"multiprocessing_options": alone, "create": False}


def _reason(error: Exception) -> str:
    found = re.search(r"os_error_code='(\d+)'", str(error))
    number = int(found[1]) if found else getattr(error, "errno", None)
    return os.strerror(number) if number else " ".join(str(error).split())[:200]


def _digest(tree: Any, record: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
    # By name, so that a tree of dicts has the digest of the tuples that it was saved from.
    named = {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    for name, leaf in sorted(named.items()):
        digest.update(f"{name} {leaf.dtype} {leaf.shape}".encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()

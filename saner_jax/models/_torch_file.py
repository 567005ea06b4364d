"""Read the arrays of a file that `torch.save` wrote, without torch and without running a pickle.

Only dicts of tensors are read. Whatever else a pickle asks for is refused.
"""

import collections
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_DTYPES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
}


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype[Any]
    size: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild(storage: Any, offset: int, shape: Any, strides: Any, *_: Any) -> _Tensor:
    return _Tensor(storage, int(offset), tuple(shape), tuple(strides))


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in _DTYPES:
            return name
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, name, key, _, size, *_ = pid
        if kind != "storage" or name not in _DTYPES:
            raise pickle.UnpicklingError(f"it holds a {kind} {name}")
        return _Storage(str(key), _DTYPES[name], int(size))


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Read a state dict in the format of `torch.save` before version 1.6.

    Args:
        path: the file.

    Returns:
        The arrays by name.

    Raises:
        ValueError: for another file, or one that is damaged; nothing of it has been run.
        OSError: if it cannot be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "a.pth")
        >>> _ = path.write_bytes(pickle.dumps("no state dict"))
        >>> read_state_dict(path)
        Traceback (most recent call last):
            ...
        ValueError: ...a.pth: not a state dict of torch: it begins with another number
    """
    try:
        with path.open("rb") as file:
            load = lambda: _Reader(file).load()
            if load() != _MAGIC:
                raise ValueError("it begins with another number")
            if load() != _PROTOCOL:
                raise ValueError("its protocol is another one")
            load()
            tensors, keys = load(), load()
            if not isinstance(tensors, dict):
                raise ValueError("it holds no dict")
            wanted = {one.storage.key: one.storage for one in tensors.values()}
            contents = {}
            for key in keys:
                size = int.from_bytes(file.read(8), "little")
                storage = wanted[key]
                content = np.frombuffer(file.read(size * storage.dtype.itemsize), storage.dtype)
                if not len(content) == size == storage.size:
                    raise ValueError("it ends too early")
                contents[key] = content
            return {name: _array(one, contents[one.storage.key]) for name, one in tensors.items()}
    except OSError:
        raise
    # A damaged pickle raises errors of many kinds.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: not a state dict of torch: {reason}") from error


def _array(tensor: _Tensor, content: NDArray[Any]) -> NDArray[Any]:
    spans = [(size - 1) * step for size, step in zip(tensor.shape, tensor.strides, strict=True)]
    if min([0, tensor.offset, *tensor.strides, *tensor.shape]) < 0:
        raise ValueError("a tensor has a negative size")
    if all(tensor.shape) and tensor.offset + sum(spans) >= len(content):
        raise ValueError("a tensor reaches beyond its numbers")
    steps = [step * content.itemsize for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(content[tensor.offset :], tensor.shape, steps).copy()

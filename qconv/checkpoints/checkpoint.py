"""An open checkpoint: its tensors and what stands beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from qconv.errors import UsageError
from qconv.storage import Folder, LocalFolder, StoredFile
from qconv.tensors import LazyTensor, StoredTensor
from qconv.types import Metadata, Rows, TensorInfo


class Checkpoint:
    """Tensors of one model, from one or several files.

    ``kind``: "safetensors", "gguf" or "adapter" (changes to another model).  ``folder``: where ``config.json`` and the
    tokenizer are looked for.  ``name``: the file in it that was opened, None for the whole folder.  ``files``: all
    files with weights, in order.  ``config``: ``config.json`` (of an adapter ``adapter_config.json``) as plain Python,
    None when there is none.  ``metadata``: GGUF's keys, None for other kinds.  ``frameworks``: what saved its files by
    their own words, as "pt" or "mlx"; None among them where a file says nothing.  ``absent``: tensors
    that an index names and no file has, and the file each should be in.

    ``stored``: the tensors as the files hold them.  ``lazy``: the *logical* tensors by name, in llama.cpp's order, with
    the checkpoint's own quantization undone where qconv knows it; ``tensors`` says what they look like.  ``adapters``:
    locations of the adapters merged into them.  ``notes``: what a user should know of how all this was read.
    ``quantized_by``: the method that was undone.

    A context manager: leaving it closes the files.
    """

    def __init__(
        self,
        *,
        kind: str,
        folder: Folder,
        name: str | None,
        files: Sequence[StoredFile],
        stored: Mapping[str, StoredTensor],
        config: dict[str, Any] | None = None,
        metadata: Metadata | None = None,
        frameworks: frozenset[str | None] = frozenset(),
        notes: Sequence[str] = (),
        absent: Mapping[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self.folder = folder
        self.directory: Path | None = folder.path if isinstance(folder, LocalFolder) else None
        """The folder on this machine; None when it is somewhere else."""
        self.name = name
        self.files = tuple(files)
        self.stored = stored
        self.config = config
        self.metadata = metadata
        self.frameworks = frameworks
        self.notes: tuple[str, ...] = tuple(notes)
        self.quantized_by: str | None = None
        self.absent = absent or {}
        self.lazy: Mapping[str, LazyTensor] = stored
        self.adapters: tuple[str, ...] = ()

    @property
    def location(self) -> str:
        """What messages call it: the file or the folder that was opened."""
        return self.folder.location if self.name is None else self.folder.locate(self.name)

    @property
    def path(self) -> Path:
        """The location of a checkpoint on this machine."""
        return Path(self.location)

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Names, types and shapes of the logical tensors."""
        return {name: TensorInfo(name, tensor.dtype, tensor.shape) for name, tensor in self.lazy.items()}

    def read(self, name: str, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        """Rows ``[start, stop)`` of a logical tensor, see ``LazyTensor.read``.

        Raises ``InputError`` when reading fails, ``UsageError`` for rows or a tensor that do not exist.
        """
        tensor = self.lazy.get(name)
        if tensor is None:
            raise UsageError("is not in the checkpoint", tensor=name)
        return tensor.read(start, stop, out)

    def close(self) -> None:
        for file in self.files:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

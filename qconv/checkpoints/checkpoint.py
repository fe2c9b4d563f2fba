"""An open checkpoint: where its tensors come from and what stands beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from qconv.checkpoints.stored import Source
from qconv.types import Metadata, Rows, TensorInfo


class Checkpoint:
    """Tensors of one model, from one or several files.

    ``kind``: "safetensors" or "gguf".  ``path``: what was opened.  ``directory``: where ``config.json`` and the
    tokenizer are looked for.  ``files``: all files with weights, in order.  ``config``: ``config.json`` as plain
    Python, None when there is none.  ``metadata``: GGUF's keys, None for other kinds.

    ``tensors`` and ``read``: the *logical* tensors, in llama.cpp's order, with the checkpoint's own quantization undone
    where qconv knows it.  ``stored``: the tensors as the files hold them.

    A context manager: leaving it closes the files.
    """

    def __init__(
        self,
        *,
        kind: str,
        path: Path,
        directory: Path,
        files: tuple[Path, ...],
        source: Source,
        config: dict[str, Any] | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        self.kind = kind
        self.path = path
        self.directory = directory
        self.files = files
        self.config = config
        self.metadata = metadata
        self.stored = source.tensors
        self._source = source

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        return self._source.tensors

    def read(self, name: str, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        """Rows ``[start, stop)`` of a logical tensor, see ``TensorReader.read``.

        Raises ``InputError`` when reading fails, ``UsageError`` for rows or a tensor that do not exist.
        """
        return self._source.read(name, start, stop, out)

    def see_through(self, source: Source) -> None:
        """Hands out the tensors of ``source``, a wrapper around what was read from so far."""
        self._source = source

    @property
    def source(self) -> Source:
        """What the tensors are read from now."""
        return self._source

    def close(self) -> None:
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

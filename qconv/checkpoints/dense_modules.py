"""What sentence-transformers keeps beside a model for its embeddings: ``modules.json``, and a folder for each module.

Layers called Dense turn a pooled embedding into another.  llama.cpp has a place for them in some architectures.
"""

from __future__ import annotations

from qconv.checkpoints.checkpoint import Checkpoint
from qconv.checkpoints.nested import WEIGHTS, tensors_in
from qconv.checkpoints.sniff import refuse_pickle
from qconv.errors import FormatError, InputError, UnsupportedError
from qconv.files import read_json, read_object
from qconv.storage import Folder, is_inside
from qconv.tensors import StoredTensor

_MODULES = "modules.json"
_BEYOND_NO_MODEL = ("Transformer", "Pooling", "Normalize")
"""Modules that a GGUF file is and says by itself, or that runtimes do anyway."""
_DENSE = "Dense"
_PICKLE = "pytorch_model.bin"
_IDENTITY = "torch.nn.modules.linear.Identity"


def further_modules(folder: Folder) -> list[tuple[str, str]]:
    """Kind and folder of the modules beyond the model, its pooling and normalizing; none where nothing names any."""
    try:
        modules = read_json(folder, _MODULES) if folder.has(_MODULES) else []
    except FormatError:
        return []
    kinds = [
        (str(module.get("type", "")).rpartition(".")[2], str(module.get("path", "")))
        for module in (modules if isinstance(modules, list) else [])
        if isinstance(module, dict)
    ]
    return [(kind, path) for kind, path in kinds if kind not in _BEYOND_NO_MODEL]


def add_dense(checkpoint: Checkpoint) -> None:
    """Puts the weights of Dense modules before the checkpoint's other tensors, as ``2_Dense.linear.weight``.

    Raises InputError when there are none or they cannot be read, UnsupportedError for an activation or a bias, which
    llama.cpp does not know.
    """
    folder = checkpoint.folder
    paths = [path for kind, path in further_modules(folder) if kind == _DENSE]
    if not paths:
        raise InputError(f"has no Dense modules in its {_MODULES}", file=folder.location)
    dense: dict[str, StoredTensor] = {}
    for path in paths:
        if not is_inside(path):
            raise FormatError(f"names a folder outside its own, '{path}'", file=folder.locate(_MODULES))
        config = f"{path}/config.json"
        settings = read_object(folder, config) if folder.has(config) else {}
        activation = settings.get("activation_function")
        if activation != _IDENTITY:
            message = f"has the activation '{activation}'; llama.cpp knows Dense modules without one"
            raise UnsupportedError(message, file=folder.locate(config))
        if not folder.has(f"{path}/{WEIGHTS}") and folder.has(f"{path}/{_PICKLE}"):
            raise refuse_pickle(folder.locate(f"{path}/{_PICKLE}"))
        for name, tensor in tensors_in(checkpoint, path, "."):
            own = name.removeprefix(f"{path}.")
            if own != "linear.weight":
                message = "is in a Dense module; llama.cpp knows only its 'linear.weight'"
                raise UnsupportedError(message, file=tensor.file.location, tensor=own)
            dense[name] = tensor
    checkpoint.stored = {**dense, **checkpoint.stored}
    checkpoint.lazy = {**dense, **checkpoint.lazy}

"""Adapters: changes to a model, merged into it tensor by tensor, or made a GGUF file of their own.

``config`` says how strong an adapter is, ``modules`` puts its tensors together, ``products`` multiplies them, ``merge``
adds them to a base, ``export`` names their factors as a GGUF file does.
"""

from qconv.adapters.export import AdapterModel, export
from qconv.adapters.merge import merge

__all__ = ["AdapterModel", "export", "merge"]

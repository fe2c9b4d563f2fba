"""Merges adapters into an open checkpoint, tensor by tensor and lazily: nothing is computed before rows are read.

The result is what PEFT's ``merge_and_unload`` makes in float32, but for rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qconv import checkpoints
from qconv.adapters import modules as parts
from qconv.adapters.modules import Adapter, Module
from qconv.adapters.names import BaseNames, is_head
from qconv.adapters.targets import Targets, misfit
from qconv.adapters.tokenizer import with_tokenizer
from qconv.checkpoints import Checkpoint
from qconv.errors import FormatError, PlanError, QconvError, UnsupportedError, UsageError
from qconv.options import AdapterOption
from qconv.tensors import Dequantized, LazyTensor, Widened, is_blocks, operations
from qconv.tensors.adapted import Magnitude, ReplacedRows, Sum
from qconv.tensors.low_rank import LowRank
from qconv.types import shape_text

_PARTED = (
    "the output layer was the embedding, and is no longer: the adapter changes one of the two, so both are written"
)


def merge(base: Checkpoint, wanted: Sequence[AdapterOption], *, keep_download: bool = False) -> None:
    """Makes ``base`` hand out its tensors with the adapters ``wanted`` merged in, one after another.

    Takes the adapters' files, tokenizer and vocabulary over as well.  ``keep_download``: as of ``checkpoints.open``.
    Raises PlanError for an adapter that fits another base, naming both, UnsupportedError for one that cannot be merged,
    and as ``checkpoints.open_adapter``.
    """
    if base.metadata is not None:
        hint = "give the model's safetensors; or make a GGUF file of the adapter: qconv convert ADAPTER --base MODEL"
        raise UnsupportedError("is a GGUF file, into which no adapter is merged", file=base.location, hint=hint)
    if base.kind == "adapter":
        raise UsageError("is an adapter itself", file=base.location, hint="name its base model, then the adapters")
    original = dict(base.lazy)
    brought: set[str] = set()
    folders = []
    for each in wanted:
        opened = checkpoints.open_adapter(each.path, keep_download=keep_download)
        base.files = (*base.files, *opened.files)
        adapter = parts.read(opened, merging=True)
        try:
            _Merge(base, adapter, each.weight, original, brought).run()
        except QconvError as e:
            e.file = e.file or adapter.location
            raise
        base.adapters = (*base.adapters, adapter.location)
        folders.append(opened.folder)
    embedding = BaseNames(base.lazy).embedding()
    _check_vocabulary(base, embedding)
    rows = None if embedding is None else base.lazy[embedding].shape[0]
    base.folder, notes = with_tokenizer(base.folder, folders, rows)
    base.notes = (*base.notes, *notes)


def _check_vocabulary(base: Checkpoint, embedding: str | None) -> None:
    """The embedding and the output layer know the same tokens."""
    for name, tensor in base.lazy.items():
        if embedding is not None and is_head(name) and tensor.shape[:1] != base.lazy[embedding].shape[:1]:
            sizes = f"{shape_text(base.lazy[embedding].shape)}, '{name}' is {shape_text(tensor.shape)}"
            raise PlanError(
                f"with its adapters '{embedding}' is {sizes}",
                file=base.location,
                hint="save the adapter with both: modules_to_save=['embed_tokens', 'lm_head']",
            )


class _Merge:
    """One adapter on its way into ``base``.

    ``original``: the base's tensors before all that adapters add, those that they bring whole in their places, whose
    names are in ``brought``.
    """

    def __init__(
        self,
        base: Checkpoint,
        adapter: Adapter,
        weight: float,
        original: dict[str, LazyTensor],
        brought: set[str],
    ) -> None:
        self.base = base
        self.adapter = adapter
        self.weight = weight
        self.original = original
        self.brought = brought
        self.tensors = dict(base.lazy)
        self.names = BaseNames(self.tensors)
        self.is_tied = not any(map(is_head, self.tensors))

    def run(self) -> None:
        self._check_weight()
        for name, tensor in self.adapter.whole.items():
            self._replace(name, tensor)
        for modules in parts.outermost_first(self.adapter.modules).values():
            self._change(modules)
        self.base.lazy = self.tensors

    def _check_weight(self) -> None:
        """Only what is added can be added half."""
        if self.weight == 1:
            return
        whole = next(iter(self.adapter.whole), None)
        if whole is not None or self.adapter.config.is_dora:
            what = "has weights of its own for " + repr(whole) if whole is not None else "is a DoRA adapter"
            raise UnsupportedError(
                f"{what}, which a weight of {self.weight:g} cannot scale", file=self.adapter.location
            )

    # whole tensors

    def _replace(self, name: str, tensor: LazyTensor) -> None:
        """``modules_to_save``, trained biases and norms, embeddings with more rows."""
        target = self.names.find(name) or self._untied(name)
        if target is None:
            raise self._misfit(f"it brings '{name}', which the base does not have")
        old = self.tensors[target]
        if old is not self.original[target] or target in self.brought:
            what = f"brings '{name}' whole, which another adapter has changed"
            raise UnsupportedError(what, file=self.adapter.location, hint="merge one of the two")
        if tensor.shape != old.shape:
            self._grow(target, tensor, old.shape)
        self.tensors[target] = self.original[target] = tensor
        self.brought.add(target)

    def _untied(self, name: str) -> str | None:
        """An output layer for a base that has the embedding in its place: the two are no longer the same."""
        embedding = self.names.embedding()
        if not self.is_tied or embedding is None or not is_head(name) or self.base.config is None:
            return None
        self.tensors["lm_head.weight"] = self.original["lm_head.weight"] = self.original[embedding]
        self.names = BaseNames(self.tensors)
        self.base.notes = (*self.base.notes, _PARTED)
        self.base.config = _with(self.base.config, "tie_word_embeddings", False)
        return "lm_head.weight"

    def _grow(self, target: str, tensor: LazyTensor, old: tuple[int, ...]) -> None:
        """A vocabulary of another size, which the config then says too."""
        config = self.base.config or {}
        same_width = len(old) == len(tensor.shape) == 2 and old[1] == tensor.shape[1]
        if not same_width or (target != self.names.embedding() and not is_head(target)):
            shapes = f"{shape_text(tensor.shape)}, the base's is {shape_text(old)}"
            raise self._misfit(f"its '{tensor.sources[0]}' is {shapes}")
        self.base.config = _with(config, "vocab_size", tensor.shape[0])

    # changes of low rank

    def _change(self, modules: Sequence[Module]) -> None:
        name = modules[0].name
        target = self.names.weight(name) or self._untied(f"{name}.weight")
        if target is not None and len(modules) == 1:
            self._change_one(modules[0], target)
            return
        edits = Targets(self.base, self.adapter, self.names, self.weight).of_parameters(modules)
        if edits is None:
            raise self._misfit(f"it changes '{name}', which the base does not have, or in other shapes")
        for each, delta in edits:
            self._add(each, delta)

    def _change_one(self, module: Module, target: str) -> None:
        config = self.adapter.config
        if module.is_low_rank:
            delta = Targets(self.base, self.adapter, self.names, self.weight).of_tensor(module, target)
            self._add(target, delta)
            magnitude = module.parts.get("lora_magnitude_vector", module.parts.get("m"))
            if magnitude is not None:
                self.tensors[target] = self._with_magnitude(module, target, delta, magnitude)
            elif config.is_dora and not config.is_mlx:
                raise FormatError("is of a DoRA adapter, but has no magnitudes", tensor=delta.sources[0])
            self._add_bias(module, target, delta)
        if "trainable_tokens_delta" in module.parts:
            self.tensors[target] = self._with_rows(module, target)

    def _add(self, target: str, delta: LowRank) -> None:
        self.tensors[target] = Sum(_plain(self.tensors[target]), delta)

    def _with_magnitude(self, module: Module, target: str, delta: LowRank, magnitude: LazyTensor) -> Magnitude:
        """DoRA: vectors get the length in ``magnitude``, by the length they have in the base's own weights."""
        merged, shape = self.tensors[target], self.tensors[target].shape
        alone = Sum(_plain(self.original[target]), delta)
        config = self.adapter.config
        across = config.is_transposed or ("lora_embedding_A" in module.parts and not config.is_mlx)
        length, span = shape[-1] if across else shape[0], 1
        for size in shape[1:-1]:
            span *= size
        if magnitude.shape != (length,) and magnitude.shape != (1, length, *(1 for _ in shape[2:])):
            raise self._misfit(f"its magnitudes for '{module.name}' are {shape_text(magnitude.shape)}, not {length}")
        return Magnitude(merged, merged if alone.key == merged.key else alone, magnitude, span, across)

    def _add_bias(self, module: Module, target: str, delta: LowRank) -> None:
        bias = module.parts.get("lora_B.bias")
        if bias is None:
            return
        name = self.names.find(f"{module.name}.bias")
        if name is None or self.tensors[name].shape != bias.shape:
            raise self._misfit(f"it adds a bias to '{module.name}', which has none of that size")
        self.tensors[name] = Sum(_plain(self.tensors[name]), operations()["scale"](Widened(bias), delta.scale))

    def _with_rows(self, module: Module, target: str) -> ReplacedRows:
        rows, inner = module.parts["trainable_tokens_delta"], self.tensors[target]
        numbers = self.adapter.config.tokens(module.name)
        fits = len(rows.shape) == len(inner.shape) == 2 and rows.shape == (len(numbers), inner.shape[1])
        if not fits or max(numbers, default=0) >= inner.shape[0]:
            shapes = f"{shape_text(rows.shape)} for {len(numbers)} of the base's {shape_text(inner.shape)}"
            raise self._misfit(f"its trained tokens of '{module.name}' are {shapes}")
        return ReplacedRows(_plain(inner), numbers, rows)

    def _misfit(self, why: str) -> PlanError:
        return misfit(self.base, self.adapter, why)


def _plain(tensor: LazyTensor) -> LazyTensor:
    return Dequantized(tensor) if is_blocks(tensor.dtype) else tensor


def _with(config: Mapping[str, Any], key: str, value: object) -> dict[str, Any]:
    """``config`` with a value of its own, or of the text model's part where that has the key."""
    texts = {name: {**config[name], key: value} for name in _texts(config)}
    return {**config, **texts, **({key: value} if key in config or not texts else {})}


def _texts(config: Mapping[str, Any]) -> Iterator[str]:
    """Parts of a config about the text model that say how large its vocabulary is."""
    for name, part in config.items():
        if isinstance(part, Mapping) and "vocab_size" in part and name.startswith(("text", "llm", "lm", "language")):
            yield name

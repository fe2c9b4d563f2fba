"""Merges adapters into an open checkpoint, tensor by tensor and lazily: nothing is computed before rows are read.

The result is what PEFT's ``merge_and_unload`` makes in float32, but for rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any

from qconv import checkpoints
from qconv.adapters import modules as parts
from qconv.adapters.modules import Adapter, Module
from qconv.adapters.names import BaseNames, is_head
from qconv.adapters.products import expert_product, pair, product
from qconv.adapters.tokenizer import with_tokenizer
from qconv.checkpoints import Checkpoint
from qconv.errors import FormatError, PlanError, QconvError, UnsupportedError, UsageError
from qconv.options import AdapterOption
from qconv.tensors import Dequantized, LazyTensor, LowRank, Magnitude, ReplacedRows, Sum, Widened, is_blocks, operations
from qconv.types import shape_text

_INPUTS_FIRST = ("gpt_oss", "aria", "aria_text")
"""Models whose experts' parameters are (experts, inputs, outputs)."""
_PARAMETER_ORDER = ("gate_up_proj", "gate_proj", "up_proj", "down_proj", "w1", "w2", "w3")
"""Parameters of experts in the order in which models define them, and PEFT wraps them one around the other."""
_MOST_TARGETS = 5


def merge(base: Checkpoint, wanted: Sequence[AdapterOption]) -> None:
    """Makes ``base`` hand out its tensors with the adapters ``wanted`` merged in, one after another.

    Takes the adapters' files, tokenizer and vocabulary over as well.  Raises UnsupportedError for an adapter that fits
    another base, naming both, and as ``checkpoints.open_adapter``.
    """
    if base.metadata is not None:
        hint = "give the model's safetensors; or make a GGUF file of the adapter: qconv convert ADAPTER --base MODEL"
        raise UnsupportedError("is a GGUF file, into which no adapter is merged", file=base.location, hint=hint)
    if base.kind == "adapter":
        raise UsageError("is an adapter itself", file=base.location, hint="name its base model, then the adapters")
    original = dict(base.lazy)
    folders = []
    for each in wanted:
        opened = checkpoints.open_adapter(each.path)
        base.files = (*base.files, *opened.files)
        adapter = parts.read(opened)
        try:
            _Merge(base, adapter, each.weight, original).run()
        except QconvError as e:
            e.file = e.file or adapter.location
            raise
        base.adapters = (*base.adapters, adapter.location)
        folders.append(opened.folder)
    _check_vocabulary(base)
    base.folder = with_tokenizer(base.folder, folders)


def _check_vocabulary(base: Checkpoint) -> None:
    """The embedding and the output layer know the same tokens."""
    embedding = BaseNames(base.lazy).embedding()
    for name, tensor in base.lazy.items():
        if embedding is not None and is_head(name) and tensor.shape[:1] != base.lazy[embedding].shape[:1]:
            sizes = f"{shape_text(base.lazy[embedding].shape)}, '{name}' is {shape_text(tensor.shape)}"
            raise PlanError(
                f"with its adapters '{embedding}' is {sizes}",
                file=base.location,
                hint="save the adapter with both: modules_to_save=['embed_tokens', 'lm_head']",
            )


class _Merge:
    """One adapter on its way into ``base``; ``original``: the base's tensors before all adapters."""

    def __init__(self, base: Checkpoint, adapter: Adapter, weight: float, original: Mapping[str, LazyTensor]) -> None:
        self.base = base
        self.adapter = adapter
        self.weight = weight
        self.original = original
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
        old = self.tensors[target].shape
        if tensor.shape != old:
            self._grow(target, tensor, old)
        self.tensors[target] = tensor

    def _untied(self, name: str) -> str | None:
        """An output layer for a base that has the embedding in its place: the two are no longer the same."""
        embedding = self.names.embedding()
        if not self.is_tied or embedding is None or not is_head(name) or self.base.config is None:
            return None
        self.tensors["lm_head.weight"] = self.tensors[embedding]
        self.names = BaseNames(self.tensors)
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
        parameters = self._parameters(name)
        if len(parameters) == len(modules) <= _MOST_TARGETS:
            inner_first = [*reversed(modules)]
            for order in permutations(parameters):
                edits = [self._edits(m, name, p) for m, p in zip(inner_first, order, strict=True)]
                if all(edit is not None for edit in edits):
                    self._add(delta for edit in edits for delta in edit or ())
                    return
        raise self._misfit(f"it changes '{name}', which the base does not have, or in other shapes")

    def _parameters(self, module: str) -> list[str]:
        """The ``target_parameters`` of a module, in the order in which they were wrapped."""
        given = self.adapter.config.values.get("target_parameters")
        names = {each for each in given if isinstance(each, str)} if isinstance(given, list) else set()
        of_module = []
        for each in sorted(names):
            holder, _, parameter = each.rpartition(".")
            if module == holder or module.endswith(f".{holder}"):
                of_module.append(parameter)
        known = _PARAMETER_ORDER
        return sorted(of_module, key=lambda name: known.index(name) if name in known else len(known))

    def _edits(self, module: Module, name: str, parameter: str) -> list[tuple[str, LowRank]] | None:
        """What is added to which tensors for one parameter; None when it does not fit."""
        config = self.adapter.config
        named = Module(f"{name}.{parameter}", module.depth, module.parts)
        target = self.names.find(named.name)
        if target is not None:
            delta = product(named, config, self.tensors[target].shape, self.weight, inputs_first=self._inputs_first())
            return None if delta is None else [(target, delta)]
        experts = self.names.experts(name, parameter)
        return None if experts is None else self._expert_edits(named, experts)

    def _expert_edits(self, module: Module, experts: Sequence[Sequence[str]]) -> list[tuple[str, LowRank]] | None:
        edits = []
        for number, targets in enumerate(experts):
            row = 0
            for target in targets:
                shape = self.tensors[target].shape
                rows = (row, row + (shape[0] if shape else 0))
                delta = expert_product(module, self.adapter.config, number, len(experts), rows, self.weight)
                if delta is None or delta.shape != shape:
                    return None
                edits.append((target, delta))
                row = rows[1]
        return edits

    def _inputs_first(self) -> bool:
        return (self.base.config or {}).get("model_type") in _INPUTS_FIRST

    def _change_one(self, module: Module, target: str) -> None:
        config, inner = self.adapter.config, self.tensors[target]
        if module.is_low_rank:
            delta = product(module, config, inner.shape, self.weight, inputs_first=self._inputs_first())
            if delta is None:
                own = " and ".join(shape_text(tensor.shape) for tensor in pair(module)[:2])
                raise self._misfit(f"its {own} for '{module.name}' make no {shape_text(inner.shape)}")
            self._add([(target, delta)])
            magnitude = module.parts.get("lora_magnitude_vector", module.parts.get("m"))
            if magnitude is not None:
                self.tensors[target] = self._with_magnitude(module, target, delta, magnitude)
            elif config.is_dora and not config.is_mlx:
                raise FormatError("is of a DoRA adapter, but has no magnitudes", tensor=delta.sources[0])
            self._add_bias(module, target, delta)
        if "trainable_tokens_delta" in module.parts:
            self.tensors[target] = self._with_rows(module, target)

    def _add(self, edits: Iterable[tuple[str, LowRank]]) -> None:
        for target, delta in edits:
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
        own = self.adapter.config.base
        return PlanError(
            f"does not fit the base {self.base.location}: {why}",
            file=self.adapter.location,
            hint=f"give the model it was trained on{f', {own}' if own else ''}",
        )


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

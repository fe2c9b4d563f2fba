"""What a conversion makes."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qconv.errors import UsageError
from qconv.options.adapter import AdapterOption
from qconv.options.base import (
    ADAPTERS,
    IMPORTANCE,
    MODEL,
    OUTPUT,
    TYPES,
    Options,
    option,
    text_model_only,
    text_model_option,
)
from qconv.sizes import Size
from qconv.types import SEARCHES

if TYPE_CHECKING:
    from qconv.policy import TypeOverrides
    from qconv.types import Value

ROUNDINGS = ("nearest", "gptq")
"""How weights are rounded to what scales allow: each to the nearest value, or so that errors cancel."""

MTP = ("keep", "only", "none")
"""What becomes of layers that predict further tokens (multi-token prediction, drafting inside the model)."""


@dataclass(frozen=True, kw_only=True)
class ConvertOptions(Options):
    """What a conversion makes.

    ``types``: mix names, each one output; ``mmproj``: likewise, of the model's projector; ``mix``: the user's own mix
    file instead of types.  ``sizes``: each an output too, as good as can be of that size (see ``qconv.sizes.Size``), of
    ``block_types``.  ``tensor_types``: (regular
    expression, block type), the first match wins.  ``output``: a file (only with one type) or a directory, which it
    must be with a slash at its end; ``None`` names the file and puts it beside the source.  ``override_kv``:
    ``KEY=TYPE:VALUE`` each.  ``adapter``: ``DIR`` or ``DIR=WEIGHT`` each.  ``base``: the model that the source, an
    adapter, is for.  ``imatrix_name``: how the output names that file, where otherwise than by ``imatrix``.
    ``hessians``: a folder, or one of its files.  ``split_max_size``: bytes a shard may have.  ``strict``: a tensor that
    would fall back to another type is an error.

    Raises UsageError.
    """

    types: tuple[str, ...] = option(
        (),
        "types",
        TYPES,
        "What to make: q4_k_m, q5_k_m, q6_k, q8_0, bf16, ... in any case; keep, of a quantized checkpoint, loses"
        " nothing more. Several, repeated or with commas, are made from one reading of the source.",
        "--type",
        "-t",
        metavar="TYPE",
        recorded=False,
    )
    sizes: tuple[str, ...] = option(
        (),
        "types",
        TYPES,
        "Instead of a type: the best file of at most this size, which is bytes (4.5GB), bits per weight (4.5bpw) or"
        " that of a type (q4_k_m). Needs what 'qconv calibrate' measured, in --imatrix, to be good. Several are made"
        " from one reading.",
        "--size",
        metavar="SIZE",
        recorded=False,
    )
    block_types: tuple[str, ...] = text_model_option(
        (),
        "types",
        TYPES,
        "Block types that --size chooses from. By default those that runtimes are fast with.",
        "--block-types",
        metavar="TYPE,...",
    )
    mmproj: tuple[str, ...] = option(
        (),
        "types",
        TYPES,
        "Make the file of the model's projector too, with which it sees or hears: f16 is the usual choice, q8_0 is"
        " half as large. Without --type that file alone.",
        "--mmproj",
        metavar="TYPE",
        recorded=False,
    )
    mix: Path | None = text_model_option(
        None, "file", TYPES, "A mix of your own, as the tables in formats/mixes/.", "--mix", metavar="FILE"
    )
    tensor_types: tuple[tuple[str, str], ...] = text_model_option(
        (),
        "pairs",
        TYPES,
        "Block type for tensors whose GGUF name matches. Repeatable; the first that matches counts.",
        "--tensor-type",
        metavar="REGEX=TYPE",
    )
    output_tensor_type: str | None = text_model_option(
        None, "text", TYPES, "Block type for output.weight.", "--output-tensor-type", metavar="TYPE"
    )
    token_embedding_type: str | None = text_model_option(
        None, "text", TYPES, "Block type for token_embd.weight.", "--token-embedding-type", metavar="TYPE"
    )
    pure: bool = text_model_option(False, "flag", TYPES, "The mix's main block type for every tensor.", "--pure")
    leave_output_tensor: bool = text_model_option(
        False, "flag", TYPES, "Do not quantize output.weight.", "--leave-output-tensor"
    )
    strict: bool = option(
        False,
        "flag",
        TYPES,
        "Stop before work starts when a tensor's rows do not fit its type, instead of taking another type.",
        "--strict",
        recorded=False,
    )
    allow_requantize: bool = option(
        False,
        "flag",
        TYPES,
        "Quantize what is quantized already, which loses more than quantizing the original.",
        "--allow-requantize",
    )
    allow_non_finite: bool = option(
        False,
        "flag",
        TYPES,
        "Keep the source's NaN and infinity in f32, f16 and bf16 files instead of stopping; others cannot hold them.",
        "--allow-non-finite",
    )
    search: str = option(
        "reference",
        "choice",
        TYPES,
        "reference (the default): llama.cpp's bytes. thorough: smaller error in the same format, more time.",
        "--search",
        metavar="|".join(SEARCHES),
    )
    rounding: str = text_model_option(
        "nearest",
        "choice",
        TYPES,
        "nearest (the default): llama.cpp's bytes. gptq: later columns undo the errors of earlier ones, in the same"
        " format; needs --hessians.",
        "--rounding",
        metavar="|".join(ROUNDINGS),
    )
    hessians: Path | None = text_model_option(
        None,
        "file",
        IMPORTANCE,
        "What 'qconv calibrate --hessians' measured of this model, for --rounding gptq.",
        "--hessians",
        metavar="FILE|DIR",
    )
    imatrix: Path | None = text_model_option(
        None,
        "file",
        IMPORTANCE,
        "An importance matrix: what 'qconv calibrate' measured, or llama-imatrix, GGUF or .dat.",
        "--imatrix",
        metavar="FILE",
    )
    imatrix_name: str | None = dataclasses.field(default=None, metadata={"text_model": True})
    include_weights: tuple[str, ...] = text_model_option(
        (), "texts", IMPORTANCE, "Use it for these tensors only. Repeatable.", "--include-weights", metavar="NAME"
    )
    exclude_weights: tuple[str, ...] = text_model_option(
        (), "texts", IMPORTANCE, "Do not use it for these. Repeatable.", "--exclude-weights", metavar="NAME"
    )
    arch: str | None = text_model_option(
        None,
        "text",
        MODEL,
        "general.architecture for a lone safetensors file, whose tensor names are kept.",
        "--arch",
        metavar="NAME",
    )
    pre: str | None = text_model_option(
        None, "text", MODEL, "The tokenizer's pre-tokenizer, when it is not known.", "--pre", metavar="NAME"
    )
    sentence_transformers_dense_modules: bool = text_model_option(
        False,
        "flag",
        MODEL,
        "Write the Dense modules that modules.json names, as llama.cpp's converter does when asked.",
        "--sentence-transformers-dense-modules",
    )
    override_kv: tuple[str, ...] = option(
        (),
        "texts",
        MODEL,
        "Set a metadata key; TYPE is int, float, bool or str. Repeatable.",
        "--override-kv",
        metavar="KEY=TYPE:VALUE",
    )
    adapter: tuple[str, ...] = option(
        (),
        "texts",
        ADAPTERS,
        "Merge a LoRA adapter, PEFT's or MLX's, into the model; WEIGHT times as strong. Repeatable.",
        "--adapter",
        metavar="DIR[=WEIGHT]",
    )
    base: str | None = text_model_option(
        None,
        "text",
        ADAPTERS,
        "The model that SOURCE, an adapter, is for: makes a file of the adapter alone, for --lora of llama.cpp.",
        "--base",
        metavar="DIR",
    )
    target: str | None = text_model_option(
        None,
        "text",
        MODEL,
        "The model that SOURCE, a drafter such as Eagle3 or DFlash, drafts for: it has that one's tokenizer.",
        "--target",
        metavar="DIR",
    )
    mtp: str = text_model_option(
        "keep",
        "choice",
        MODEL,
        "Layers that predict further tokens: keep (the default); none, as llama.cpp's converter does with --no-mtp;"
        " only those and the embeddings, as with --mtp, for a file to draft with.",
        "--mtp",
        metavar="|".join(MTP),
    )
    output: str | None = option(
        None,
        "place",
        OUTPUT,
        "Where to write. By default beside the source, named as llama.cpp's converter names files.",
        "--output",
        "-o",
        metavar="FILE|DIR",
        recorded=False,
    )
    split_max_size: int | None = text_model_option(
        None,
        "size",
        OUTPUT,
        "Split into files of at most SIZE, such as 4GB, as llama.cpp does.",
        "--split-max-size",
        metavar="SIZE",
    )

    def __post_init__(self) -> None:
        self._check_together()
        self._check_each()
        if self.output is not None:
            self._check_output(Path(self.output), self.output.endswith(("/", os.sep)))

    def _check_together(self) -> None:
        """Refuses options that do not go together."""
        if self.mix is not None and (self.types or self.sizes):
            other = "--type" if self.types else "--size"
            raise UsageError(f"--mix and {other} cannot be used together", hint="the mix file takes the type's place")
        if self.block_types and not self.sizes:
            raise UsageError("--block-types is for --size", hint="--tensor-type REGEX=TYPE gives tensors a type")
        if self.sizes and self.pure:
            raise UsageError("--pure and --size cannot be used together", hint="--size chooses a type for each tensor")
        if not self.of_text and not self.mmproj:
            raise UsageError("no type is named", hint="--type q4_k_m is the usual choice, --type q8_0 the safe one")
        if not self.of_text:
            self._check_projector_alone()
        if self.base is not None and self.adapter:
            hint = "merge, or make a file of one adapter"
            raise UsageError("--base and --adapter cannot be used together", hint=hint)
        if self.rounding == "gptq" and self.hessians is None:
            hint = "'qconv calibrate --hessians' makes them of a text"
            raise UsageError("--rounding gptq needs --hessians", hint=hint)
        if self.rounding != "gptq" and self.hessians is not None:
            raise UsageError("--hessians is for --rounding gptq", hint="add it, or leave --hessians out")
        if self.include_weights and self.exclude_weights:
            raise UsageError("--include-weights and --exclude-weights cannot be used together")

    def _check_each(self) -> None:
        """Refuses values that are none of their option's."""
        from qconv import policy, tokenizers

        if self.search not in SEARCHES:
            raise UsageError(f"unknown search '{self.search}'", hint=f"one of {', '.join(SEARCHES)}")
        if self.mtp not in MTP:
            raise UsageError(f"--mtp cannot be '{self.mtp}'", hint=f"one of {', '.join(MTP)}")
        if self.rounding not in ROUNDINGS:
            raise UsageError(f"unknown rounding '{self.rounding}'", hint=f"one of {', '.join(ROUNDINGS)}")
        if self.split_max_size is not None and self.split_max_size < 1:
            raise UsageError(f"shards of {self.split_max_size} bytes hold nothing", hint="such as 4GB")
        if self.pre is not None:
            tokenizers.check_pre(self.pre)
        for name in (*self.types, *self.mmproj):
            policy.find_mix(name)
        for name in self.block_types:
            policy.block_type(name)
        # what each of these is made of is checked as it is made
        _ = self.wanted_sizes, self.type_overrides, self.metadata_overrides, self.adapters

    def _check_output(self, output: Path, is_directory: bool) -> None:
        if output.is_dir():
            return
        several = self.outputs > 1
        hint = "make the directory first, with mkdir -p"
        if is_directory or (several and output.suffix.lower() != ".gguf"):
            raise UsageError("--output: is not a directory", file=output, hint=hint)
        if several:
            message = f"--output names one file, but {self.outputs} are to be made"
            raise UsageError(message, file=output, hint="name a directory")
        if output.suffix.lower() != ".gguf":
            message = "--output: is neither a directory nor the name of a .gguf file"
            raise UsageError(message, file=output, hint=f"{hint}, or end the file's name in .gguf")

    def _check_projector_alone(self) -> None:
        """Refuses what is said of a text model that is not made."""
        for field in text_model_only(self):
            if getattr(self, field.name) != field.default:
                flag = field.metadata["about"].flags[0]
                raise UsageError(f"{flag} is for the text model, and --mmproj alone makes no file of it")

    @property
    def of_text(self) -> bool:
        """Whether a file of the text model is to be made."""
        return bool(self.types or self.sizes or self.mix is not None)

    @property
    def outputs(self) -> int:
        """How many models are to be made, one in several files counted once."""
        from qconv import policy

        named = [len({policy.find_mix(name).name for name in names}) for names in (self.types, self.mmproj)]
        return sum(named) + len(self.wanted_sizes) + (self.mix is not None)

    @cached_property
    def for_projector(self) -> ConvertOptions:
        """What counts for the projector alone."""
        unset: dict[str, Any] = {field.name: field.default for field in text_model_only(self)}
        return dataclasses.replace(self, types=(), sizes=(), **unset)

    @cached_property
    def wanted_sizes(self) -> tuple[Size, ...]:
        """``sizes``, each once."""
        return tuple(dict.fromkeys(Size.parse(text) for text in self.sizes))

    @cached_property
    def type_overrides(self) -> TypeOverrides:
        """What is said about types beyond the mix."""
        from qconv import policy

        return policy.TypeOverrides(
            tensor_types=tuple(policy.TensorType.of(pattern, name) for pattern, name in self.tensor_types),
            output_tensor_type=self.output_tensor_type,
            token_embedding_type=self.token_embedding_type,
            pure=self.pure,
            leave_output_tensor=self.leave_output_tensor,
            allow_requantize=self.allow_requantize,
        )

    @cached_property
    def metadata_overrides(self) -> tuple[tuple[str, Value], ...]:
        """``override_kv`` as keys and values."""
        from qconv import metadata

        return tuple(metadata.parse_override(text) for text in self.override_kv)

    @cached_property
    def adapters(self) -> tuple[AdapterOption, ...]:
        """``adapter`` as places and weights."""
        return tuple(map(AdapterOption.parse, self.adapter))

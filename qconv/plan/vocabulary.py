"""The tokenizer of a source: its own, or that of the model it drafts for."""

from __future__ import annotations

from pathlib import Path

from qconv import architectures, checkpoints, tokenizers
from qconv.errors import PlanError, UsageError
from qconv.files import read_object
from qconv.storage import Folder, LocalFolder, open_address
from qconv.types import Metadata

_OF_TARGET = "target"
"""What a table calls the tokenizer of the model that a drafter is for."""


def open_target(target: str) -> Folder:
    """The folder of the model that a drafter is for."""
    return open_address(target)[0] if "://" in target else LocalFolder(Path(target))


def read_vocabulary(
    checkpoint: checkpoints.Checkpoint,
    resolved: architectures.Resolved,
    target: Folder | None,
    pre: str | None,
    notes: list[str],
) -> Metadata:
    """The tokenizer's keys: of the model's own, or of ``target``'s where its table says so."""
    folder, config, kinds, options = checkpoint.folder, resolved.config, resolved.tokenizer, resolved.tokenizer_options
    if kinds == (_OF_TARGET,):
        if target is None:
            hint = "--target DIR names the model it drafts for"
            raise UsageError("is a drafter, which has no tokenizer of its own", file=folder.location, hint=hint)
        folder = target
        kinds, more, config = architectures.vocabulary_of(read_object(target, "config.json"), target)
        options = more | {"after": more.get("after", {}) | options.get("after", {})}
    elif target is not None:
        raise UsageError("--target is for a drafter, and this is none", file=folder.location)
    return tokenizers.metadata(folder, config, kind=kinds, options=options, pre=pre, note=notes.append)


def check_vocabulary(folder: Folder, outputs: tuple[architectures.MappedTensor, ...], vocabulary: Metadata) -> None:
    """PlanError where the embedding has other rows than the tokenizer tokens."""
    tokens = vocabulary.get("tokenizer.ggml.tokens")
    embedding = next((o.tensor.shape for o in outputs if o.name == "token_embd.weight"), None)
    if tokens is None or embedding is None or len(embedding) != 2 or len(tokens.data) == embedding[0]:
        return
    raise PlanError(
        f"the tokenizer has {len(tokens.data)} tokens, but the embedding {embedding[0]} rows",
        file=folder.location,
        hint="take tokenizer files, config.json and weights from the same model; vocab_size must be the embedding's",
    )

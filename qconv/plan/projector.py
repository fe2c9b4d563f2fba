"""The projector of a source, before any type is chosen; made from headers and configs alone."""

from __future__ import annotations

from dataclasses import replace

from qconv import architectures, checkpoints
from qconv.errors import UsageError
from qconv.metadata import is_projector
from qconv.plan.source_model import SourceModel, of_checkpoint
from qconv.plan.types import Plan

_NAMES_OPTION = "of the projector, which --mmproj f16 makes a file of"


def read_projector(checkpoint: checkpoints.Checkpoint) -> SourceModel:
    """The projector of the model in an open checkpoint.

    Raises UsageError where the source is no model with a config.json, else as ``architectures.resolve_projector``.
    """
    if checkpoint.kind == "adapter" or checkpoint.config is None:
        made = checkpoint.metadata is not None and is_projector(checkpoint.metadata)
        hint = "a projector's file gets another type by --type" if made else "take the checkpoint it was made from"
        raise UsageError("--mmproj is for a model with a config.json", file=checkpoint.location, hint=hint)
    if folders := architectures.folders_of_projector(checkpoint.config, checkpoint.folder):
        checkpoint = checkpoints.with_folders(checkpoint, folders)
    resolved = architectures.resolve_projector(checkpoint)
    return of_checkpoint(checkpoint, resolved, {}, [*checkpoint.notes, *resolved.notes], "projector")


def naming_option(plan: Plan, checkpoint: checkpoints.Checkpoint) -> Plan:
    """``plan``, of a text model: what it says is left out of the projector names the option that makes its file."""
    if not plan.dropped or checkpoint.config is None:
        return plan
    own = architectures.of_projector(checkpoint.config, [name for name, _ in plan.dropped])
    return replace(plan, dropped=tuple((name, _NAMES_OPTION if name in own else why) for name, why in plan.dropped))


def told_once(plans: tuple[Plan, ...]) -> tuple[Plan, ...]:
    """Plans of several parts: none says of a tensor that another one uses that it is left out, or what one has said."""
    used = {source for plan in plans for tensor in plan.tensors for source in tensor.tensor.sources}
    said = {warning for plan in plans if plan.part == "text" for warning in plan.warnings}
    return tuple(
        replace(
            plan,
            dropped=tuple(pair for pair in plan.dropped if pair[0] not in used),
            warnings=tuple(w for w in plan.warnings if plan.part == "text" or w not in said),
        )
        for plan in plans
    )

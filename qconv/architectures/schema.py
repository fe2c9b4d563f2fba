"""What tables of ``formats/architectures/`` and ``formats/projectors/`` may say: one language, as frozen types.

``formats/README.md`` explains it to people.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from qconv.types import ModelPart

PROJECTOR = "clip"
"""``general.architecture`` of all projectors."""

Argument: TypeAlias = str | int | float
When: TypeAlias = str | dict[str, Any]
"""A condition's name, or config keys (dotted) with the value or the list of values each must have."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from", "or_": "or"}):
    """Where one output tensor comes from; exactly one of ``from`` and ``make`` is set.

    ``or``: other spellings of ``from``, the first one that is there counts.  ``optional``: may be missing, always or
    when the named condition holds.  ``store``: the type llama.cpp's converter forces on it: a type, "file" for the
    file's own, "half" for F16 in an F16 file and else F32, or "source" for that of the checkpoint, Q8_0 where that is
    an 8-bit float.  ``count``: the derivation that says how many {expert} stands for here, where it is something else
    than the table's experts.  ``layers``: the derivation that lists what {layer} is in the output; in the sources
    {index} is each number's place in that list.
    """

    from_: str | tuple[str, ...] | None = None
    or_: tuple[str | tuple[str, ...], ...] = ()
    do: tuple[str | dict[str, Argument | tuple[Argument, ...]], ...] = ()
    make: str | None = None
    when: When | None = None
    optional: bool | str = False
    store: str | None = None
    count: str | None = None
    layers: str | None = None


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """Where one metadata value comes from; exactly one of ``from``, ``value`` and ``derive`` is set.

    ``from``: config keys, the first one present counts.  ``default``: the value when none is, or it is null.
    ``names``: what the config's words mean.  ``of``: config keys a derivation is about.
    """

    from_: str | tuple[str, ...] | None = None
    value: Any = None
    derive: str | None = None
    of: tuple[Argument, ...] = ()
    names: dict[str, int | str] | None = None
    default: Any = None
    optional: bool = False
    when: When | None = None


class Drop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Source tensors left out on purpose: ``names`` may hold {layer} and {expert}, the others are parts of names.

    ``layers``: the derivation that lists what {layer} in ``starts`` stands for.
    """

    reason: str
    names: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    layers: str | None = None
    when: When | None = None


Entries: TypeAlias = dict[str, str | tuple[str, ...] | Entry]
Keys: TypeAlias = dict[str, str | tuple[str, ...] | Key]


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``modules`` are a weight and a bias if there is one; ``tensors`` are named in full.

    ``layers``: the derivation that counts this group's layers, where they are not the table's, as a decoder's.
    """

    modules: Entries = {}
    tensors: Entries = {}
    layers: str | None = None


class Tower(Variant, frozen=True, forbid_unknown_fields=True):
    """The encoder of images or of sounds in a projector's table.

    ``config``: where the model's config keeps its part, the first one there counts; "." is the whole.  ``optional``:
    not all models of the classes have it.
    """

    config: str | tuple[str, ...] = ()
    optional: bool = False


TOWERS = ("vision", "audio")
"""Kinds of towers: fields of a table, and what their parts of the config are called in it."""


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One architecture, or the projector of some classes; see ``formats/README.md``.

    ``config_file``: where the config is.  ``exclude``: what it does not inherit of the table it extends and of the keys
    all have.  ``redirect``: other tables, each with the condition on the config under which that one counts instead.
    ``store``: of entries that have none of their own.  ``mtp``: whether ``--mtp`` is possible, or other tables that
    count for ``--mtp only``, each with its condition.  ``wrappers``: prefixes of source names beside those all have.
    ``within``: how names of the part's tensors begin, where others are another part's.  ``folders``: those within the
    model's with tensors of the part, which are called FOLDER/NAME.  ``module_parts``: numbers that modules may have
    besides a weight and a bias.
    """

    name: str = ""
    part: ModelPart = "text"
    about: str = ""
    classes: tuple[str, ...] = ()
    extends: str | None = None
    exclude: tuple[str, ...] = ()
    architecture: str | None = None
    config_file: str = "config.json"
    redirect: dict[str, When] = {}
    tokenizer: str | tuple[str, ...] = ""
    tokenizer_options: dict[str, Any] = {}
    common: bool = True
    layers: str = "n_layer"
    experts: str = "n_expert"
    renames: tuple[str, ...] = ()
    mtp: bool | dict[str, When] = False
    store: str | None = None
    defaults: dict[str, dict[str, Any]] = {}
    metadata: Keys = {}
    modules: Entries = {}
    tensors: Entries = {}
    alternatives: dict[str, dict[str, Variant]] = {}
    wrappers: tuple[str, ...] = ()
    within: tuple[str, ...] = ()
    module_parts: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    vision: Tower | None = None
    audio: Tower | None = None
    drop: tuple[Drop, ...] = ()

    @property
    def gguf_name(self) -> str:
        """The value of ``general.architecture``."""
        return self.architecture or (PROJECTOR if self.part == "projector" else self.name)

    @property
    def towers(self) -> dict[str, Tower]:
        """The towers it has by kind."""
        return {kind: tower for kind in TOWERS if (tower := getattr(self, kind)) is not None}


class Common(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What holds for all tables of a part: wrapper prefixes, keys written from any config, parts always left out.

    ``multimodal``: classes known to be a text model, of a class by its ``model_type`` in ``text_models``, and more.
    ``stacked_experts``: where a layer's experts are, by the end of one's name, when they are in one tensor already.
    ``text_sizes``: what a text model's part of a config may leave out, by its ``model_type``.
    ``vision``, ``audio``: keys of projectors with such a tower.  ``refused``: why those of a class are not made.
    """

    wrappers: tuple[str, ...]
    inside: tuple[str, ...]
    metadata: Keys
    endings: dict[str, str] = {}
    stacked_experts: dict[str, Entry] = {}
    text_configs: tuple[str, ...] = ()
    wrapper_classes: tuple[str, ...] = ()
    multimodal: tuple[str, ...] = ()
    text_models: dict[str, str] = {}
    text_sizes: dict[str, dict[str, int]] = {}
    vision: Keys = {}
    audio: Keys = {}
    refused: dict[str, str] = {}
    drop: tuple[Drop, ...] = ()

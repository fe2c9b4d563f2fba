"""Mixes: the tables behind ``--type``, and the user's own (``--mix``)."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

import msgspec

from qconv import formats
from qconv.errors import TableError, UsageError, known_words
from qconv.policy.conditions import CONDITIONS
from qconv.policy.roles import members, roles_of

Words = str | tuple[str, ...]


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tensors of ``role`` get block type ``use`` when all of ``when`` and none of ``unless`` hold."""

    role: Words
    use: str
    when: Words = ()
    unless: Words = ()
    why: str = ""

    @property
    def roles(self) -> frozenset[str]:
        return roles_of(words(self.role))

    @property
    def reason(self) -> str:
        """The rule in words, for the table of a dry run."""
        phrases = ", ".join(CONDITIONS[word][1] for word in words(self.when))
        return self.why or "/".join(words(self.role)) + (f": {phrases}" if phrases else "")


class Mix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mix: the first rule that applies decides, ``type`` where none does.

    ``file_type`` goes into ``general.file_type``; a built-in mix's follows from its name.  ``bits`` are bits per
    weight of Llama 3 8B.  Types in ``needs_imatrix`` are refused without an importance matrix.  With ``extends``, a
    mix's rules come before those of the built-in mix it names, and what it leaves out is taken from there.
    ``tensors``: block types of tensors by their whole names, before any rule.
    ``keep``: weights that a checkpoint has quantized already stay so where a type holds the same numbers; of a float
    ``type`` the others are as the checkpoint stores them.
    """

    file_type: int | None = None
    type: str = ""
    about: str = ""
    bits: float = 0.0
    aliases: tuple[str, ...] = ()
    needs_imatrix: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    tensors: dict[str, str] = {}
    extends: str = ""
    keep: bool = False
    name: str = ""

    @property
    def is_float(self) -> bool:
        """Whether the default is F32, F16 or BF16 instead of a quantized block type."""
        return formats.block_types()[self.type].weights == 1


def words(value: Words) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


@functools.cache
def mixes() -> dict[str, Mix]:
    """The built-in mixes by name (``Q4_K_M``), fewest bits first."""
    paths = (formats.ROOT / "mixes").glob("*.toml")
    loaded = [_checked(_named(formats.load(path, Mix), path), path, formats.block_types()) for path in paths]
    return {mix.name: mix for mix in sorted(loaded, key=lambda mix: (mix.bits, mix.name))}


@functools.cache
def offered() -> tuple[str, ...]:
    """Block types that can be asked for: those the built-in mixes use."""
    used = {use for mix in mixes().values() for use in (mix.type, *(rule.use for rule in mix.rules))}
    return tuple(sorted(used, key=lambda name: (formats.block_types()[name].bits, name)))


def block_types_of(chosen: Iterable[Mix]) -> tuple[str, ...]:
    """Block types that mixes use, those included that stand in where rows do not fit."""
    types = formats.block_types()
    used = {use for mix in chosen for use in (mix.type, *mix.tensors.values(), *(rule.use for rule in mix.rules))}
    return tuple(sorted(used | {types[name].fallback for name in used}))


def find_mix(name: str) -> Mix:
    """The mix ``--type`` names, in any case or by an alias; else an error that lists the known, nearest first."""
    wanted = name.strip().upper()
    for mix in mixes().values():
        if wanted == mix.name or wanted.lower() in mix.aliases:
            return mix
    known = [mix.name.lower() for mix in mixes().values()]
    raise UsageError(f"unknown type '{name}'", hint=known_words(name.lower(), known))


def load_mix(path: Path) -> Mix:
    """The user's own mix; its name is the file's."""
    mix = _named(formats.load(path, Mix), path)
    if mix.extends:
        base = find_mix(mix.extends)
        mix = msgspec.structs.replace(
            mix,
            type=mix.type or base.type,
            file_type=base.file_type if mix.file_type is None else mix.file_type,
            needs_imatrix=mix.needs_imatrix or base.needs_imatrix,
            rules=mix.rules + base.rules,
        )
    return _checked(mix, path, offered())


def block_type(name: str) -> str:
    """The block type an option names, in any case; else an error that lists the known, nearest first."""
    wanted = name.strip().upper()
    if wanted in offered():
        return wanted
    raise UsageError(f"unknown block type '{name}'", hint=known_words(wanted, offered()))


def _named(mix: Mix, path: Path) -> Mix:
    name = path.stem.upper()
    number = formats.file_types().get(name) if mix.file_type is None and not mix.extends else mix.file_type
    return msgspec.structs.replace(mix, name=name, file_type=number)


def _checked(mix: Mix, path: Path, types: Iterable[str]) -> Mix:
    """``mix``, or an error that points at the key in ``path`` that is wrong; ``types`` are those it may use."""

    def check(key: str, value: str, known: Iterable[str]) -> None:
        if value not in known:
            raise TableError(f"{key}: '{value}' is not known", file=path, hint=known_words(value, known))

    if not mix.type:
        raise TableError("type: is missing", file=path, hint='a block type, or extends = "q4_k_m"')
    if mix.file_type is None or not 0 <= mix.file_type < 1024:
        hint = 'a number such as 15, or extends = "q4_k_m"'
        raise TableError("file_type: is missing or no file type", file=path, hint=hint)
    check("type", mix.type, types)
    for at, needing in enumerate(mix.needs_imatrix):
        check(f"needs_imatrix[{at}]", needing, types)
    for tensor, use in mix.tensors.items():
        check(f"tensors.{tensor!r}", use, types)
    for at, rule in enumerate(mix.rules):
        for word in words(rule.role):
            check(f"rules[{at}].role", word, members())
        for key in ("when", "unless"):
            for word in words(getattr(rule, key)):
                check(f"rules[{at}].{key}", word, CONDITIONS)
        check(f"rules[{at}].use", rule.use, types)
    return mix

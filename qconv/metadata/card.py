"""The front matter of a model card: the YAML between two ``---`` lines at the start of ``README.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qconv.errors import FormatError
from qconv.files import DEEPEST, as_utf8, nests_deeper
from qconv.storage import Folder

if TYPE_CHECKING:
    from yaml import SafeLoader
    from yaml.cyaml import CSafeLoader

CARD = "README.md"
_LARGEST_CARD = 16 << 20
_LARGEST_FRONT_MATTER = 1 << 20
_TOO_DEEP = f"has collections more than {DEEPEST} deep"


def read_card(folder: Folder) -> tuple[dict[str, Any], str | None]:
    """The card's front matter, empty when there is none, and what was wrong with it, if anything.

    A malformed card stops nothing: the model can be converted without it.  Raises InputError when it is
    there but cannot be read.
    """
    try:
        if not folder.has(CARD):
            return {}, None
        text = as_utf8(folder.read(CARD, _LARGEST_CARD), folder.locate(CARD)).decode("utf-8")
    except (FormatError, UnicodeDecodeError) as e:
        return {}, f"the model card {CARD} cannot be read: {e}"
    front = _front_matter(text)
    if not front:
        return {}, None
    if len(front) > _LARGEST_FRONT_MATTER:
        return {}, f"the front matter of {CARD} is too long to be read"
    import yaml

    # cards of embedding models hold thousands of lines of results: libyaml's reader where it is there
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if unread := _hostile(front, loader):
            return {}, f"the front matter of {CARD} {unread}, which are not read"
        card = yaml.load(front, Loader=loader)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as e:
        return {}, f"the front matter of {CARD} is no YAML: {' '.join(str(e).split())}"
    if not isinstance(card, dict):
        return {}, f"the front matter of {CARD} is not a mapping"
    return card, None


def _hostile(front: str, loader: type[SafeLoader | CSafeLoader]) -> str | None:
    """What would take any amount of memory or of the stack to load, if there is any of it."""
    import yaml

    # before the reader sees any: it looks ahead, and may refuse brackets by a bound of its own, in other words
    if nests_deeper(front.encode(), DEEPEST):
        return _TOO_DEEP
    depth = 0
    for event in yaml.parse(front, Loader=loader):
        if isinstance(event, yaml.AliasEvent):  # a few lines of them can unfold into anything
            return "has aliases"
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:  # libyaml's loader calls itself for each, and a stack that is full ends the process
            return _TOO_DEEP
    return None


def _front_matter(text: str) -> str:
    lines = text.splitlines()
    if not lines or lines[0] != "---":
        return ""
    end = lines.index("---", 1) if "---" in lines[1:] else len(lines)
    front = "\n".join(lines[1:end]) + "\n"
    # Norwegian is not "false", and tabs, which YAML forbids, are met in cards
    return front.replace("- no\n", '- "no"\n').replace("\t", "  ")

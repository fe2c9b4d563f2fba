"""Chat templates, carried over as text and never rendered."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

from qconv.errors import FormatError
from qconv.formats import ROOT
from qconv.tokenizers.files import TokenizerFiles
from qconv.types import Metadata, Value, ValueType

TEMPLATE_FILE = "chat_template.jinja"
LARGEST_TEMPLATE = 4 << 20
_MORE = "additional_chat_templates"
_PLAIN = frozenset(string.ascii_letters + string.digits)


def chat_templates(files: TokenizerFiles) -> Metadata:
    """``tokenizer.chat_template`` and, for named ones, ``tokenizer.chat_template.NAME`` and their list.

    ``tokenizer_config.json`` comes first, then ``chat_template.jinja`` with ``additional_chat_templates/*.jinja``, then
    ``chat_template.json``.  Without a ``tokenizer_config.json`` there is none, and an empty one is none either.
    """
    config = files.tokenizer_config
    if not config:
        return {}
    given = config["chat_template"] if "chat_template" in config else _from_files(files)
    if isinstance(given, str):
        return {"tokenizer.chat_template": Value.string(given)} if given else {}
    return _named(given) if isinstance(given, list) else {}


def _from_files(files: TokenizerFiles) -> Any:
    if files.has(TEMPLATE_FILE):
        default = template_text(files, TEMPLATE_FILE)
        # the converter takes a directory's own order, which differs from one disk to the next
        more = [name for name in files.folder.names(_MORE) if name.endswith(".jinja")]
        if not more:
            return default
        named = [
            {"name": name.removesuffix(".jinja"), "template": template_text(files, f"{_MORE}/{name}")} for name in more
        ]
        return [{"name": "default", "template": default}, *named]
    return files.object("chat_template.json").get("chat_template")


def _named(choices: list[Any]) -> Metadata:
    keys: Metadata = {}
    names: list[str] = []
    default = None
    for choice in choices:
        if not isinstance(choice, dict) or not isinstance(choice.get("template"), str):
            continue
        # only letters and digits can stand in a key
        name = "".join(c if c in _PLAIN else "_" for c in str(choice.get("name") or ""))
        if name == "default":
            default = choice["template"]
        elif name:
            if choice["template"]:
                keys[f"tokenizer.chat_template.{name}"] = Value.string(choice["template"])
            if name not in names:
                names.append(name)
    if names:
        keys["tokenizer.chat_templates"] = Value.array(ValueType.STRING, names)
    if default:
        keys["tokenizer.chat_template"] = Value.string(default)
    return keys


def template_text(files: TokenizerFiles, name: str) -> str:
    """The text of a template's file; FormatError when it is not UTF-8."""
    try:
        # a text file's line ends all read as "\n"
        return files.text(name, LARGEST_TEMPLATE).decode().replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as e:
        raise FormatError("is not UTF-8", file=files.locate(name)) from e


def bundled_template(files: TokenizerFiles, choices: Mapping[str, str]) -> Metadata:
    """The template of ``formats/templates/`` that stands in for that of a model which renders its chats in code.

    ``choices``: its name by a part of the checkpoint's; the first that fits counts, and there may be none.
    """
    name = next((name for part, name in choices.items() if part in files.folder.name), None)
    if name is None:
        return {}
    return {"tokenizer.chat_template": Value.string(bundled_text(name))}


def bundled_text(name: str) -> str:
    """The text of a template of ``formats/templates/``."""
    return (ROOT / "templates" / f"{name}.jinja").read_text("utf-8")

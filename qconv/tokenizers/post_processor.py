"""What ``tokenizer.json``'s ``post_processor`` tells of the tokens around a text: whether BOS, EOS and SEP are added.

It may also name special tokens that ``tokenizer_config.json`` leaves out.  Templates are read for their first and last
token only, as llama.cpp's ``SpecialVocab`` does.
"""

from __future__ import annotations

from typing import Any


class Surroundings:
    """``adds``: by name (bos, eos, sep), whether it is added.  ``named``: special tokens by name, text or object, the
    config's and what was found here.  ``extra``: names (eot, eom) given to an end token that another one replaced.
    """

    def __init__(self, config: dict[str, Any], post_processor: dict[str, Any] | None) -> None:
        self.adds: dict[str, bool] = {}
        self.extra: list[str] = []
        self.named = dict(config)
        # a file without tokenizer_config.json names nothing: only whether tokens are added is learnt from it
        self._may_name = bool(config)
        self._bos, self._eos, self._cls, self._sep = (
            config.get(f"{name}_token") for name in ("bos", "eos", "cls", "sep")
        )
        if not self._bos and self._cls and self._may_name:
            self._bos = self.named["bos_token"] = self._cls
        if not self._eos and self._sep and self._may_name:
            self._eos = self.named["eos_token"] = self._sep
        if post_processor:
            inner = post_processor.get("processors")
            for step in inner if isinstance(inner, list) else [post_processor]:
                if isinstance(step, dict):
                    self._step(step)

    def _step(self, step: dict[str, Any]) -> None:
        match step.get("type"):
            case "ByteLevel":
                self.adds.setdefault("bos", False)
                self.adds.setdefault("eos", False)
            case "RobertaProcessing":
                self._roberta(step)
            case "TemplateProcessing":
                first, last = self._single(_items(step, "single"))
                self._pair(_items(step, "pair"), first, last)

    def _roberta(self, step: dict[str, Any]) -> None:
        self.adds |= {"bos": True, "eos": True, "sep": True}
        for name, token in (("cls", self._cls), ("sep", self._sep)):
            entry = step.get(name)
            if not token and self._may_name and isinstance(entry, list) and entry:
                self.named[f"{name}_token"] = entry[0]
        self._cls, self._sep = (self.named.get("cls_token"), self.named.get("sep_token"))

    def _single(self, items: list[dict[str, Any]]) -> tuple[str | None, str | None]:
        """The special tokens at both ends of a text."""
        if len(items) < 2:
            return None, None
        first, last = _special(items[0]), _special(items[-1])
        if first:
            if not self._may_name:
                self._bos = first
            elif first not in (self._bos, self._cls):
                if not self._bos:
                    self._bos = self.named["bos_token"] = first
                if not self._cls:
                    self._cls = self.named["cls_token"] = first
            self.adds["bos"] = first in (self._bos, self._cls)
        if last:
            if not self._may_name:
                self._eos = last
            elif last != self._eos:
                # the config's end token ends a turn or a message, the template's the text
                name = next((n for n in ("eot", "eom") if n not in self.extra), None)
                if name is not None:
                    self.extra.append(name)
                    self.named[f"{name}_token"] = self._eos
                self._eos = self.named["eos_token"] = last
            self.adds["eos"] = last == self._eos
        return first, last

    def _pair(self, items: list[dict[str, Any]], first: str | None, last: str | None) -> None:
        """Whether something stands between two texts: A [sep] [eos] B."""
        if not items:
            return
        start = 1 if first and _special(items[0]) == first else 0
        stop = len(items) - 1 if last and _special(items[-1]) == last else len(items)
        items = items[start:stop]
        if not items or (_sequence(items[0]), _sequence(items[-1])) != ("A", "B") or len(items) < 3:
            return
        between = [_special(item) for item in items[1:-1]]
        ends = (self._sep, self._eos)
        add = between[0] is not None and between[0] in ends and not last
        if len(between) == 2:
            add = add or (between[1] is not None and between[1] in ends)
        self.adds["sep"] = add
        if add and not self._sep and self._may_name:
            self.named["sep_token"] = self._eos


def _items(step: dict[str, Any], name: str) -> list[dict[str, Any]]:
    items = step.get(name)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _special(item: dict[str, Any]) -> str | None:
    return _id(item, "SpecialToken")


def _sequence(item: dict[str, Any]) -> str | None:
    return _id(item, "Sequence")


def _id(item: dict[str, Any], kind: str) -> str | None:
    entry = item.get(kind)
    name = entry.get("id") if isinstance(entry, dict) else None
    return name if isinstance(name, str) and name else None


def unknown_in_template(post_processor: Any) -> str | None:
    """A token that a template puts around a text and does not define: there the tokenizers library panics, aloud."""
    inner = post_processor.get("processors") if isinstance(post_processor, dict) else None
    for step in inner if isinstance(inner, list) else [post_processor]:
        if isinstance(step, dict) and step.get("type") == "TemplateProcessing":
            defined = step.get("special_tokens")
            for item in _items(step, "single"):
                token = _special(item)
                if token is not None and not (isinstance(defined, dict) and token in defined):
                    return token
    return None

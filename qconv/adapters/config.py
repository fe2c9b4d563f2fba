"""What ``adapter_config.json`` says, PEFT's and MLX's: how strong an adapter's changes are, and what they are."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from qconv.errors import FormatError, UnsupportedError

LONGEST_PATTERN = 200
LARGEST_NUMBER = 1e9
"""A strength; those of real adapters lie below a thousand."""
_PATTERN = re.compile(r"[\w.\-\\|^$()?*+\[\]]+")
_REPEATED_GROUP = re.compile(r"\)[*+?]")
_MOST_REPEATS = 2

_BY_TOKENS = "alora_invocation_tokens"
_OTHER_WAYS = {
    "layer_replication": "repeats layers of its base",
    _BY_TOKENS: "is switched on by tokens (aLoRA)",
    "use_qalora": "is quantization-aware (QA-LoRA)",
    "monteclora_config": "is a MonteCLoRA",
    "use_bdlora": "is block-diagonal (BD-LoRA)",
    "arrow_config": "routes between adapters (Arrow)",
    "kasa_config": "is a KaSA",
}
"""Fields of PEFT's ``LoraConfig`` that change what is computed, and what they mean."""
_CHANGED_BASE = ("pissa", "olora", "corda", "lora_ga", "loftq")
"""Beginnings of ``init_lora_weights`` for which training began from other base weights than the base's own."""


@dataclass(frozen=True)
class AdapterConfig:
    """An adapter's configuration; ``location``: what messages call the file."""

    values: Mapping[str, Any]
    location: str

    @cached_property
    def is_mlx(self) -> bool:
        return "peft_type" not in self.values and ("lora_parameters" in self.values or "fine_tune_type" in self.values)

    @property
    def base(self) -> str:
        """What the adapter says its base is called, "" when it does not."""
        name = self.values.get("base_model_name_or_path") or self.values.get("model")
        return name if isinstance(name, str) else ""

    @property
    def is_dora(self) -> bool:
        return bool(self.values.get("use_dora")) or self.values.get("fine_tune_type") == "dora"

    @property
    def is_transposed(self) -> bool:
        """Whether the base's matrices are stored as (inputs, outputs)."""
        return bool(self.values.get("fan_in_fan_out"))

    def check(self, *, merging: bool) -> None:
        """Raises UnsupportedError for what is not a low-rank adapter, or one whose base it does not hold.

        ``merging``: adapters that tokens switch on are refused too, which are never part of a model.
        """
        kind = self.values.get("peft_type", "LORA")
        if not self.is_mlx and kind not in ("LORA", "TRAINABLE_TOKENS"):
            hint = "merge it with PEFT: model.merge_and_unload(), then save_pretrained()"
            raise UnsupportedError(f"is a '{kind}' adapter; qconv reads LORA", file=self.location, hint=hint)
        way = next((way for way in _OTHER_WAYS if self.values.get(way)), None)
        way = None if way == _BY_TOKENS and not merging else way
        if way is not None:
            hint = "merge it with PEFT, if that can be done"
            raise UnsupportedError(f"{_OTHER_WAYS[way]}, which qconv does not read", file=self.location, hint=hint)
        start = self.values.get("init_lora_weights")
        if isinstance(start, str) and start.lower().startswith(_CHANGED_BASE):
            hint = "save it with path_initial_model_for_weight_conversion, which makes a plain adapter of it"
            message = f"was trained on a changed base ({start}), so it does not fit the base itself"
            raise UnsupportedError(message, file=self.location, hint=hint)

    def strength(self, module: str, rank: int) -> float:
        """What the product of a module's two matrices is multiplied with.

        PEFT's ``lora_alpha / r``, or over its root with ``use_rslora``; MLX's ``scale``.
        """
        if self.is_mlx:
            parameters = self.values.get("lora_parameters")
            return self._number(parameters if isinstance(parameters, Mapping) else {}, "scale")
        return self.alpha(module) / (math.sqrt(rank) if self.values.get("use_rslora") else rank)

    def alpha(self, module: str) -> float:
        """``lora_alpha``, or the first of ``alpha_pattern`` that matches the module (``get_pattern_key`` in PEFT)."""
        patterns = self.values.get("alpha_pattern") or {}
        if not isinstance(patterns, Mapping):
            raise FormatError("has an 'alpha_pattern' that is not an object", file=self.location)
        for pattern in patterns:
            if self._matches(pattern, module):
                return self._number(patterns, pattern)
        return self._number(self.values, "lora_alpha", 8)

    def _matches(self, pattern: str, module: str) -> bool:
        """Whether a pattern, a regular expression, is the end of the module's name."""
        if pattern == module or module.endswith(f".{pattern}"):
            return True
        repeats = pattern.count("*") + pattern.count("+")
        plain = _PATTERN.fullmatch(pattern) and not _REPEATED_GROUP.search(pattern)
        if not plain or repeats > _MOST_REPEATS or len(pattern) > LONGEST_PATTERN:
            raise UnsupportedError(f"has a pattern that is not read, '{pattern}'", file=self.location)
        try:
            return re.match(rf"(.*\.)?({pattern})$", module) is not None
        except re.error as e:
            raise FormatError(f"has a malformed pattern, '{pattern}': {e}", file=self.location) from e

    def _number(self, values: Mapping[str, Any], key: str, default: float | None = None) -> float:
        value = values.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= LARGEST_NUMBER:
            what = f"is not a number up to {LARGEST_NUMBER:g}"
            raise FormatError(f"has {value!r} for '{key}', which {what}", file=self.location)
        return float(value)

    def tokens(self, module: str) -> tuple[int, ...]:
        """The numbers of the tokens trained in ``module``, an embedding."""
        given = self.values.get("trainable_token_indices", self.values.get("token_indices"))
        if isinstance(given, Mapping):
            given = next((given[key] for key in given if self._matches(key, module)), None)
        if not isinstance(given, list) or not all(isinstance(n, int) and n >= 0 for n in given):
            message = f"does not say which tokens of '{module}' are trained"
            raise FormatError(message, file=self.location, hint="'trainable_token_indices' lists them")
        return tuple(given)

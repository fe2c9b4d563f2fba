"""The options of conversions and measurements: defined here once, for the command line, Python and the manifest alike.

``ConvertOptions`` say what is made, ``RunOptions`` how; ``CalibrateOptions`` and ``EvaluateOptions`` what is measured.
Each field carries what the command line says about it.  An instance is always valid: whatever is no option, or no value
of one, is refused when it is made, before a file is touched.  Importing this room imports nothing heavy, so that
``--help`` is quick.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qconv.errors import UsageError, known_words
from qconv.options.adapter import AdapterOption
from qconv.options.base import OUTPUT, PARTS, RUN, TYPES, About, Options, names, text_model_only
from qconv.options.convert import ConvertOptions
from qconv.options.measure import CalibrateOptions, EvaluateOptions
from qconv.options.record import from_manifest, to_manifest
from qconv.options.run import Part, RunOptions

__all__ = [
    "OUTPUT",
    "PARTS",
    "RUN",
    "TYPES",
    "About",
    "AdapterOption",
    "CalibrateOptions",
    "ConvertOptions",
    "EvaluateOptions",
    "Options",
    "Part",
    "RunOptions",
    "from_manifest",
    "names",
    "split",
    "text_model_only",
    "to_manifest",
]


def split(values: Mapping[str, Any], kind: type[Options] = ConvertOptions) -> tuple[dict[str, Any], dict[str, Any]]:
    """Values for options of ``kind`` and for ``RunOptions``; UsageError for a name neither has."""
    what, how = names(kind), names(RunOptions)
    unknown = next((name for name in values if name not in what and name not in how), None)
    if unknown is not None:
        raise UsageError(f"there is no option '{unknown}'", hint=known_words(unknown, [*what, *how]))
    return {k: v for k, v in values.items() if k in what}, {k: v for k, v in values.items() if k in how}

"""What ``calibrate`` measures, and how ``evaluate`` judges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qconv.errors import UsageError
from qconv.options.base import OUTPUT, Options, option

MEASURING = "Measuring"

BASES = ("f32", "f16", "bf16", "q8_0")
"""Types a model may be run in while it is measured."""


def _context_option() -> Any:
    return option(512, "count", MEASURING, "Tokens in a chunk. By default 512.", "--context", metavar="N")


def _base_option(model: str) -> Any:
    help = f"The type {model} is run in: f32, f16, bf16 or, to save memory, q8_0. By default its own."
    return option(None, "text", MEASURING, help, "--base", metavar="TYPE")


def _parse_special_option() -> Any:
    help = "Take what spells a special token in the text for one."
    return option(False, "flag", MEASURING, help, "--parse-special")


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions(Options):
    """What a calibration measures.

    ``text``: files, one after the other.  ``tokens``: of it to take, None for 8 for each column of the widest input.
    ``context``: tokens in a chunk.  ``sensitivities``: measure them, with ``sensitivity_tokens`` each.  ``hessians``:
    measure them too, in a folder beside the output.  ``base``: the type the model is run in, None for its own.
    ``parse_special``, ``process_output``: as llama-imatrix's.
    ``output``: a file or a directory; None: ``NAME-calibration.gguf`` beside the model.

    Raises UsageError.
    """

    text: tuple[str, ...] = option(
        (),
        "texts",
        MEASURING,
        "A text of the kind the model is for; several files are taken one after the other.",
        "--text",
        metavar="FILE",
    )
    tokens: int | None = option(
        None,
        "count",
        MEASURING,
        "Take so many tokens of it. By default 8 for each column of the widest input, if there are as many.",
        "--tokens",
        metavar="N",
    )
    context: int = _context_option()
    sensitivities: bool = option(True, "negated", MEASURING, "Make the importance matrix alone.", "--no-sensitivities")
    sensitivity_tokens: int = option(
        512,
        "count",
        MEASURING,
        "Tokens each tensor's sensitivity is measured with. By default 512.",
        "--sensitivity-tokens",
        metavar="N",
    )
    hessians: bool = option(
        False,
        "flag",
        MEASURING,
        "Also measure Hessians, for 'qconv convert --rounding gptq', in NAME-hessians/ beside the output: 2 n^2 bytes"
        " for each input of n columns. --memory says how much of them is summed up in one pass over the text, by"
        " default 2GB.",
        "--hessians",
    )
    base: str | None = _base_option("the model")
    parse_special: bool = _parse_special_option()
    process_output: bool = option(
        False, "flag", MEASURING, "Measure the output matrix's importance too.", "--process-output"
    )
    output: str | None = option(
        None,
        "place",
        OUTPUT,
        "Where to write. By default NAME-calibration.gguf beside the model.",
        "--output",
        "-o",
        metavar="FILE|DIR",
    )

    def __post_init__(self) -> None:
        if not self.text:
            raise UsageError("no text is named", hint="--text FILE; the README says what to take, and how much")
        _check(self.context, self.base, self.tokens)
        if self.sensitivity_tokens < 64:
            raise UsageError(f"{self.sensitivity_tokens} tokens tell nothing of a tensor", hint="512 are enough")


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(Options):
    """How files are evaluated.

    ``text``: files, one after the other; ``tokens``: of it to take, None for all.  ``context``: tokens in a chunk.
    ``base``: the type the unquantized model is run in, None for its own.  ``parse_special``: as llama-perplexity's.

    Raises UsageError.
    """

    text: tuple[str, ...] = option(
        (), "texts", MEASURING, "A text the files were not calibrated on.", "--text", metavar="FILE"
    )
    tokens: int | None = option(None, "count", MEASURING, "Take so many tokens of it.", "--tokens", metavar="N")
    context: int = _context_option()
    base: str | None = _base_option("the unquantized model")
    parse_special: bool = _parse_special_option()

    def __post_init__(self) -> None:
        if not self.text:
            raise UsageError("no text is named", hint="--text FILE, one that was not calibrated on")
        _check(self.context, self.base, self.tokens)


def _check(context: int, base: str | None, tokens: int | None) -> None:
    if not 16 <= context <= 1 << 20:
        raise UsageError(f"a context of {context} tokens cannot be measured in", hint="512 is usual")
    if base is not None and base.lower() not in BASES:
        raise UsageError(f"a model cannot be measured in '{base}'", hint=f"one of {', '.join(BASES)}")
    if tokens is not None and tokens < context:
        raise UsageError(f"{tokens} tokens do not fill a context of {context}")

"""``qconv warm-up``: compiles what conversions would wait for."""

from __future__ import annotations

import json
import time
from contextlib import closing
from typing import Annotated

import typer

from qconv.cli.convert import complete_type
from qconv.cli.options import Debug, Json

SHORT = "Compile all encoders now, so that no conversion waits."
EXAMPLES = """
Examples:
  qconv warm-up                  # everything, a minute or two, once
  qconv warm-up q4_k_m q8_0      # what these types use
  qconv --version --verbose      # where the compiled code is kept
"""


def warm_up(
    types: Annotated[
        list[str] | None,
        typer.Argument(metavar="TYPE", help="Only what these types use.", autocompletion=complete_type),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compile encoders and decoders for this machine's processor, and keep them.

    A conversion compiles what it needs and is not there yet, which takes seconds for each type. What is compiled lasts
    until qconv, numba or the processor is another.
    """
    from qconv import blocks, pipeline, policy
    from qconv.blocks.warm_up import Kernel, kernels
    from qconv.cli import screen
    from qconv.cli.progress import progress
    from qconv.cli.sizes import counted

    wanted = policy.block_types_of(map(policy.find_mix, types)) if types else blocks.decodable()
    todo = list(kernels(wanted))
    screen.note(f"compiling {len(todo)} kernels, as far as they are not there")
    began = time.monotonic()

    def load(kernel: Kernel, _: None) -> None:
        kernel.load()
        shown.advance(kernel.block_type, 1)

    with closing(progress("auto", False, "warm-up", lambda number: counted(number, "kernel"))) as shown:
        shown.begin(len(todo), len(todo), 0)
        pipeline.run_workers(todo, load, [None], pipeline.Cancellation())
    seconds, directory = round(time.monotonic() - began, 1), blocks.cache_directory()
    if as_json:
        place = None if directory is None else str(directory)
        screen.result(json.dumps({"kernels": len(todo), "seconds": seconds, "directory": place}))
        return
    kept = "nowhere: no place can be written" if directory is None else f"in {directory}"
    screen.result(f"{len(todo)} kernels are ready after {seconds} s, kept {kept}")

"""Coverage-guided fuzzing of what opens files, with atheris; see ``fuzzing/targets.py``.

Any outcome but success or a QconvError is a finding; so are more than 2 s of processor time, or 500 MB more memory
than at the start.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NoReturn

import atheris
import typer.main

SECONDS, MEGABYTES = 2, 500
LONGEST = 1 << 16
"""Bytes of an input."""

HANGS = 600
"""Seconds by the clock after which an input that never comes back to Python is a finding too."""

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))
FILES = [path.relative_to(REPOSITORY).with_suffix("") for path in sorted((REPOSITORY / "qconv").rglob("*.py"))]
ALL = [".".join(path.parts).removesuffix(".__init__") for path in FILES if path.name != "__main__"]
KERNELS = [module for module in ALL if module.startswith("qconv.blocks")]
"""Compiled by numba, which takes no instrumented code."""

with atheris.instrument_imports(include=["qconv"], exclude=KERNELS):
    for module in ALL:  # those that are imported late as well
        if module not in KERNELS:
            importlib.import_module(module)
    from fuzzing.forms import FORMS
    from fuzzing.seeds import seeds, words
    from fuzzing.targets import TARGETS, run
    from fuzzing.trees import change


Mutator = Callable[[bytes, int, int], bytes]
typer.main.get_command = functools.cache(typer.main.get_command)  # it takes far longer than what is fuzzed


def mutator(target: str) -> Mutator:
    """Mutates an input's bytes or, more often, the tree they stand for."""
    form, known = FORMS[target], words(target)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.7:
            try:
                tree = form.parse(bytes(data))
                for _ in range(random.choice((1, 1, 2, 4))):
                    tree = change(random, tree, known)
                made = form.write(tree)
            except (ValueError, KeyError, RecursionError):
                made = b""
            if 0 < len(made) <= most:
                return made
        mutated: bytes = atheris.Mutate(data, most)
        return mutated

    return mutate


def fuzz(target: str, folder: Path, flags: list[str]) -> NoReturn:
    """Runs libFuzzer, which ends the process; ``folder`` is for the files an input needs."""

    def one(data: bytes) -> None:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        run(target, data, folder)
        signal.setitimer(signal.ITIMER_PROF, 0)

    def too_long(*_: object) -> None:
        raise AssertionError(f"more than {SECONDS} s")

    os.environ["HOME"] = str(folder)
    run(target, seeds(target)[0], folder)  # what is loaded once counts for no input
    signal.signal(signal.SIGPROF, too_long)
    data_pages = int(Path("/proc/self/statm").read_text().split()[5])
    limit = data_pages * resource.getpagesize() + (MEGABYTES << 20)  # what is allocated; mapped files do not count
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
    atheris.Setup([sys.argv[0], *flags], one, custom_mutator=mutator(target))
    atheris.Fuzz()
    raise AssertionError("libFuzzer came back")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--corpus", type=Path, default=Path(tempfile.gettempdir()) / "qconv-fuzz")
    options = parser.parse_args()
    corpus, findings = options.corpus / options.target, options.corpus / "findings"
    corpus.mkdir(parents=True, exist_ok=True)
    findings.mkdir(exist_ok=True)
    for number, data in enumerate(seeds(options.target)):
        (corpus / f"seed-{number}").write_bytes(data)
    flags = [f"-runs={options.runs}", f"-max_total_time={options.seconds}", f"-timeout={HANGS}", "-rss_limit_mb=0"]
    flags += [f"-artifact_prefix={findings}/{options.target}-", f"-max_len={LONGEST}", "-print_final_stats=1"]
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="qconv-fuzz-", dir=memory) as folder:
        child = os.fork()
        if child == 0:
            fuzz(options.target, Path(folder), [*flags, str(corpus)])
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the fuzzer has it too, and sums up
        _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()

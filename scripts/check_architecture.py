#!/usr/bin/env python3
"""Checks an architecture's table against a GGUF file that llama.cpp's converter made of the same checkpoint.

Resolves CHECKPOINT, reads every tensor, rounds to the intermediate type and compares names, order, shapes, types and
bytes, and the architecture's metadata.  Several pairs may follow each other.  The reference is read with the PyPI
package gguf.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, GGUFValueType

from qconv import architectures, checkpoints, policy, tensors
from qconv.errors import QconvError
from qconv.types import Value

SHOWN = 12


def same(value: Value, field: Any) -> bool:
    types = list(field.types)
    wanted = field.contents()
    if types[0] == GGUFValueType.ARRAY:
        return value.element is not None and int(value.element) == int(types[-1]) and list(value.data) == list(wanted)
    data = float(np.float32(value.data)) if types[0] == GGUFValueType.FLOAT32 else value.data
    return value.element is None and int(value.type) == int(types[0]) and data == wanted


def check(directory: Path, reference: Path, pieces: int) -> list[str]:
    """Every difference in one line."""
    with checkpoints.open(directory) as checkpoint:
        return compare(checkpoint, GGUFReader(reference), pieces)


def compare(checkpoint: checkpoints.Checkpoint, theirs: GGUFReader, pieces: int) -> list[str]:
    ours = architectures.resolve(checkpoint)
    differences = []
    prefix = ours.architecture + "."
    keys = [k for k in theirs.fields if k.startswith(prefix) or k == "general.file_type" or k in ours.metadata]
    name = theirs.fields["general.architecture"].contents()
    if name != ours.architecture:
        differences.append(f"general.architecture: {name}, ours {ours.architecture}")
    for key in dict.fromkeys([*keys, *ours.metadata]):
        if key not in ours.metadata:
            differences.append(f"key {key} = {theirs.fields[key].contents()} is missing")
        elif key not in keys:
            differences.append(f"key {key} = {ours.metadata[key].data} is too much")
        elif not same(ours.metadata[key], theirs.fields[key]):
            differences.append(f"key {key} = {theirs.fields[key].contents()}, ours {ours.metadata[key]}")
    if not differences and keys != list(ours.metadata):
        differences.append(f"keys in another order: {keys}, ours {list(ours.metadata)}")
    wanted = {t.name: t for t in theirs.tensors}
    outputs = {o.name: o for o in ours.tensors}
    if len(outputs) != len(ours.tensors):
        differences.append("an output is made twice")
    differences += [f"tensor {n} is missing" for n in wanted.keys() - outputs.keys()]
    differences += [f"tensor {n} is too much" for n in outputs.keys() - wanted.keys()]
    if wanted.keys() == outputs.keys() and list(wanted) != list(outputs):
        pair = next((a, b) for a, b in zip(wanted, outputs, strict=True) if a != b)
        differences.append(f"tensors in another order: first {pair[0]}, ours {pair[1]}")
    types = {t.tensor_type.name for t in theirs.tensors}
    by_tensors = 32 if "BF16" in types else 1 if "F16" in types else 0  # for converters that write no file type
    known = theirs.fields.get("general.file_type")
    file_type = by_tensors if known is None else int(known.contents())
    for name in [n for n in wanted if n in outputs]:
        tensor, output = wanted[name], outputs[name]
        shape = tuple(int(n) for n in reversed(tensor.shape))
        lazy = output.tensor
        if lazy.shape != shape:
            differences.append(f"{name}: shape {shape}, ours {lazy.shape}")
            continue
        plain = lazy.dtype in tensors.FLOATS
        float_type = {0: "F32", 1: "F16"}.get(file_type, "BF16")
        ours_type = policy.converter.intermediate_type(name, shape, float_type, output.store) if plain else lazy.dtype
        if ours_type != tensor.tensor_type.name:
            differences.append(f"{name}: type {tensor.tensor_type.name}, ours {ours_type}")
            continue
        rows = math.prod(shape[:-1])
        step = -(-rows // pieces) if rows else 1
        prepared = lazy.prepare()
        parts = [prepared.read(a, min(rows, a + step)) for a in range(0, rows, step)]
        rounded = [tensors.convert(part, lazy.dtype, ours_type) if plain else part for part in parts]
        bytes_ours = np.ascontiguousarray(np.concatenate(rounded)).view(np.uint8).reshape(-1)
        bytes_theirs = np.ascontiguousarray(tensor.data).view(np.uint8).reshape(-1)
        if bytes_ours.size != bytes_theirs.size or (bytes_ours != bytes_theirs).any():
            at = np.flatnonzero(bytes_ours[: bytes_theirs.size] != bytes_theirs[: bytes_ours.size])
            differences.append(f"{name}: {at.size} of {bytes_theirs.size} bytes differ: {lazy.describe()}")
    return differences


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", type=Path, metavar="CHECKPOINT REFERENCE.gguf")
    parser.add_argument("--pieces", type=int, default=3, help="read each tensor in so many ranges of rows")
    options = parser.parse_args()
    wrong = 0
    for directory, reference in zip(options.pairs[::2], options.pairs[1::2], strict=True):
        try:
            differences = check(directory, reference, options.pieces)
        except QconvError as e:
            differences = [str(e)]
        wrong += bool(differences)
        print(f"{directory}: {'equal' if not differences else f'{len(differences)} differences'}")
        for line in differences[:SHOWN]:
            print(f"  {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

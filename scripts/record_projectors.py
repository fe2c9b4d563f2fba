#!/usr/bin/env python3
"""Records what llama.cpp's converter makes of tiny multimodal checkpoints, for tests/projectors/goldens/.

    scripts/record_projectors.py --converter DIR [--path DIR] [OPTION]... SOURCE...

DIR is llama.cpp's folder with ``convert_hf_to_gguf.py``, ``conversion/`` and ``gguf-py/`` (``thirdparty/llama.cpp`` in
the source distribution of the PyPI package xllamacpp); run this with a Python that has what the converter needs (torch,
transformers), and give with ``--path`` a folder to import another transformers from.

A SOURCE is the folder of a small checkpoint, named by the folder or as NAME=FOLDER, or a golden file, which is made
again.  Taken are its configs, and the names, types and shapes of its tensors.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from record_architectures import headers
from recording import converts

REPOSITORY = Path(__file__).resolve().parent.parent
GOLDENS = REPOSITORY / "tests" / "projectors" / "goldens"

sys.path.insert(0, str(REPOSITORY))
from tests.projectors.tiny import EXTRA_CONFIGS, OUT_TYPES, digest, sample, write  # noqa: E402  # the path comes first

CHILD = """
import sys
converter, model, out, flags, *types = sys.argv[1:]
sys.path.insert(0, converter)
import convert_hf_to_gguf
for type in types:
    command = [model, "--mmproj", "--outtype", type, "--outfile", f"{out}/{type}.gguf", *flags.split()]
    sys.argv = ["convert_hf_to_gguf.py", *command]
    convert_hf_to_gguf.main()
"""


def source(text: str) -> tuple[str, dict[str, Any]]:
    """Name of a SOURCE, and what it holds as golden files have it."""
    name, _, folder = text.rpartition("=")
    path = Path(folder)
    if path.suffix == ".json":
        golden = json.loads(path.read_text("utf-8"))
        golden.pop("expected", None)
        return name or path.stem, golden
    golden = {"config": json.loads((path / "config.json").read_text("utf-8"))}
    golden |= {file: json.loads((path / file).read_text("utf-8")) for file in EXTRA_CONFIGS if (path / file).exists()}
    return name or path.name, golden | {"tensors": headers(path)}


def metadata(path: Path) -> dict[str, list[Any]]:
    """All keys of a GGUF file but those of its container, in order: type and value."""
    from gguf import GGUFReader, GGUFValueType

    keys: dict[str, list[Any]] = {}
    for key, field in GGUFReader(path).fields.items():
        if not key.startswith("GGUF."):
            array = field.types[0] == GGUFValueType.ARRAY
            kind = f"ARRAY:{field.types[-1].name}" if array else field.types[0].name
            keys[key] = [kind, list(field.contents()) if array else field.contents()]
    return keys


def expected(directory: Path, computed: list[str]) -> dict[str, Any]:
    """Metadata and tensors of the files TYPE.gguf in ``directory``, as golden files have them.

    A tensor is ``[name, shape, its type in each of OUT_TYPES, digest of its bytes by type]``; those with a part of
    ``computed`` in their names have some of their values instead of digests.
    """
    from gguf import GGUFReader

    files = {out_type: directory / f"{out_type}.gguf" for out_type in OUT_TYPES}
    keys = {out_type: metadata(path) for out_type, path in files.items()}
    file_types = [found.pop("general.file_type")[1] for found in keys.values()]
    if any(list(found.items()) != list(keys["f16"].items()) for found in keys.values()):
        raise SystemExit(f"{directory}: metadata depends on the type")
    readers = [GGUFReader(path) for path in files.values()]
    tensors = []
    for same in zip(*(reader.tensors for reader in readers), strict=True):
        if len({(t.name, tuple(t.shape)) for t in same}) != 1:
            raise SystemExit(f"{directory}: shapes depend on the type")
        by_type: dict[str, Any] = {}
        for t in same:
            if by_type.setdefault(t.tensor_type.name, digest(t.data.tobytes())) != digest(t.data.tobytes()):
                raise SystemExit(f"{directory}: bytes depend on more than the type")
        if any(part in same[0].name for part in computed):
            by_type = {"F32": sample(same[0].data)}
        shape = [int(n) for n in reversed(same[0].shape)]
        tensors.append([same[0].name, shape, " ".join(t.tensor_type.name for t in same), by_type])
    return {"file_types": file_types, "metadata": keys["f16"], "tensors": tensors}


def record(text: str, options: argparse.Namespace) -> bool:
    name, golden = source(text)
    said = [options.note] if options.note else []
    if options.as_class:
        said.append(f"llama.cpp does not know this class, and was told {options.as_class}")
    if said:
        golden = {"note": "; ".join(said)} | golden
    with tempfile.TemporaryDirectory(dir=options.keep) as made:
        model, out = Path(made) / name, Path(made) / "out"
        out.mkdir()
        shown = {**golden["config"], **({"architectures": [options.as_class]} if options.as_class else {})}
        write(model, {**golden, "config": shown})
        flags = "--mistral-format" if "params.json" in golden else ""
        if not converts(name, CHILD, [str(model), str(out), flags, *OUT_TYPES], out, options):
            return False
        golden["expected"] = expected(out, options.computed)
    lines = json.dumps(golden, indent=None, ensure_ascii=False, separators=(",", ":"))
    (GOLDENS / f"{name}.json").write_text(lines.replace('],"', '],\n"').replace("],[", "],\n[") + "\n", "utf-8")
    made_tensors = golden["expected"]["tensors"]
    print(f"{name}: {len(golden['tensors'])} tensors, {len(made_tensors)} in the projector, {len(lines) / 1e3:.0f} kB")
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--converter", type=Path, required=True, metavar="DIR")
    parser.add_argument("--path", metavar="DIR")
    parser.add_argument("--note", help="what the golden file says about itself, as where its names come from")
    parser.add_argument("--as", dest="as_class", metavar="CLASS", help="what to tell llama.cpp the model's class is")
    parser.add_argument(
        "--computed",
        action="append",
        default=[],
        metavar="PART",
        help="of tensors with this in their names record values: torch computes these otherwise on other processors",
    )
    parser.add_argument("--keep", metavar="DIR", help="where to put temporary files")
    parser.add_argument("sources", nargs="+", metavar="SOURCE")
    options = parser.parse_args()
    GOLDENS.mkdir(parents=True, exist_ok=True)
    failed = [text for text in options.sources if not record(text, options)]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Records what llama.cpp's converter makes of tiny checkpoints, for tests/architectures/goldens/.

    scripts/record_architectures.py --converter DIR [--path DIR] [OPTION]... SOURCE...

DIR is llama.cpp's folder with ``convert_hf_to_gguf.py``, ``conversion/`` and ``gguf-py/`` (``vendor/llama.cpp`` in the
source distribution of the PyPI package llama-cpp-python); run this with a Python that has what the converter needs
(torch, transformers), and give with ``--path`` a folder to import another transformers from.

A SOURCE is the folder of a small checkpoint (its config and the names, types and shapes of its tensors are taken, the
vocabulary cut down), named by the folder or as NAME=FOLDER; or a golden file, which is made again.  Tokenizers are left
out: they have tests of their own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

from recording import converts

REPOSITORY = Path(__file__).resolve().parent.parent
GOLDENS = REPOSITORY / "tests" / "architectures" / "goldens"
ROOTED = ("xielu.", "tokenizer.", "diffusion.")
"""Keys of an architecture that are not under its name."""
TEMPLATE = "tokenizer.chat_template"
"""Set by classes that have one of their own; it is the tokenizer's affair."""
MTP = {"mtp": "only", "no-mtp": "none"}
"""What qconv calls options of the converter."""
LONG = 40
"""Arrays of more elements are recorded by their hash."""

sys.path.insert(0, str(REPOSITORY))
from tests.architectures.tiny import VOCABULARY, write  # noqa: E402  # the path comes first

CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
import conversion
conversion.load_all_models()
from conversion.base import ModelBase
for classes in ModelBase._model_classes.values():
    for found in set(classes.values()):
        found.set_vocab = lambda self: None
import convert_hf_to_gguf
sys.argv = ["convert_hf_to_gguf.py", sys.argv[2], "--outtype", sys.argv[3], "--outfile", sys.argv[4], *sys.argv[5:]]
convert_hf_to_gguf.main()
"""


def headers(directory: Path) -> dict[str, tuple[str, list[int]]]:
    """Types and shapes of the tensors of a checkpoint, shards in order."""
    headers_by_name: dict[str, tuple[str, list[int]]] = {}
    for path in sorted(directory.glob("model*.safetensors")):
        with path.open("rb") as f:
            header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        for name, about in header.items():
            if name != "__metadata__":
                headers_by_name[name] = (about["dtype"], about["shape"])
    return headers_by_name


def with_small_vocabulary(config: Any, large: int) -> Any:
    """``config`` with every size of the vocabulary replaced."""
    if isinstance(config, dict):
        return {
            key: VOCABULARY if key.startswith("vocab_size") and value == large else with_small_vocabulary(value, large)
            for key, value in config.items()
        }
    return config


def source(text: str) -> tuple[str, dict[str, Any], dict[str, tuple[str, list[int]]]]:
    """Name, config and tensors of a SOURCE."""
    name, _, folder = text.rpartition("=")
    path = Path(folder)
    if path.suffix == ".json":
        golden = json.loads(path.read_text("utf-8"))
        return path.stem, golden["config"], {k: (t, s) for k, (t, s) in golden["tensors"].items()}
    config = json.loads((path / "config.json").read_text("utf-8"))
    large = config.get("vocab_size") or config.get("text_config", {}).get("vocab_size") or 0
    tensors = headers(path)
    if large > VOCABULARY:
        config = with_small_vocabulary(config, large)
        tensors = {k: (t, [VOCABULARY if n == large else n for n in s]) for k, (t, s) in tensors.items()}
    return name or (path.parent.name if path.name == "hf" else path.name), config, tensors


def out_type(tensors: dict[str, tuple[str, list[int]]]) -> str:
    """What loses nothing: the first matrix's 16-bit type, else float32."""
    first = next((t for t, shape in tensors.values() if len(shape) > 1 and t in ("BF16", "F16")), "F32")
    return first.lower()


def expected(path: Path) -> dict[str, Any]:
    """Metadata and tensors of a GGUF file as the golden file has them."""
    from gguf import GGUFReader, GGUFValueType

    reader = GGUFReader(path)
    architecture = reader.fields["general.architecture"].contents()
    keys: dict[str, list[Any]] = {}
    for key, field in reader.fields.items():
        early = key == "general.type" and keys  # only where some keys of the architecture stand before it
        if key != TEMPLATE and (early or key == "general.file_type" or key.startswith((architecture + ".", *ROOTED))):
            value = field.contents()
            if field.types[0] == GGUFValueType.ARRAY:
                data: list[Any] | dict[str, object] = list(value)
                if len(data) > LONG:
                    data = {"length": len(data), "sha256": hashlib.sha256(json.dumps(data).encode()).hexdigest()}
                keys[key] = [f"ARRAY:{field.types[-1].name}", data]
            else:
                keys[key] = [field.types[0].name, value]
    tensors = [
        [t.name, t.tensor_type.name, [int(n) for n in reversed(t.shape)], hashlib.sha256(t.data.tobytes()).hexdigest()]
        for t in reader.tensors
    ]
    return {"architecture": architecture, "metadata": keys, "tensors": tensors}


def record(text: str, options: argparse.Namespace) -> bool:
    name, config, tensors = source(text)
    weights = sum(math.prod(shape) for _, shape in tensors.values())
    with tempfile.TemporaryDirectory(dir=options.keep) as made:
        directory, out = Path(made) / "hf", Path(made) / "out.gguf"
        shown = config | {"architectures": [options.as_class]} if options.as_class else config
        hidden = {k for k in tensors if any(part in k for part in options.hide)}
        write(directory, shown, {k: v for k, v in tensors.items() if k not in hidden})
        arguments = [str(directory), out_type(tensors), str(out), *(f"--{flag}" for flag in options.flag)]
        aim = json.loads(options.target.read_text("utf-8")) if options.target else None
        if aim:
            (Path(made) / "target").mkdir()
            (Path(made) / "target" / "config.json").write_text(json.dumps(aim), "utf-8")
            arguments.append(f"--target-model-dir={Path(made) / 'target'}")
        if not converts(name, CHILD, arguments, out, options):
            return False
        said = [options.note] if options.note else []
        if options.as_class:
            said.append(f"llama.cpp does not know this class, and was told {options.as_class}")
        said += [f"llama.cpp's converter was given --{flag}" for flag in options.flag]
        if hidden:
            said.append(f"llama.cpp knows no tensors with {', '.join(options.hide)}, and was not shown them")
        note = {"note": "; ".join(said)} if said else {}
        golden = note | {"config": config, "tensors": tensors} | ({"target": aim} if aim else {})
        golden |= next(({"mtp": MTP[flag]} for flag in options.flag if flag in MTP), {})
        golden["expected"] = expected(out)
    lines = json.dumps(golden, indent=None, ensure_ascii=False, separators=(",", ":"))
    (GOLDENS / f"{name}.json").write_text(lines.replace('],"', '],\n"') + "\n", "utf-8")
    print(f"{name}: {len(tensors)} tensors, {weights / 1e6:.1f} M weights, {len(lines) / 1e3:.0f} kB")
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--converter", type=Path, required=True, metavar="DIR")
    parser.add_argument("--path", metavar="DIR")
    parser.add_argument("--note", help="what the golden file says about itself, as where DIR is a mended converter")
    parser.add_argument("--as", dest="as_class", metavar="CLASS", help="what to tell llama.cpp the model's class is")
    parser.add_argument("--hide", action="append", default=[], metavar="PART", help="tensors llama.cpp is not to see")
    parser.add_argument("--flag", action="append", default=[], help="an option of llama.cpp's converter, without --")
    parser.add_argument("--target", type=Path, metavar="FILE", help="the config.json of what a drafter drafts for")
    parser.add_argument("--keep", metavar="DIR", help="where to put temporary files")
    parser.add_argument("sources", nargs="+", metavar="SOURCE")
    options = parser.parse_args()
    GOLDENS.mkdir(parents=True, exist_ok=True)
    failed = [text for text in options.sources if not record(text, options)]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

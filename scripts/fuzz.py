"""Coverage-guided fuzzing of what opens files, with atheris.

Any outcome but success or a QconvError is a finding; so are more than 2 s, or 500 MB more memory than at the start.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

REPOSITORY = Path(__file__).resolve().parent.parent
GOLDENS = REPOSITORY / "tests" / "architectures" / "goldens"
SECONDS, MEGABYTES = 2, 500
FOLDER = Path(tempfile.mkdtemp(prefix="qconv-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))

sys.path.insert(0, str(REPOSITORY))
with atheris.instrument_imports(include=["qconv"]):
    from qconv import checkpoints, formats, gguf, plan, policy
    from qconv.architectures.table import Table
    from qconv.cli import outcome
    from qconv.errors import QconvError
    from qconv.policy.imatrix import read_imatrix
    from qconv.types import Metadata, TensorInfo, Value, ValueType
    from tests.architectures.tiny import VOCABULARY


def _file(name: str, data: bytes) -> Path:
    path = FOLDER / name
    path.write_bytes(data)
    return path


def read_gguf(data: bytes) -> None:
    """The GGUF reader; what it reads must be written back."""
    file = gguf.read(_file("x.gguf", data))
    for value in file.metadata.values():
        str(value)
    gguf.header(file.metadata, [t.info for t in file.tensors.values()])
    with checkpoints.open(FOLDER / "x.gguf") as opened:
        plan.make(opened, plan.Request(types=("q4_k_m",), allow_requantize=True))


def read_safetensors(data: bytes) -> None:
    """The safetensors header, and a plan for a lone file."""
    with checkpoints.open(_file("x.safetensors", data)) as opened:
        plan.make(opened, plan.Request(types=("q4_k_m",)))


def make_plan(data: bytes) -> None:
    """Config, tokenizer and plan of every architecture: a recorded model, some of its config and tensors changed."""
    given = atheris.FuzzedDataProvider(data)
    config, tensors = json.loads(_MODELS[given.ConsumeIntInRange(0, len(_MODELS) - 1)])
    for _ in range(given.ConsumeIntInRange(0, 4)):
        _change(given, config)
    for _ in range(given.ConsumeIntInRange(0, 2)):
        name = given.PickValueInList(sorted(tensors))
        if given.ConsumeBool():
            del tensors[name]
        else:
            tensors[name][1] = [given.ConsumeIntInRange(0, 600) for _ in range(given.ConsumeIntInRange(0, 4))]
    header: dict[str, object] = {}
    end = 0
    for name, (dtype, shape) in tensors.items():
        size = _WIDTHS[dtype]
        for n in shape:
            size *= n
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    path = _file("model.safetensors", len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + end)
    _file("config.json", json.dumps(config).encode())
    _file("tokenizer.json", given.ConsumeBytes(1 << 16) if given.ConsumeBool() else _TOKENIZER)
    with checkpoints.open(FOLDER) as opened:
        plan.make(opened, plan.Request(types=("q4_k_m", "f16"), pre="llama-bpe"))


def _change(given: atheris.FuzzedDataProvider, config: dict[str, object]) -> None:
    """One key of a config, or of a table in it, gets another value."""
    key = given.PickValueInList(sorted(config))
    if isinstance(config[key], dict) and config[key] and given.ConsumeBool():
        _change(given, config[key])
        return
    choice = given.ConsumeIntInRange(0, 7)
    integer = given.ConsumeIntInRange(-4, 1 << 40) if choice == 0 else given.ConsumeIntInRange(-1, 300)
    values = [integer, integer, None, given.ConsumeRegularFloat(), given.ConsumeUnicode(8), [integer] * 3, {}, True]
    config[key] = values[choice]


def read_importance(data: bytes) -> None:
    """Importance matrices, both formats."""
    read_imatrix(_file("imatrix", data))


def read_mix(data: bytes) -> None:
    """Mix files."""
    policy.load_mix(_file("mix.toml", data))


def read_table(data: bytes) -> None:
    """Architecture tables."""
    formats.load(_file("table.toml", data), Table)


def command_line(data: bytes) -> None:
    """The command line, in an empty folder."""
    words = data.decode("utf-8", "surrogateescape").split("\0")
    (FOLDER / "empty").mkdir(exist_ok=True)
    os.chdir(FOLDER / "empty")
    if any("/" in word or word in ("--install-completion", "--show-completion") for word in words):
        return
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
        outcome.run(words)
    if "a defect in qconv" in said.getvalue():
        raise AssertionError(said.getvalue())


TARGETS: dict[str, Callable[[bytes], None]] = {
    "gguf": read_gguf,
    "safetensors": read_safetensors,
    "plan": make_plan,
    "imatrix": read_importance,
    "mix": read_mix,
    "table": read_table,
    "cli": command_line,
}
_WIDTHS = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1, "F8_E4M3": 1}
_BYTES = [chr(c) for c in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))]
_TOKENIZER = json.dumps(
    {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "vocab": {c: i for i, c in enumerate(_BYTES)} | {f"<{i}>": i for i in range(256, VOCABULARY)},
            "merges": [],
        },
    }
).encode()


def _models() -> list[str]:
    found = []
    for path in sorted(GOLDENS.glob("*.json")):
        golden = json.loads(path.read_text("utf-8"))
        if len(golden["tensors"]) < 150:
            found.append(json.dumps([golden["config"], golden["tensors"]]))
    return found


_MODELS = _models()


def seeds(target: str, folder: Path) -> None:
    """Valid files to start from."""
    folder.mkdir(parents=True, exist_ok=True)
    hostile = REPOSITORY / "tests" / "hostile" / "files"
    found: list[bytes] = []
    if target in ("gguf", "imatrix"):
        found += [p.read_bytes() for p in hostile.glob("*.gguf")]
        types = ("F32", "Q8_0", "Q4_K", "F16")
        tensors = [TensorInfo(f"blk.{i}.attn_v.weight", t, (2, 256)) for i, t in enumerate(types)]
        layout = gguf.header(_metadata(), tensors)
        found.append(layout.header + bytes(layout.size - len(layout.header)))
    if target == "safetensors":
        found += [p.read_bytes() for p in hostile.glob("*.safetensors")]
        text = b'{"a":{"dtype":"F32","shape":[2,32],"data_offsets":[0,256]}}     '
        found.append(len(text).to_bytes(8, "little") + text + bytes(256))
    if target == "mix":
        found += [p.read_bytes() for p in (formats.ROOT / "mixes").glob("*.toml")]
    if target == "table":
        found += [p.read_bytes() for p in (formats.ROOT / "architectures").glob("*.toml")]
    if target == "plan":
        found += [bytes([i]) + bytes(64) for i in range(len(_MODELS))]
    if target == "cli":
        lines = ("convert\0x\0--type\0q4_k_m", "info\0x\0--json", "compare\0a\0b", "architectures\0llama", "verify\0x")
        found += [line.encode() for line in lines]
    for number, data in enumerate(found):
        (folder / f"seed-{number}").write_bytes(data)


def _metadata() -> Metadata:
    return {
        "general.architecture": Value.string("llama"),
        "llama.block_count": Value.uint32(4),
        "llama.attention.head_count": Value.uint32(4),
        "tokenizer.ggml.tokens": Value.array(ValueType.STRING, ["a", "b"]),
        "tokenizer.ggml.scores": Value.array(ValueType.FLOAT32, [0.0, 1.0]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--corpus", type=Path, default=Path(tempfile.gettempdir()) / "qconv-fuzz")
    options = parser.parse_args()
    corpus, findings = options.corpus / options.target, options.corpus / "findings"
    findings.mkdir(parents=True, exist_ok=True)
    seeds(options.target, corpus)
    run = TARGETS[options.target]

    def one(data: bytes) -> None:
        with contextlib.suppress(QconvError):
            run(data)

    data_pages = int(Path("/proc/self/statm").read_text().split()[5])
    limit = data_pages * resource.getpagesize() + (MEGABYTES << 20)  # what is allocated; mapped files do not count
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
    flags = [f"-runs={options.runs}", f"-max_total_time={options.seconds}", f"-timeout={SECONDS}", "-max_len=65536"]
    flags += [f"-artifact_prefix={findings}/{options.target}-", "-print_final_stats=1", "-rss_limit_mb=0"]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

"""The limits in ``formats/gguf.md`` and in the code are the same."""

import re

from qconv.formats import ROOT
from qconv.gguf import limits


def test_the_page_says_what_the_code_does() -> None:
    rows = re.findall(r"^\| ([A-Z_]+) \| ([\d,]+) \|", (ROOT / "gguf.md").read_text(encoding="utf-8"), re.MULTILINE)
    told = {name: int(number.replace(",", "")) for name, number in rows}
    assert told == {name: getattr(limits, name) for name in told}
    assert set(told) == {
        name
        for name, value in vars(limits).items()
        if name.isupper() and isinstance(value, int) and name not in ("DEFAULT_ALIGNMENT", "LLAMA_CPP_NAME_BYTES")
    }

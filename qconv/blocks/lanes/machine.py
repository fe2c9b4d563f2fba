"""What the processor numba compiles for can do, asked of LLVM itself.

``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` change the answers, as they change the code.
"""

from __future__ import annotations

from functools import cache

import llvmlite.binding as llvm
from numba.core.registry import cpu_target

_PROBE = """
target triple = "{triple}"
define <16 x float> @sum(<16 x float> %a, <16 x float> %b) {{
  %c = fadd <16 x float> %a, %b
  ret <16 x float> %c
}}
define <8 x half> @half(<8 x float> %a) {{
  %c = fptrunc <8 x float> %a to <8 x half>
  ret <8 x half> %c
}}
"""


@cache
def target() -> tuple[str, str, str]:
    """Triple, name and features of the processor numba compiles for."""
    triple, name, features = cpu_target.target_context.codegen().magic_tuple()
    return str(triple), str(name), str(features)


@cache
def _assembly() -> str:
    triple, name, features = target()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=name, features=features, opt=2)
    return str(machine.emit_assembly(llvm.parse_assembly(_PROBE.format(triple=triple))))


def lanes() -> int:
    """How many float32 lanes kernels work on side by side: a few registers' worth, so that latencies overlap."""
    assembly = _assembly()
    return 64 if "zmm" in assembly else 32 if "ymm" in assembly else 16


def converts_half() -> bool:
    """Whether there are instructions between binary16 and binary32."""
    assembly = _assembly()
    return "vcvtps2ph" in assembly or "fcvtn" in assembly

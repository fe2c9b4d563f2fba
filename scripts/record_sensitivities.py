#!/usr/bin/env python3
"""Prints the table of typical sensitivities for formats/sizes.toml, from models that were calibrated.

    scripts/record_sensitivities.py MODEL=CALIBRATION.gguf ...

For each role the geometric mean over tensors and models of what a relative error of 1 of a tensor's outputs would cost,
in nats of KL divergence a token, times the number of the role's tensors in its model.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from qconv import checkpoints, policy
from qconv.allocation import rounding_errors
from qconv.calibration import read_measurements
from qconv.options import ConvertOptions
from qconv.plan import Planner


def logarithms(model: Path, calibration: Path) -> dict[str, list[float]]:
    """By role, the logarithms of its tensors' sensitivities."""
    measured = read_measurements(calibration)
    if measured is None:
        raise SystemExit(f"{calibration}: holds no sensitivities")
    options = ConvertOptions(types=("q4_k_m",), imatrix=calibration, allow_requantize=True)
    with checkpoints.open(model) as checkpoint:
        planner = Planner(checkpoint, options)
        free = [d for d in planner.choice(planner.mixes()[0]).decisions if d.free and d.encodes]
        menus = {d.name: [d.type] for d in free}
        table = rounding_errors(free, menus, planner.tensors(), planner.importances(free))
    roles: dict[str, list[float]] = {}
    counts = Counter(policy.role(d.name) for d in free)
    for d in free:
        s = measured.sensitivities.get(d.name)
        if s is not None and s.slope > 0:
            value = measured.scale * s.slope * table.energies[d.name] * counts[policy.role(d.name)]
            roles.setdefault(policy.role(d.name), []).append(float(np.log(value)))
    return roles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", metavar="MODEL=CALIBRATION", nargs="+")
    models = [logarithms(*map(Path, pair.split("=", 1))) for pair in parser.parse_args().pairs]
    print("[typical]")
    roles = sorted({role for model in models for role in model})
    for role in roles:
        means = [np.mean(model[role]) for model in models if role in model]
        spread = [np.std(model[role]) for model in models if role in model]
        told = ", ".join(f"{np.exp(m):.2g} x/÷ {np.exp(s):.1f}" for m, s in zip(means, spread, strict=True))
        print(f"{role:<11} = {np.exp(np.mean(means)):.2g}  # {told}")
    everything = [np.mean([v for values in model.values() for v in values]) for model in models]
    print(f"{'other':<11} = {np.exp(np.mean(everything)):.2g}")


if __name__ == "__main__":
    main()

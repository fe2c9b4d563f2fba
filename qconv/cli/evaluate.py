"""``qconv evaluate``: what quantizing cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qconv.cli.from_options import options_of, with_options
from qconv.cli.options import Debug, Json
from qconv.cli.progress import Style
from qconv.options import EvaluateOptions, RunOptions

if TYPE_CHECKING:
    from qconv.evaluation import Evaluation

SHORT = "Measure what quantizing cost."
EXAMPLES = """
Examples:
  qconv evaluate model-Q4_K_M.gguf --against model/ --text other.txt
  qconv evaluate *.gguf --against model-BF16.gguf --text other.txt
  qconv evaluate *.gguf --against model/ --text other.txt --plot cost.png

Exit status:
  0 done, 1 something failed, 2 wrong usage, 130 interrupted. Standard output
  has the table, or with --json an object a file, one a line.
"""
_WORST = 3
"""Tensors named for each file."""
_QUANTILES = ((0.5, "median"), (0.99, "99 %"), (0.999, "99.9 %"))


def _evaluate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="GGUF files made of the model.")],
    against: Annotated[
        str, typer.Option(metavar="MODEL", help="The unquantized model: its checkpoint, or a GGUF file of it.")
    ],
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw size against KL divergence. Needs matplotlib.")
    ] = None,
    progress: Annotated[
        Style, typer.Option(metavar="auto|json|none", help="What to show on standard error meanwhile.")
    ] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only errors on standard error.")] = False,
    as_json: Json = False,
    debug: Debug = False,
    **given: Any,
) -> int:
    """Run quantized files on a text beside the unquantized model, and tell how far they are from it.

    Figures are those of llama-perplexity for the same text and context: KL divergence in nats a token, perplexity and
    its ratio to the unquantized model's, and how often both hold the same token likeliest. Needs llama.cpp, which
    pip install 'qconv[runtime]' brings.
    """
    from contextlib import closing

    from qconv import evaluation, plots
    from qconv.cli import screen
    from qconv.cli.paths import whole_models
    from qconv.cli.progress import progress as shown
    from qconv.cli.progress import tokens

    wanted, run = options_of(EvaluateOptions, given), options_of(RunOptions, given)
    if plot is not None:
        plots.check(plot)
    results: list[Evaluation] = []
    try:
        with closing(shown(progress, quiet, Path(against).name, tokens)) as told:
            for result in evaluation.evaluate(whole_models(files), against, wanted, run, told):
                results.append(result)
                if as_json:
                    screen.result(json.dumps(_object(result)))
    finally:  # what is known of some files is shown when another fails
        if results and not as_json:
            _show(results)
    if plot is not None:
        _draw(results, plot)
    return 0


evaluate = with_options(_evaluate, {EvaluateOptions: None, RunOptions: ("threads", "memory")})


def _show(results: list[Evaluation]) -> None:
    from qconv.cli import screen
    from qconv.cli.screen import Column
    from qconv.cli.sizes import size

    headings = ["size", "bits", "KL divergence", "predicted", *(name for _, name in _QUANTILES)]
    headings += ["same top", "perplexity", "ratio"]
    screen.table(
        [Column("file", cut=True), *(Column(heading, right=True) for heading in headings)],
        [
            (
                r.path.name,
                size(r.size),
                f"{r.bits:.2f}",
                f"{r.divergence.mean:.5f} ± {r.divergence.error:.5f}",
                "" if r.predicted is None else f"{r.predicted:.5f}",
                *(f"{r.quantile(share):.5f}" for share, _ in _QUANTILES),
                f"{r.same_top:.2%} ± {r.same_top_error:.2%}",
                f"{r.perplexity:.4f} ± {r.perplexity_error:.4f}",
                f"{r.ratio:.5f} ± {r.ratio_error:.5f}",
            )
            for r in results
        ],
        tall=True,
    )
    for r in results:
        if r.shares:
            worst = ", ".join(f"{t.name} {t.type} {t.share:.0%}" for t in r.shares[:_WORST])
            screen.lines(f"{r.path.name}: most is predicted to come from {worst}")


def _draw(results: list[Evaluation], path: Path) -> None:
    from qconv import plots

    axes = plots.axes()
    ordered = sorted(results, key=lambda r: r.size)
    sizes = [r.size / 1e9 for r in ordered]
    means, errors = [r.divergence.mean for r in ordered], [r.divergence.error for r in ordered]
    axes.errorbar(sizes, means, yerr=errors, fmt="o", capsize=3)
    for r in ordered:
        axes.annotate(
            r.path.stem, (r.size / 1e9, r.divergence.mean), textcoords="offset points", xytext=(5, 5), fontsize=7
        )
    axes.set_yscale("log")
    axes.set_xlabel("size, GB")
    axes.set_ylabel("KL divergence, nats a token")
    plots.save(axes, path)


def _object(r: Evaluation) -> dict[str, Any]:
    return {
        "file": str(r.path),
        "bytes": r.size,
        "bits_per_weight": r.bits,
        "positions": len(r.divergence.kl),
        "kl_divergence": {
            "mean": r.divergence.mean,
            "standard_error": r.divergence.error,
            "predicted": r.predicted,
            **{name.replace(" %", ""): r.quantile(share) for share, name in _QUANTILES},
        },
        "tensors": [{"name": t.name, "type": t.type, "share": t.share} for t in r.shares],
        "same_top": {"share": r.same_top, "standard_error": r.same_top_error},
        "perplexity": {"value": r.perplexity, "standard_error": r.perplexity_error},
        "perplexity_ratio": {"value": r.ratio, "standard_error": r.ratio_error},
    }

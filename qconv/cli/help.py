"""Help as a manual page has it: plain text, options in named groups, examples last, at most 80 columns."""

from __future__ import annotations

import os
from typing import Any

import typer.core

from qconv.cli.errors import ErrorOutput
from qconv.cli.plain import make_plain


class Command(typer.core.TyperCommand):
    """A command whose ``--help`` groups options by ``rich_help_panel`` and prints its epilog as it stands.

    It has the options ``--json`` and ``--debug``, and puts them into the context's ``ErrorOutput``; where it has them,
    ``--progress`` and ``--quiet`` say how waits for the network are told, and whether huggingface_hub's own bars of
    downloads are shown.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        make_plain(self.get_params(ctx))
        left = super().parse_args(ctx, args)
        if isinstance(ctx.obj, ErrorOutput):
            ctx.obj.as_json, ctx.obj.debug = ctx.params["as_json"], ctx.params["debug"]
        return left

    def invoke(self, ctx: Any) -> Any:
        from qconv.cli.progress import telling_waits

        style, quiet = ctx.params.get("progress", "auto"), ctx.params.get("quiet", False)
        if quiet or style != "auto":
            os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # it looks when it is imported, which is later
        with telling_waits(style, quiet):
            return super().invoke(ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        arguments = [p for p in self.get_params(ctx) if p.param_type_name == "argument"]
        return ["[OPTIONS]", *map(_usage, arguments)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            is_argument = parameter.param_type_name == "argument"
            group = getattr(parameter, "rich_help_panel", None) or ("Arguments" if is_argument else "Options")
            label = parameter.metavar if is_argument and parameter.metavar else record[0]
            # defaults and ranges are said in the text, where they can be put in words
            groups.setdefault(group, []).append((label, record[1].partition("  [")[0]))
        for name, records in groups.items():
            with formatter.section(name):
                for label, what in records:
                    formatter.write_dl([(label, "")])
                    with formatter.indentation(), formatter.indentation(), formatter.indentation():
                        formatter.write_text(what)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        write_epilog(self.epilog, formatter)


class Group(typer.core.TyperGroup):
    """The group of commands; its epilog is printed as it stands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        make_plain(self.get_params(ctx))
        return super().parse_args(ctx, args)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        write_epilog(self.epilog, formatter)


def _usage(argument: Any) -> str:
    """``SOURCE...``, ``[NAME]``: the same in every version of Typer."""
    name = f"{argument.metavar}..." if argument.nargs == -1 else argument.metavar
    return name if argument.required else f"[{name}]"


def write_epilog(epilog: str | None, formatter: Any) -> None:
    """Lines of examples, not re-flowed."""
    if epilog:
        formatter.write_paragraph()
        for line in epilog.strip("\n").splitlines():
            formatter.write(f"{line}\n")

"""`netemu VERB WORDS -- COMMAND`: what stands behind the first -- is a command of its own, and none of our arguments."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand


class CommandBehindDashes(TyperCommand):
    """Puts the command into ``context.obj``: a list, empty where there is none."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        ctx.obj = args[at + 1 :]
        return super().parse_args(ctx, args[:at])


class CommandOrWire(CommandBehindDashes):
    """So only with --wire; without it the arguments are the command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        if "--wire" in args[:at]:
            ctx.allow_interspersed_args = True
            return super().parse_args(ctx, args)
        return TyperCommand.parse_args(self, ctx, args)

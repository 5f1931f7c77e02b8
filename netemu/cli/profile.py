"""`netemu profile`: kinds of access that a link can be like, and where their figures come from."""

from __future__ import annotations

from typing import Annotated

import typer

from netemu.cli.common import Json, print_json, print_table

group = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=False,
    help="Show what links may be like: lte, dsl, wifi-bad …",
)


@group.command("list")
def list_profiles(json: Json = False) -> None:
    """List the profiles."""
    from netemu.link.profiles import PROFILES

    if json:
        return print_json(list(PROFILES.values()))
    return print_table(("PROFILE", "WHAT"), [(profile.name, profile.summary) for profile in PROFILES.values()])


def complete(incomplete: str) -> list[str]:
    from netemu.link.profiles import PROFILES

    return [name for name in PROFILES if name.startswith(incomplete)]


@group.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", autocompletion=complete, help="As `profile list` has it.")],
    json: Json = False,
) -> None:
    """Show the words of a profile, and the source of its figures.

    'in' is the direction from the subscriber to the network (the upload), 'out' the one to the subscriber.

    \b
    Examples:
      netemu profile show lte
      netemu profile show wifi-bad --json
    """
    from netemu.apps.base import UsageError
    from netemu.link.profiles import ProfileError, find_profile

    try:
        profile = find_profile(name)
    except ProfileError as error:
        raise UsageError(str(error)) from None
    if json:
        return print_json(profile)
    for what, text in (
        (profile.name, profile.summary),
        ("in", profile.inward),
        ("out", profile.outward),
        ("source", profile.source),
    ):
        print(f"{what:<{max(6, len(profile.name))}}  {text}")
    return None

"""Commands whose help shows their options under several titles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import click

from .command import RenamedCommand


class GroupedCommand(RenamedCommand):
    """A command whose options have titles in the help; those without one stand last, or where "Options" is named."""

    groups: ClassVar[Mapping[str, Sequence[str]]] = {}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records = {
            parameter.name: record
            for parameter in self.get_params(ctx)
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)) is not None
        }
        grouped = {name for names in self.groups.values() for name in names}
        sections = {**self.groups, "Options": [name for name in records if name not in grouped]}
        for title, names in sections.items():
            with formatter.section(title):
                formatter.write_dl([records[name] for name in names])


def grouped(groups: Mapping[str, Sequence[str]]) -> type[GroupedCommand]:
    """The class of a command with these groups: parameter names by title; "Options" holds those that no other has."""
    return type("Grouped", (GroupedCommand,), {"groups": groups})

"""How both programs read their arguments: the command first, nothing unknown, no URI as a path."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path

from search.record.uris import refuse_uri
from trainables.errors import nearest


def parsed(
    parser: argparse.ArgumentParser, commands: Collection[str], words: Sequence[str]
) -> argparse.Namespace:
    """What was typed, or one line on standard error that says what to type.

    Args:
        parser: of the program, with a parser a command.
        commands: their names.
        words: what was typed after the program's name.

    Raises:
        SystemExit: it cannot be read (status 2), or asked for help (0).
        UserError: an option names a URI where a path of this machine is wanted.
    """
    if words and words[0] not in (*commands, "-h", "--help"):
        if words[0].startswith("-"):
            parser.error(f"the command comes first, then {words[0]}: one of {', '.join(commands)}")
        near = nearest(words[0], commands)
        hint = f"did you mean {near}?" if near else f"there are {', '.join(commands)}"
        parser.error(f"no command {words[0]}; {hint}")
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        parser.error(f"`{words[0]}` takes no {unknown[0]}; see `{parser.prog} {words[0]} --help`")
    for name, value in vars(arguments).items():
        if isinstance(value, Path) and name != "run":  # of a run whoever reads it says what to do
            refuse_uri(f"--{name.replace('_', '-')}", value)
    return arguments

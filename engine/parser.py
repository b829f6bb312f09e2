"""Arguments of the commands that have no configuration, read as strictly as those that have one."""

from __future__ import annotations

import argparse
from typing import NoReturn

from engine.errors import UserError


class Parser(argparse.ArgumentParser):
    """No abbreviations; a mistake is one line that names the way to help, and exit code 2."""

    def __init__(self, program: str, about: str | None) -> None:
        super().__init__(
            prog=program,
            description=about,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """Raise instead of ending the process."""
        raise UserError(f"{message}; see {self.prog} --help")

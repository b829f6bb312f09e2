"""The reports' own tables as a page: `python -m benchmarks.report.tables_page > docs/tables.md`.

A test fails when docs/tables.md no longer shows what `configs/` and the networks give.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.report.markdown import escaped, markdown_table
from benchmarks.report.paper_tables import paper_tables
from engine.errors import OK, run_command
from engine.parser import Parser

HEAD = """# The reports' own tables

Made from [`configs/`](../configs) and the networks, by `python -m benchmarks.report.tables_page`;
the accuracies are those that the reports print. `python -m engine.train --model.name NAME
--describe --format table` shows any network layer by layer.
"""


def main(argv: Sequence[str]) -> int:
    """The command: print the page."""
    Parser("python -m benchmarks.report.tables_page", __doc__).parse_args(argv)
    sys.stdout.write(page())
    return OK


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for table in paper_tables():
        parts.append(f"## Report {table.report}, {table.title[0].lower()}{table.title[1:]}\n")
        parts.append(markdown_table(table.head, table.rows) + "\n")
        if table.note:
            parts.append(escaped(table.note) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    raise SystemExit(run_command(main))

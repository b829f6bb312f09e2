"""Tables as plain text: aligned columns that read in a terminal, in a pipe and in a log."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from engine.escaping import escaped

Row = Sequence[str]


def columns(head: Row, rows: Sequence[Row], *, right: Collection[int] | None = None) -> str:
    """`head` and `rows`, aligned; `right` lists the columns of numbers (else all but the first).

    No rows give no text.
    """
    if not rows:
        return ""
    right = range(1, len(head)) if right is None else right
    rows = [[escaped(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    )

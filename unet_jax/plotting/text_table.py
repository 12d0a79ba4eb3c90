"""Tables as aligned text."""

from collections.abc import Collection, Sequence


def format_table(rows: Sequence[Sequence[str]], *, left: Collection[int] = (0,), rules: Collection[int] = ()) -> str:
    """Aligns the cells of each column, two spaces apart.

    >>> print(format_table([("class", "IoU"), ("anode", "0.917")], rules=(1,)))
    class    IoU
    ------------
    anode  0.917

    Args:
      rows: the cells of each row; all rows have one length. The titles are a row like any other.
      left: the indices of the columns that are aligned to the left; the others are aligned to the right.
      rules: the indices of the rows that have a line of dashes above them.

    Returns:
      The table as lines, without blanks at the end of a line and without a line break at the end.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = zip(range(len(row)), row, widths, strict=True)
        aligned = (cell.ljust(width) if place in left else cell.rjust(width) for place, cell, width in cells)
        lines.append("  ".join(aligned).rstrip())
    dashes = "-" * max(map(len, lines))
    return "\n".join(
        part for place, line in enumerate(lines) for part in ((dashes, line) if place in rules else (line,))
    )

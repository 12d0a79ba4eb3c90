"""Tables as aligned text."""

from collections.abc import Collection, Sequence


def format_table(rows: Sequence[Sequence[str]], *, left: Collection[int] = (0,), rules: Collection[int] = ()) -> str:
    """Aligns the cells of each column, two spaces apart; blanks at the end of a line are cut.

    Args:
      rows: cells by row, all rows of one length; titles are a row like any other.
      left: the columns set to the left; the others are set to the right.
      rules: the rows, by their index, above which a line of dashes stands.

    Returns:
      The table as lines, without a line break at the end.
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

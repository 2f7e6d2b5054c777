"""Where the cells of the checkpoint grid are: a base column that stays, steps that scroll under it. Pure arithmetic, in px."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QPointF, QRectF


@dataclass(frozen=True)
class GridGeometry:
    """Cells are squares.

    side: of a cell. gap: between cells. header: height of the line of steps. prompt: height of the line over each row.
    """

    side: int
    gap: int
    header: int
    prompt: int
    columns: int
    rows: int
    scrolled_x: int = 0
    scrolled_y: int = 0

    @property
    def row(self) -> int:
        """Height of a row with its prompt."""
        return self.prompt + self.side

    @property
    def width(self) -> int:
        """Of everything."""
        return self.columns * (self.side + self.gap) + self.gap

    @property
    def height(self) -> int:
        """Of everything."""
        return self.header + self.rows * self.row + 2 * self.gap

    @property
    def base_edge(self) -> int:
        """Where the base column ends and the scrolled ones begin."""
        return self.side + self.gap // 2

    def x(self, column: int) -> int:
        """Left edge of a column's cells; column 0 stays where it is."""
        return column * (self.side + self.gap) + (self.gap // 2 - self.scrolled_x if column else 0)

    def top(self, row: int) -> int:
        """Top of a row's prompt."""
        return self.header + row * self.row - self.scrolled_y

    def cell(self, row: int, column: int) -> QRectF:
        """A cell."""
        return QRectF(self.x(column), self.top(row) + self.prompt, self.side, self.side)

    def column_at(self, x: float) -> int | None:
        """The column there, if any."""
        if x < self.base_edge:
            return 0 if self.columns and x < self.side else None
        return next((i for i in range(1, self.columns) if self.x(i) <= x < self.x(i) + self.side), None)

    def cell_at(self, at: QPointF) -> tuple[int, int] | None:
        """Row and column of the cell there, if any."""
        column = self.column_at(at.x())
        if column is None or at.y() < self.header:
            return None
        row, rest = divmod(int(at.y()) - self.header + self.scrolled_y, self.row)
        return (row, column) if row < self.rows and rest >= self.prompt else None

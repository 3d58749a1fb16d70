//! The one look of all tables: a header, a rule below it, no frames, and as wide as the terminal at most.
//!
//! Where stdout is no terminal, lines are as long as they need to be, so that `grep` and `cut` see whole rows.

use comfy_table::{
    Cell, CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle,
};

/// A table with this header and no rows yet; the columns at these places hold numbers.
#[must_use]
pub fn with_header<const N: usize>(header: [&str; N], number_columns: &[usize]) -> Table {
    let mut table = Table::new();
    table
        .load_style(TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─')))
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    for column in number_columns {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Keeps the words of this column in one piece, however narrow the terminal is: they are codes that people search for.
pub fn never_wrap(table: &mut Table, column: usize) {
    if let Some(column) = table.column_mut(column) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
}

/// A table of names and values, without a header.
#[must_use]
pub fn of_facts<'text>(facts: impl IntoIterator<Item = (&'text str, String)>) -> Table {
    let mut table = Table::new();
    table
        .load_style(TableStyle::new())
        .set_content_arrangement(ContentArrangement::Dynamic);
    for (name, value) in facts {
        table.add_row([Cell::new(name), Cell::new(value)]);
    }
    table
}

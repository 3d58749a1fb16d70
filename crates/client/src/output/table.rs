//! Tables in the style of this program: a header, a rule below it, no frame.
//!
//! On a terminal a table is at most as wide as the terminal. Elsewhere cells are never wrapped, so that `grep` and `cut`
//! see whole rows.

use std::io::{self, Write};

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, TableStyle};

/// The values of `--format` of commands that print counts or events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OutputFormat {
    /// Text for people
    Text,
    /// One JSON object per line
    Json,
}

pub(crate) struct Table(comfy_table::Table);

impl Table {
    /// A table without rows. The columns with these indexes hold numbers and are aligned to the right.
    pub(crate) fn new<const N: usize>(header: [&str; N], number_columns: &[usize]) -> Self {
        let style = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));
        let mut table = Self::styled(style);
        table.0.set_header(header);
        for column in number_columns {
            if let Some(column) = table.0.column_mut(*column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }

    pub(crate) fn of_facts<'text>(facts: impl IntoIterator<Item = (&'text str, String)>) -> Self {
        let mut table = Self::styled(TableStyle::new());
        for (name, value) in facts {
            table.add_row([name.to_owned(), value]);
        }
        table
    }

    fn styled(style: TableStyle) -> Self {
        let mut table = comfy_table::Table::new();
        table
            .load_style(style)
            .set_content_arrangement(ContentArrangement::Dynamic);
        Self(table)
    }

    pub(crate) fn add_row<const N: usize>(&mut self, cells: [String; N]) {
        self.0.add_row(cells);
    }

    /// Never wraps this column, however narrow the terminal is, because users search for its codes.
    pub(crate) fn never_wrap(&mut self, column: usize) {
        if let Some(column) = self.0.column_mut(column) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.0.trim_fmt())
    }
}

//! Pages of lists.

/// A page of a list.
pub struct ResultPage<T> {
    /// The items, in the order of the list.
    pub items: Vec<T>,
    /// Whether the list has more items after them.
    pub has_more: bool,
}

impl<T> ResultPage<T> {
    /// How many rows to read for a page: one more than its size tells whether there are more.
    pub(super) fn rows_max(page_size: usize) -> i64 {
        i64::try_from(page_size + 1).unwrap_or(i64::MAX)
    }

    /// The page of the rows that were read.
    pub(super) fn new(mut rows: Vec<T>, page_size: usize) -> Self {
        let has_more = rows.len() > page_size;
        rows.truncate(page_size);
        Self {
            items: rows,
            has_more,
        }
    }
}

//! Arrays for statements over many rows.

/// Returns one column of many rows, as an array that a statement can unnest.
pub(super) fn column<'a, T, C>(rows: &'a [T], of: impl Fn(&'a T) -> C) -> Vec<C> {
    rows.iter().map(of).collect()
}

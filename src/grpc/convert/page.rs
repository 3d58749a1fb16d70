//! Pages that end before their rows are too large (AIP-158 permits that).

use prost::Message;

use crate::grpc::wire::limits::ROWS_BYTES_MAX;

/// The first rows of a page, as many as a response has room for. At least one.
pub(in crate::grpc) struct FittingRows<M> {
    pub(in crate::grpc) rows: Vec<M>,
    /// Whether rows were left out, so that there is another page.
    pub(in crate::grpc) is_cut: bool,
}

impl<M: Message> FittingRows<M> {
    pub(in crate::grpc) fn of(rows: impl Iterator<Item = M>) -> Self {
        let (mut fitting, mut bytes) = (Vec::new(), 0);
        for row in rows {
            let length = row.encoded_len();
            // The length has a tag, and is a number itself.
            bytes += 1 + prost::length_delimiter_len(length) + length;
            if bytes > ROWS_BYTES_MAX && !fitting.is_empty() {
                return Self {
                    rows: fitting,
                    is_cut: true,
                };
            }
            fitting.push(row);
        }
        Self {
            rows: fitting,
            is_cut: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_before_its_rows_are_too_large_and_has_a_row() {
        let large = "x".repeat(ROWS_BYTES_MAX / 3);
        let page = FittingRows::of((0..4).map(|_| large.clone()));
        assert_eq!((page.rows.len(), page.is_cut), (2, true));
        let page = FittingRows::of(["x".repeat(ROWS_BYTES_MAX)].into_iter());
        assert_eq!((page.rows.len(), page.is_cut), (1, false));
    }
}

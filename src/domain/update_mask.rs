//! Update masks (AIP-134): which fields an upsert changes in rows that exist.

use super::reason::{Reason, Violation};

/// The path that stands for every field that can be written.
const EVERY_FIELD: &str = "*";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum UpdateMask {
    /// The fields that each item sets.
    #[default]
    SetFields,
    EveryField,
    Named(Vec<String>),
}

impl UpdateMask {
    /// Checks the paths of a mask. A mask without paths stands for the fields that each item sets.
    ///
    /// # Errors
    ///
    /// `UPDATE_MASK_INVALID` with the path of each name that is not in `writable`.
    pub fn parse(paths: &[String], writable: &[&str]) -> Result<Self, Vec<Violation>> {
        let is_known = |path: &str| path == EVERY_FIELD || writable.contains(&path);
        let violations: Vec<Violation> = (0..)
            .zip(paths)
            .filter(|(_, path)| !is_known(path))
            .map(|(index, _): (usize, _)| {
                let field = format!("update_mask.paths[{index}]");
                Violation::new(field, Reason::UpdateMaskInvalid)
            })
            .collect();
        if !violations.is_empty() {
            return Err(violations);
        }
        Ok(match paths {
            [] => Self::SetFields,
            paths if paths.iter().any(|path| path == EVERY_FIELD) => Self::EveryField,
            paths => Self::Named(paths.to_vec()),
        })
    }

    /// Whether a field of a row that exists changes to that of an item, which may set the field or not.
    pub fn includes(&self, field: &str, is_set: bool) -> bool {
        match self {
            Self::SetFields => is_set,
            Self::EveryField => true,
            Self::Named(paths) => paths.iter().any(|path| path == field),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITABLE: [&str; 2] = ["name", "roles"];

    fn mask(paths: &[&str]) -> Result<UpdateMask, Vec<Violation>> {
        let paths: Vec<_> = paths.iter().map(|path| (*path).to_owned()).collect();
        UpdateMask::parse(&paths, &WRITABLE)
    }

    #[test]
    fn a_mask_names_fields_or_every_field_or_leaves_that_to_each_item() {
        for (paths, is_set, expected) in [
            (&[][..], true, true),
            (&[], false, false),
            (&["*"], false, true),
            (&["roles", "*"], false, true),
            (&["name"], false, true),
            (&["roles"], true, false),
        ] {
            let mask = mask(paths).unwrap();
            assert_eq!(mask.includes("name", is_set), expected, "{paths:?}");
        }
    }

    #[test]
    fn every_unknown_path_is_a_violation() {
        let violations = mask(&["name", "id", "*", "Name", "roles.id", ""]).unwrap_err();
        let fields: Vec<_> = violations.iter().map(|it| it.field.as_str()).collect();
        let expected = [1, 3, 4, 5].map(|index| format!("update_mask.paths[{index}]"));
        assert_eq!(fields, expected);
    }
}

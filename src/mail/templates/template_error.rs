//! Errors in templates and in rendering one email. They name the place and never a value.

use std::fmt;

/// An error in one template, or the reason why one email could not be rendered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct TemplateError {
    place: String,
    reason: String,
}

/// All errors in the templates, one per line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateErrors(pub Vec<TemplateError>);

impl TemplateError {
    pub(super) fn new(place: impl Into<String>, reason: &impl ToString) -> Self {
        Self {
            place: place.into(),
            reason: reason.to_string(),
        }
    }

    /// Keeps only the kind of the error, because `minijinja` may quote a value in its text.
    pub(super) fn of_rendering(place: String, error: &minijinja::Error) -> Self {
        Self::new(place, &error.kind())
    }
}

impl TemplateErrors {
    /// Sorts the errors and removes duplicates.
    pub(super) fn new(mut errors: Vec<TemplateError>) -> Self {
        errors.sort();
        errors.dedup();
        Self(errors)
    }

    /// `value` if there are no errors.
    pub(super) fn none_or<T>(errors: Vec<TemplateError>, value: T) -> Result<T, Self> {
        if errors.is_empty() {
            Ok(value)
        } else {
            Err(Self::new(errors))
        }
    }
}

impl fmt::Display for TemplateErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        formatter.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for TemplateErrors {}

//! What can be wrong with templates, and with rendering one mail. Names places and never a value.

use std::fmt;

/// What is wrong with one template, or why one mail could not be rendered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct TemplateError {
    place: String,
    reason: String,
}

/// Everything that is wrong with the templates, a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateErrors(pub Vec<TemplateError>);

impl TemplateError {
    pub(super) fn new(place: impl Into<String>, reason: &impl ToString) -> Self {
        Self {
            place: place.into(),
            reason: reason.to_string(),
        }
    }

    /// Keeps the kind alone: what `minijinja` says more may quote a value.
    pub(super) fn of_rendering(place: String, error: &minijinja::Error) -> Self {
        Self::new(place, &error.kind())
    }
}

impl TemplateErrors {
    /// The errors sorted, each once.
    pub(super) fn new(mut errors: Vec<TemplateError>) -> Self {
        errors.sort();
        errors.dedup();
        Self(errors)
    }

    /// `value` if nothing is wrong.
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

//! Problems of the settings, collected so that all of them are reported together.

use std::fmt::Display;

#[derive(Debug, Default)]
pub(super) struct Problems(Vec<String>);

impl Problems {
    pub(super) fn add(&mut self, problem: impl Into<String>) {
        self.0.push(problem.into());
    }

    pub(super) fn extend(&mut self, problems: impl IntoIterator<Item = String>) {
        self.0.extend(problems);
    }

    /// Returns a value that may have one problem.
    pub(super) fn check<T>(&mut self, result: Result<T, String>) -> Option<T> {
        result.map_err(|problem| self.0.push(problem)).ok()
    }

    pub(super) fn check_optional<T>(&mut self, result: Option<Result<T, &str>>) -> Option<T> {
        self.check(result?.map_err(str::to_owned))
    }

    pub(super) fn check_all<T>(&mut self, result: Result<T, Vec<String>>) -> Option<T> {
        result.map_err(|problems| self.0.extend(problems)).ok()
    }

    /// Returns the value if there were no problems.
    pub(super) fn into_result<T>(self, value: Option<T>) -> Result<T, Vec<String>> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(self.0),
        }
    }
}

/// Collects the problems of one table of a file, each with the place of the table.
pub(super) struct TableProblems<'a> {
    place: String,
    problems: &'a mut Problems,
    count_before: usize,
}

impl<'a> TableProblems<'a> {
    pub(super) fn new(place: String, problems: &'a mut Problems) -> Self {
        Self {
            place,
            count_before: problems.0.len(),
            problems,
        }
    }

    pub(super) fn add(&mut self, problem: impl Display) {
        let place = &self.place;
        self.problems.add(format!("{place}: {problem}"));
    }

    pub(super) fn check<T>(&mut self, result: Result<T, String>) -> Option<T> {
        result.map_err(|problem| self.add(problem)).ok()
    }

    /// Returns the value if the table had no problems.
    pub(super) fn into_option<T>(self, value: T) -> Option<T> {
        (self.problems.0.len() == self.count_before).then_some(value)
    }
}

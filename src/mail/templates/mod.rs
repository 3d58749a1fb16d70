//! Subject, text and HTML of the emails, in every language.
//!
//! A locale is one TOML file of sentences; all locales share the layouts. At start the sentences are inserted into the
//! layouts and MJML becomes HTML. Rendering an email is then one pass of `minijinja`, which is strict about missing
//! values and escapes only in HTML. Nothing is loaded from the network, except the logo of an organization that has one.
//!
//! In reading order: `template_files` finds the files, `locale_file` checks them, `compiled_templates` compiles them,
//! `email_rendering` renders an email with the colors of `palette`, and `template_check` renders every
//! combination before the first email is sent.

mod compiled_templates;
mod email_rendering;
mod locale_file;
mod palette;
mod template_check;
mod template_error;
mod template_files;

pub use compiled_templates::Templates;
pub use template_error::{TemplateError, TemplateErrors};

#[cfg(test)]
#[path = "template_folder_tests.rs"]
mod folder_tests;
#[cfg(test)]
#[path = "templates_tests.rs"]
mod tests;

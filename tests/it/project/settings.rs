//! The table of settings in the documentation, kept by the code's own help.

use std::fmt::Write as _;

use clap::{Arg, CommandFactory as _};
use invitations::command_line::CommandLine;

const BEGIN: &str = "<!-- settings -->\n";
const END: &str = "<!-- /settings -->";

#[test]
fn the_table_has_every_setting_as_the_help_has_it() {
    let settings = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/settings.md");
    let settings = std::fs::read_to_string(settings).unwrap();
    let found = settings
        .split_once(BEGIN)
        .and_then(|(_, rest)| rest.split_once(END))
        .map(|(table, _)| table);
    let expected = table();
    assert!(
        found == Some(expected.as_str()),
        "what stands between the marks of docs/settings.md should be:\n\n{BEGIN}{expected}{END}\n"
    );
}

fn table() -> String {
    let command = CommandLine::command();
    let serve = command.find_subcommand("serve").unwrap();
    let mut table = "| setting | default | what |\n|---|---|---|\n".to_owned();
    for argument in serve.get_arguments() {
        let Some(variable) = argument.get_env() else {
            continue;
        };
        let variable = variable.to_str().unwrap();
        let help = argument.get_help().unwrap().to_string().replace('|', "\\|");
        let default = default(argument);
        writeln!(table, "| `{variable}` | {default} | {help} |").unwrap();
    }
    table
}

fn default(argument: &Arg) -> String {
    if argument.is_required_set() {
        return "`required`".to_owned();
    }
    let values = argument.get_default_values().iter();
    let values: Vec<_> = values.map(|value| value.to_str().unwrap()).collect();
    values.join(" ")
}

#[test]
fn the_readme_is_short_enough_to_be_read() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    assert!(readme.lines().count() <= 150);
}

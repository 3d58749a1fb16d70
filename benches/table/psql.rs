//! The same statement by psql: one session, literals in place of the parameters, and its own clock.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use invitations::domain::new_invitation::NewInvitation;
use tempfile::TempDir;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::people::{Batch, KEY_ID};
use crate::statement;

/// Where the statement stands.
const SOURCE: &str = include_str!("../../src/store/invitations.rs");

/// A session.
pub(crate) struct Psql {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    folder: TempDir,
}

impl Psql {
    /// Opens one.
    pub(crate) fn start(url: &str) -> anyhow::Result<Self> {
        let mut child = Command::new("psql")
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", url])
            // The decimal point of its times.
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start psql")?;
        let input = child.stdin.take().context("psql has no input")?;
        let output = child.stdout.take().context("psql has no output")?;
        Ok(Self {
            child,
            input,
            output: BufReader::new(output).lines(),
            folder: TempDir::new()?,
        })
    }

    /// Runs a statement and returns the time psql prints: from sending it to having received the last row.
    pub(crate) fn time(&mut self, statement: &str) -> anyhow::Result<Duration> {
        let file = self.folder.path().join("statement.sql");
        fs::write(&file, statement)?;
        // The rows go nowhere. psql keeps its lines back until it prints rows of a query, hence the last one.
        write!(
            self.input,
            "\\o /dev/null\n\\timing on\n\\i {}\n\\timing off\n\\o\nSELECT 'done';\n",
            file.display()
        )?;
        self.input.flush()?;
        let mut time = None;
        for line in &mut self.output {
            let line = line?;
            if line == "done" {
                return time.context("psql told no time");
            }
            if let Some(words) = line.strip_prefix("Time: ") {
                let millis = words.split(' ').next().unwrap_or_default();
                let millis: f64 = millis.parse().context("psql's time is no number")?;
                time = Some(Duration::from_secs_f64(millis / 1_000.0));
            }
        }
        bail!("psql ended; what it said is above");
    }

    /// Ends the session.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        drop(self.input);
        ensure!(self.child.wait()?.success(), "psql failed");
        Ok(())
    }
}

/// The statement of `insert_many` with the batch's values as literals.
pub(crate) fn insert_many(batch: &Batch) -> anyhow::Result<String> {
    let text = statement::text(SOURCE, "store::invitations::insert_many")?;
    statement::fill(text, &literals(batch)?)
}

/// In the order in which `insert_many` binds its parameters.
fn literals(batch: &Batch) -> anyhow::Result<Vec<String>> {
    let rows = &batch.rows;
    let texts =
        |of: fn(&NewInvitation) -> &str| array(rows.iter().map(|row| quoted(of(&row.item))));
    let json = |of: fn(&NewInvitation) -> Option<&str>| {
        let element = |text: Option<&str>| text.map_or_else(|| "NULL".to_owned(), quoted);
        array(rows.iter().map(|row| element(of(&row.item))))
    };
    let expiries = rows
        .iter()
        .map(|row| Ok(quoted(&timestamp(row.item.expires_at)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let reminders = rows
        .iter()
        .map(|row| match row.item.remind_at(batch.now) {
            Some(time) => Ok(quoted(&timestamp(time)?)),
            None => Ok("NULL".to_owned()),
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(vec![
        format!("'{}'::text", batch.organization_id),
        format!("'{}'::uuid", batch.id),
        format!("{KEY_ID}::smallint"),
        format!("'{}'::timestamptz", timestamp(batch.now)?),
        array(rows.iter().map(|row| row.id.to_string())),
        array(rows.iter().map(|row| bytes(&row.nonce))),
        array(expiries.into_iter()),
        texts(|item| item.email.given()),
        texts(|item| item.email.normalized()),
        texts(|item| item.role.as_str()),
        texts(|item| item.inviter_user_id.as_str()),
        texts(|item| &item.locale),
        texts(|item| &item.redirect_url),
        texts(|item| &item.message),
        texts(|item| item.accept_policy.as_str()),
        json(|item| item.public_metadata.as_deref()),
        json(|item| item.private_metadata.as_deref()),
        array(rows.iter().map(|row| row.item.notify.to_string())),
        array(
            rows.iter()
                .map(|row| row.item.reminder_lead.seconds().to_string()),
        ),
        array(reminders.into_iter()),
    ])
}

/// An array of elements that are spelled as the inside of an array's literal wants them.
fn array(elements: impl Iterator<Item = String>) -> String {
    let elements: Vec<String> = elements.collect();
    format!("'{{{}}}'", elements.join(",").replace('\'', "''"))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn bytes(bytes: &[u8]) -> String {
    let mut hex = String::from("\"\\\\x");
    for byte in bytes {
        let _ = write!(hex, "{byte:02x}");
    }
    hex.push('"');
    hex
}

fn timestamp(time: OffsetDateTime) -> anyhow::Result<String> {
    Ok(time.format(&Rfc3339)?)
}

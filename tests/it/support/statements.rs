//! A recorder of the SQL statements that run in the thread of a test.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tokio::runtime::{Handle, RuntimeFlavor};
use tracing::dispatcher::DefaultGuard;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Metadata, Subscriber};

/// Records every statement until it is dropped. The server runs in tasks, so the test must use one thread for all of
/// them: `#[tokio::test(flavor = "current_thread")]`.
pub(crate) struct StatementRecorder {
    statements: Arc<Mutex<Vec<String>>>,
    _default: DefaultGuard,
    _second: Dispatch,
}

impl StatementRecorder {
    pub(crate) fn start() -> Self {
        let flavor = Handle::current().runtime_flavor();
        assert_eq!(flavor, RuntimeFlavor::CurrentThread);
        let statements = Arc::default();
        let recording = Recording(Arc::clone(&statements));
        Self {
            statements,
            // While the process has one subscriber, tracing asks only the current thread whether a call site is
            // enabled and caches the answer for all threads. A thread of another test would answer no.
            _second: Dispatch::new(Recording(Arc::default())),
            _default: tracing::subscriber::set_default(recording),
        }
    }

    /// The number of statements since the start, or since the last [`take`](Self::take).
    pub(crate) fn count(&self) -> usize {
        self.statements.lock().unwrap().len()
    }

    /// Removes and returns the recorded statements, each with its full text. Those of the store begin with `--
    /// store::`; the others come from the connection pool.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.statements.lock().unwrap())
    }
}

struct Recording(Arc<Mutex<Vec<String>>>);

impl Subscriber for Recording {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query"
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut fields = StatementFields::default();
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.into_text());
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The two fields in which sqlx reports a statement. The full text is empty if the summary already is the full text.
#[derive(Default)]
struct StatementFields {
    summary: String,
    full_text: String,
}

impl StatementFields {
    fn into_text(self) -> String {
        match self.full_text.trim() {
            "" => self.summary,
            text => text.to_owned(),
        }
    }
}

impl Visit for StatementFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.full_text),
            _ => {}
        }
    }
    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

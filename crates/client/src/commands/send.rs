//! The command `send`. With `--atomic`, it sends the whole list in one `BulkCreate`, which changes everything or nothing.

use std::fmt::Write as _;
use std::io::Write;
use std::rc::Rc;

use invitations_command::error::{CommandError, CommandResult};

use crate::connection::{
    CALL_BYTES_MAX, CALL_ITEMS_MAX, Connection, framed_bytes, is_retryable, new_request_id,
    with_retries,
};
use crate::list::{Invitee, ListEntry, ListError};
use crate::proto::{BulkCreateRequest, BulkCreateStreamHeader, InvitationView};
use crate::report::{ReportOptions, match_response, with_line_numbers};
use crate::send::list_source::{scan_list, start_reading};
use crate::send::send_args::SendArgs;
use crate::send::send_window::SendWindow;
use crate::send::sent_list::{LiveCounts, ResultCollector, SentList};
use crate::send::session::SendSession;
use crate::send::stream_sender::{StreamFailure, StreamSender};

/// Unreadable rows that are printed. The others are only counted.
const PROBLEMS_SHOWN_MAX: usize = 20;

pub(crate) async fn run(args: &SendArgs, out: &mut dyn Write) -> CommandResult {
    let options = ReportOptions {
        is_dry_run: args.dry_run,
        has_waited: !args.dry_run && !args.no_wait,
        shows_all: args.all,
    };
    args.check_report_path()?;
    let (connection, mut sent) = if args.atomic {
        send_atomic(args).await?
    } else {
        send_stream(args).await?
    };
    if options.has_waited {
        let timeout = args.wait_timeout.into();
        sent.wait(&mut connection.invitations(), timeout).await?;
    }
    sent.report.write(options, out)?;
    Ok(sent.report.exit())
}

async fn send_atomic(args: &SendArgs) -> Result<(Connection, SentList), CommandError> {
    let invitees = read_list(args).await?;
    let request_id = args.request_id.unwrap_or_else(new_request_id);
    let connection = args.connection.connect().await?;
    let request = BulkCreateRequest {
        request_id: args.request_id_field(request_id),
        organization_id: args.organization.clone(),
        inviter_user_id: args.inviter(),
        invitations: invitees.iter().map(|it| it.item.clone()).collect(),
        on_existing: args.on_existing.into(),
        atomic: true,
        validate_only: args.dry_run,
        return_link: false,
        view: InvitationView::Basic.into(),
    };
    let mut client = connection.invitations();
    let call = async || client.bulk_create(request.clone()).await;
    let response = with_retries("BulkCreate", call).await.map_err(|status| {
        let text = connection.describe("BulkCreate", &status);
        let mut text = with_line_numbers(&text, &invitees);
        if !args.dry_run && is_retryable(&status) {
            let _ = write!(
                text,
                "\n  repeat the command with --request-id {request_id}, so that no person is invited twice"
            );
        }
        CommandError::Refused(text)
    })?;
    let batch_id = response.batch_id.clone();
    let rows = match_response(&invitees, response).map_err(CommandError::Refused)?;
    let mut sent = SentList::new(args)?;
    sent.deliveries.set_batch(&batch_id);
    sent.add(rows)?;
    Ok((connection, sent))
}

/// Reads the whole list. Fails if it does not fit one call or if any row is unreadable.
async fn read_list(args: &SendArgs) -> Result<Vec<Invitee>, CommandError> {
    let mut source = start_reading(args)?;
    let (mut invitees, mut problems, mut omitted) = (Vec::new(), Vec::new(), 0_u64);
    let mut bytes = 0;
    while let Some(entry) = source.recv().await {
        match entry.map_err(|error| args.list_error(error))? {
            ListEntry::Invitee(invitee) => {
                bytes += framed_bytes(&invitee.item);
                invitees.push(*invitee);
            }
            ListEntry::Unreadable { line, problem, .. } => {
                if problems.len() < PROBLEMS_SHOWN_MAX {
                    problems.push(format!("line {line}: {problem}"));
                } else {
                    omitted += 1;
                }
            }
        }
        if invitees.len() > CALL_ITEMS_MAX || bytes > CALL_BYTES_MAX {
            return Err(CommandError::Usage(format!(
                "the list is too long for --atomic, which sends at most {CALL_ITEMS_MAX} rows and {} MiB in one call",
                CALL_BYTES_MAX / (1024 * 1024)
            )));
        }
    }
    if omitted > 0 {
        problems.push(format!("and {omitted} more"));
    }
    if problems.is_empty() {
        Ok(invitees)
    } else {
        Err(args.list_error(ListError::Invalid(problems)))
    }
}

async fn send_stream(args: &SendArgs) -> Result<(Connection, SentList), CommandError> {
    let scan = scan_list(args)?;
    let session = SendSession::start(args, scan.as_ref())?;
    let source = start_reading(args).inspect_err(|_| session.discard())?;
    let sent = SentList::new(args).inspect_err(|_| session.discard())?;
    let connection = args.connection.connect().await;
    let connection = connection.inspect_err(|_| session.discard())?;
    if !args.dry_run {
        eprintln!("request id {}", session.request_id);
    }
    let client = connection.invitations();
    let live = Rc::new(LiveCounts::default());
    let total = scan.map(|scan| scan.row_count);
    let mut sender = StreamSender {
        client: client.clone(),
        header: BulkCreateStreamHeader {
            request_id: args.request_id_field(session.request_id),
            organization_id: args.organization.clone(),
            inviter_user_id: args.inviter(),
            on_existing: args.on_existing.into(),
            validate_only: args.dry_run,
            return_link: false,
            first_index: 0,
            view: InvitationView::Basic.into(),
        },
        source,
        answer_timeout: args.connection.server.timeout(),
        collector: ResultCollector::new(sent, total, Rc::clone(&live)),
        window: SendWindow::default(),
        is_read: false,
    };
    let result = tokio::select! {
        result = sender.run() => result,
        never = live.update(client, &args.organization) => match never {},
        _ = tokio::signal::ctrl_c() => {
            let failure = CommandError::Refused("interrupted".to_owned());
            Err(StreamFailure::Other(failure))
        }
    };
    let collector = sender.collector;
    if let Err(failure) = result {
        let failure = session.interrupted(args, &connection, &collector, failure);
        collector.finish();
        return Err(failure);
    }
    session.finish();
    Ok((connection, collector.finish()))
}

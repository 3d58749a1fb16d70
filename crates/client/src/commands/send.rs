//! The command `send`.

use std::io::Write;
use std::rc::Rc;

use invitations_command::error::{CommandError, Exit};

use crate::connection::{Connection, new_request_id};
use crate::proto::BulkCreateStreamHeader;
use crate::report::ReportOptions;
use crate::send::atomic;
use crate::send::list_source::{RowSource, scan_list};
use crate::send::result_collector::{LiveCounts, ResultCollector};
use crate::send::send_args::SendArgs;
use crate::send::send_window::SendWindow;
use crate::send::sent_list::SentList;
use crate::send::session::SendSession;
use crate::send::stream_sender::{StreamFailure, StreamSender};

pub(crate) async fn run(args: &SendArgs, out: &mut dyn Write) -> Result<Exit, CommandError> {
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
    let counts = if options.has_waited {
        let timeout = args.wait_timeout.into();
        sent.wait(&mut connection.invitations(), timeout).await?
    } else {
        sent.report.queued()
    };
    sent.report.write(counts, options, out)?;
    Ok(sent.report.exit(counts))
}

async fn send_atomic(args: &SendArgs) -> Result<(Connection, SentList), CommandError> {
    let invitees = atomic::read_list(args).await?;
    let request_id = args.request_id.unwrap_or_else(new_request_id);
    let connection = args.connection.connect().await?;
    let (batch_id, rows) = atomic::create(args, &connection, request_id, &invitees).await?;
    let mut sent = SentList::new(args)?;
    sent.deliveries.set_batch(&batch_id);
    sent.add(rows)?;
    Ok((connection, sent))
}

async fn send_stream(args: &SendArgs) -> Result<(Connection, SentList), CommandError> {
    let scan = scan_list(args)?;
    let session = SendSession::start(args, scan.as_ref())?;
    let source = RowSource::start(args).inspect_err(|_| session.discard())?;
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
        },
        source,
        answer_timeout: args.connection.server().timeout(),
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

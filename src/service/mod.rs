//! The use cases: each a type with a request, a result and a `run`.
//!
//! [`Service::run`] runs a [`UseCase`] on one connection, in a named transaction unless the use case says otherwise. Use
//! cases decide; [`store`](crate::store) holds the SQL. They know no protocol and no mail. Whether a caller may call a
//! method was decided before.
//!
//! Bulk calls and work in several transactions are methods of [`Service`].

mod accept;
mod backlog;
pub mod bulk_create;
mod bulk_resend;
mod bulk_revoke;
mod completion;
mod context;
mod count_events;
mod decline;
mod delete;
mod erase_address;
mod error;
mod existing_organization;
mod feedback;
mod get;
mod get_batch;
mod idempotency;
mod invitation_access;
mod item_result;
mod keys;
mod links;
mod list;
mod list_audit_events;
mod memberships;
mod organization_lock;
mod preview;
mod purge_run;
mod quotas;
mod remind;
mod requeue;
mod resend;
mod resend_plan;
mod result_page;
mod retention;
mod revoke;
mod runner;
mod selection;
mod stored_results;
mod suppression_list;
mod suppressions;
mod suspension;
mod sweep;
mod unit_of_work;
mod unsubscribe;
mod upsert;
mod watch;

pub use accept::{Accept, AcceptedInvitation};
pub use backlog::{Backlog, BacklogAlarm, GetBacklog, MessageCount};
pub use bulk_resend::{BulkResend, ResentInvitations};
pub use bulk_revoke::{BulkRevoke, RevokeOutcome, RevokedInvitations};
pub use context::Context;
pub use decline::Decline;
pub use delete::{DeleteMembership, DeleteOrganization, DeleteUser, Deleted};
pub use erase_address::ErasedAddress;
pub use error::ServiceError;
pub use feedback::{Feedback, FeedbackKind, FeedbackOutcome, FeedbackSource, RecordFeedback};
pub use get::GetInvitation;
pub use get_batch::GetBatch;
pub use item_result::{ItemOutcome, ItemResult};
pub use keys::{CheckKeys, KeyringMismatch};
pub use list::ListInvitations;
pub use list_audit_events::ListAuditEvents;
pub use memberships::{GetMembership, ListMemberships, RequireAdmin};
pub use preview::PreviewInvitation;
pub use requeue::{Requeue, RequeueSelection, RequeuedMessages};
pub use resend::Resend;
pub use result_page::ResultPage;
pub use retention::Retention;
pub use revoke::Revoke;
pub use runner::{Service, UseCase};
pub use selection::{InvitationSelection, RefusedInvitation};
pub use suppressions::{
    AddOutcome, AddSuppressions, AddressInputs, AddressResults, LiftOutcome, LiftSuppressions,
    ListSuppressions, RefusedAddress,
};
pub use suspension::{ResumeOrganization, SuspendOrganization};
pub use unit_of_work::UnitOfWork;
pub use upsert::{
    UpsertMemberships, UpsertOrganizations, UpsertOutcome, UpsertResult, UpsertUsers,
};
pub use watch::{EVENTS_MAX, Watch, WatchFrom, WatchedEvents};

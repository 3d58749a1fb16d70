//! The use cases: each a type with a request, a result and a `run`.
//!
//! [`Service::run`] runs a [`UseCase`] on one connection, in a named transaction unless the use case says otherwise. Use
//! cases decide; [`store`](crate::store) holds the SQL. They know no protocol and no mail. Whether a caller may call a
//! method was decided before.
//!
//! Work in several transactions is a method of [`Service`].

mod accept;
mod backlog;
pub mod bulk_create;
mod context;
mod decline;
mod delete;
mod erase_address;
mod error;
mod feedback;
mod get;
mod idempotency;
mod invitation_access;
mod item_result;
mod keys;
mod list;
mod memberships;
mod quotas;
mod requeue;
mod resend;
mod resend_plan;
mod retention;
mod revoke;
mod runner;
mod selection;
mod stored_results;
mod suppression_list;
mod suppressions;
mod suspension;
mod sweep;
mod unsubscribe;
mod upsert;
mod upsert_memberships;
mod watch;

pub use accept::{Accept, AcceptedInvitation};
pub use backlog::{Backlog, BacklogAlarm, GetBacklog, MessageCount};
pub use context::{Context, UnitOfWork};
pub use decline::Decline;
pub use delete::{DeleteMembership, DeleteOrganization, DeleteUser, Deleted};
pub use erase_address::ErasedAddress;
pub use error::ServiceError;
pub use feedback::{Feedback, FeedbackKind, FeedbackOutcome, FeedbackSource, RecordFeedback};
pub use get::{GetBatch, GetInvitation, PreviewInvitation};
pub use item_result::{ItemOutcome, ItemResult};
pub use keys::{CheckKeys, KeyringMismatch};
pub use list::{ListAuditEvents, ListInvitations, ResultPage};
pub use memberships::{GetMembership, ListMemberships, RequireAdmin};
pub use requeue::{Requeue, RequeueSelection};
pub use resend::{BulkResend, Resend};
pub use retention::Retention;
pub use revoke::{BulkRevoke, Revoke, RevokeOutcome};
pub use runner::{Service, UseCase};
pub use selection::{InvitationSelection, RefusedInvitation, SelectionResults};
pub use suppressions::{
    AddOutcome, AddSuppressions, AddressInputs, AddressResults, LiftOutcome, LiftSuppressions,
    ListSuppressions, RefusedAddress,
};
pub use suspension::{ResumeOrganization, SuspendOrganization};
pub use upsert::{UpsertOrganizations, UpsertOutcome, UpsertResult, UpsertUsers};
pub use upsert_memberships::UpsertMemberships;
pub use watch::{EVENTS_MAX, Watch, WatchFrom, WatchedEvents};

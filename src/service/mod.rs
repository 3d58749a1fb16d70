//! The use cases. Most are types that hold a request and implement [`UseCase`].
//!
//! [`Service::run`] runs a [`UseCase`] on one connection, in a named transaction unless the use case says otherwise. Use
//! cases that need several transactions, or work before or after one, are methods of [`Service`], such as `sweep`,
//! `watch` and `unsubscribe`.
//!
//! Use cases decide, and [`store`](crate::store) has the SQL. They know neither the messages of the protocol nor how an
//! email is sent. The caller was checked before: its scopes and its organization, and with [`RequireInvitingMember`]
//! whether the role of a user can invite. Only items of upserts and bulk deletes are checked here, because each may name another
//! organization.

mod accept;
mod backlog;
pub mod bulk_create;
mod bulk_delete;
mod context;
mod database_check;
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
mod organizations;
mod quotas;
mod readiness;
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
mod users;
mod watch;

pub use accept::{Accept, AcceptedInvitation};
pub use backlog::{Backlog, BacklogAlarm, GetBacklog, MessageCount};
pub use bulk_delete::{
    BulkDeleteMemberships, BulkDeleteUsers, BulkDeleted, DeleteOutcome, RefusedDelete,
};
pub use context::{Context, UnitOfWork};
pub use database_check::NotReady;
pub use decline::Decline;
pub use delete::{DeleteMembership, DeleteOptions, DeleteOrganization, DeleteUser, Deleted};
pub use erase_address::{ErasedAddress, PreviewErasure};
pub use error::ServiceError;
pub use feedback::{Feedback, FeedbackKind, FeedbackOutcome, FeedbackSource, RecordFeedback};
pub use get::{BulkGetInvitations, GetBatch, GetInvitation, InvitationPreview, PreviewInvitation};
pub use invitation_access::InvitationTarget;
pub use item_result::{ItemOutcome, ItemResult};
pub use keys::{CheckKeys, KeyringMismatch};
pub use list::{ListAuditEvents, ListInvitations, ResultPage};
pub use memberships::{GetMembership, ListMemberships, RequireInvitingMember};
pub use organizations::{GetOrganization, ListOrganizations};
pub use readiness::Readiness;
pub use requeue::Requeue;
pub use resend::{BulkResend, Resend};
pub use retention::Retention;
pub use revoke::{BulkRevoke, Revoke, RevokeOutcome, RevokedInvitation};
pub use runner::{Service, UseCase};
pub use selection::{InvitationSelection, RefusedInvitation, SelectionResults};
pub use suppressions::{
    AddOutcome, AddSuppressions, AddressInputs, AddressResults, LiftOutcome, LiftSuppressions,
    ListSuppressions, RefusedAddress, SuppressionEnd, SuppressionInput,
};
pub use suspension::{ResumeOrganization, SuspendOrganization};
pub use upsert::{UpsertOrganizations, UpsertOutcome, UpsertResult, UpsertUsers};
pub use upsert_memberships::UpsertMemberships;
pub use users::{GetUser, ListUsers};
pub use watch::{EVENTS_MAX, Watch, WatchFrom, WatchedEvents};

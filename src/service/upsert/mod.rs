//! Upserts of organizations, users and memberships: many in one call, with a result for each.

mod audit;
mod memberships;
mod organizations;
mod result;
mod users;

pub use memberships::UpsertMemberships;
pub use organizations::UpsertOrganizations;
pub use result::{UpsertOutcome, UpsertResult};
pub use users::UpsertUsers;

//! Messages of the protocol from and to values of the domain.

pub(super) mod audit;
pub(super) mod batch;
pub(super) mod bulk_change;
pub(super) mod bulk_create;
pub(super) mod bulk_get;
pub(super) mod directory;
pub(super) mod enums;
mod error;
pub(super) mod event;
pub(super) mod fields;
pub(super) mod filter;
pub(super) mod list_token;
pub(super) mod mail;
mod metadata;
pub(super) mod page;
pub(super) mod suppression;
pub(super) mod target;
pub(super) mod times;
pub(super) mod viewed_invitations;
pub(super) mod viewer;

fn count(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

//! `UpsertUsers`.

use std::collections::HashSet;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, NO_ORGANIZATION};
use crate::domain::reason::Violation;
use crate::domain::user::User;
use crate::service::ServiceError;
use crate::service::runner::UseCase;
use crate::service::unit_of_work::UnitOfWork;
use crate::store::users;

use super::audit::{self, WrittenRow};
use super::result::{Items, UpsertResult};

/// Adds or replaces users with all their addresses.
pub struct UpsertUsers {
    pub inputs: Vec<Result<User, Vec<Violation>>>,
    pub actor: Actor,
}

impl UseCase for UpsertUsers {
    const NAME: &'static str = "upsert_users";
    type Output = Vec<UpsertResult>;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Vec<UpsertResult>, ServiceError> {
        let checked = self.inputs.iter().cloned();
        let checked = checked.map(|input| input.map(|user| (user.id.as_str().to_owned(), user)));
        let items = Items::new(checked, "id");
        let now = work.context.now();
        let added = users::upsert_many(work, &items.rows, now).await?;
        let added: HashSet<String> = added.into_iter().collect();
        let rows = items.written(&added).map(|(id, is_created)| WrittenRow {
            organization_id: NO_ORGANIZATION,
            user_id: Some(id),
            is_created,
        });
        let (actor, action) = (&self.actor, AuditAction::UpsertUsers);
        let failed_count = items.failed_count();
        audit::record(work, actor, action, rows, failed_count).await?;
        Ok(items.into_results(&added))
    }
}

//! Reading users.

use crate::domain::email_address::EmailAddress;
use crate::domain::ids::UserId;
use crate::domain::reason::Reason;
use crate::domain::user::UserRecord;
use crate::store::{planner, users};

use super::{ResultPage, ServiceError, UnitOfWork, UseCase};

pub struct GetUser {
    pub user_id: UserId,
}

/// Reads a page of the users, ordered by id.
pub struct ListUsers {
    /// Only users with this verified address.
    pub verified_email: Option<EmailAddress>,
    /// The last user of the page before; empty for the first page.
    pub after: String,
    pub page_size: usize,
}

impl UseCase for GetUser {
    const NAME: &'static str = "get_user";
    const IS_TRANSACTION: bool = false;
    type Output = UserRecord;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<UserRecord, ServiceError> {
        users::get(work, &self.user_id)
            .await?
            .ok_or(ServiceError::Refused(Reason::UserNotFound))
    }
}

impl UseCase for ListUsers {
    const NAME: &'static str = "list_users";
    type Output = ResultPage<UserRecord>;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Self::Output, ServiceError> {
        planner::force_custom_plans(work).await?;
        let email = self.verified_email.as_ref().map(EmailAddress::normalized);
        let limit = ResultPage::<UserRecord>::rows_max(self.page_size);
        let rows = users::list(work, email, &self.after, limit).await?;
        Ok(ResultPage::new(rows, self.page_size))
    }
}

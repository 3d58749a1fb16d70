//! One invitation, and the operations of a round on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use invitations::clock::MockClock;
use invitations::domain::expiry::Expiry;
use invitations::domain::ids::{OrganizationId, UserId};
use invitations::domain::invitation::StateName;
use invitations::domain::keyring::Keyring;
use invitations::domain::token::{Token, TokenSubject};
use invitations::domain::user::User;
use invitations::service::{
    Accept, Decline, InvitationTarget, PreviewInvitation, Resend, Revoke, Service, ServiceError,
};
use sqlx::PgPool;
use time::Duration;
use uuid::Uuid;

use super::tasks::RoundTask;
use crate::incidents::linearizability::{CompletedOperation, Operation, OperationResult};
use crate::support::{ACME, KEYS, test_actor};

/// One invitation, with its own clock.
pub(super) struct Round {
    pub(super) number: u64,
    pub(super) id: Uuid,
    pub(super) service: Service,
    pub(super) clock: Arc<MockClock>,
    pub(super) pool: PgPool,
    /// The logical time of the history.
    pub(super) next_time: AtomicU64,
}

impl Round {
    /// Returns a logical time, which is later than all times before.
    fn now(&self) -> u64 {
        self.next_time.fetch_add(1, Ordering::SeqCst)
    }

    pub(super) fn user_id(&self, user: u8) -> String {
        format!("r{}u{user}", self.number)
    }

    /// Returns the current token of the invitation, and its generation.
    pub(super) async fn token(&self) -> (Token, u32) {
        let row: (i32, Vec<u8>, String) = sqlx::query_as(
            "SELECT generation, nonce, email_normalized FROM invitations WHERE id = $1",
        )
        .bind(self.id)
        .fetch_one(&self.pool)
        .await
        .unwrap();
        let generation = u32::try_from(row.0).unwrap();
        let subject = TokenSubject {
            organization_id: ACME,
            invitation_id: self.id,
            generation,
            nonce: row.1.try_into().unwrap(),
            email_normalized: &row.2,
        };
        let keyring = Keyring::parse(KEYS).unwrap();
        (Token::derive(&keyring, 1, &subject).unwrap(), generation)
    }

    async fn accept(&self, user: u8, token: Token, generation: u32) -> Option<CompletedOperation> {
        let request = Accept {
            target: InvitationTarget::Token(token),
            user: User {
                id: UserId::parse(&self.user_id(user)).unwrap(),
                name: String::new(),
                emails_normalized: Vec::new(),
            },
            is_self: false,
            actor: test_actor(),
        };
        let began = self.now();
        let answer = self.service.run(request).await;
        let result = match answer {
            Ok(outcome) => {
                assert_eq!(outcome.membership.user_id, self.user_id(user));
                assert_eq!(outcome.invitation.id, self.id);
                if outcome.is_already_member {
                    OperationResult::AlreadyMember
                } else {
                    OperationResult::Done
                }
            }
            Err(error) => refusal(&error)?,
        };
        let operation = Operation::Accept { user, generation };
        Some(self.completed(operation, result, began))
    }

    fn completed(
        &self,
        operation: Operation,
        result: OperationResult,
        began: u64,
    ) -> CompletedOperation {
        CompletedOperation {
            operation,
            result,
            began,
            ended: self.now(),
            after: None,
        }
    }

    async fn resend(&self, rotates: bool) -> Option<CompletedOperation> {
        let request = Resend {
            organization_id: OrganizationId::parse(ACME).unwrap(),
            id: self.id,
            rotate_token: rotates,
            expiry: Expiry::Default,
            request_hash: [0; 32],
            actor: test_actor(),
        };
        let began = self.now();
        let answer = self.service.run(request).await;
        let result = result_of(answer)?;
        Some(self.completed(Operation::Resend { rotates }, result, began))
    }

    async fn decline(&self, token: Token) -> Option<CompletedOperation> {
        let began = self.now();
        let request = Decline {
            target: InvitationTarget::Token(token),
            suppress: false,
            user_id: None,
            emails_normalized: Vec::new(),
            is_self: false,
            actor: test_actor(),
        };
        let answer = self.service.run(request).await;
        let result = result_of(answer)?;
        Some(self.completed(Operation::Decline { generation: 1 }, result, began))
    }

    async fn revoke(&self) -> Option<CompletedOperation> {
        let request = Revoke {
            organization_id: OrganizationId::parse(ACME).unwrap(),
            id: self.id,
            actor: test_actor(),
        };
        let began = self.now();
        let answer = self.service.run(request).await;
        let result = result_of(answer)?;
        Some(self.completed(Operation::Revoke, result, began))
    }

    /// A preview is two operations, because it reads the database twice.
    async fn preview(&self, token: Token, generation: u32) -> Vec<CompletedOperation> {
        let began = self.now();
        let request = PreviewInvitation {
            token,
            actor: test_actor(),
        };
        let answer = self.service.run(request).await;
        let verified =
            |result| self.completed(Operation::VerifyToken { generation }, result, began);
        match answer {
            Ok(preview) => {
                let state = match preview.invitation.state.name() {
                    StateName::Pending => OperationResult::Pending,
                    StateName::Accepted => OperationResult::AlreadyAccepted,
                    StateName::Declined => OperationResult::Declined,
                    StateName::Revoked => OperationResult::Revoked,
                    StateName::Expired => OperationResult::Expired,
                };
                let verified = verified(OperationResult::Done);
                vec![verified, self.completed(Operation::ReadState, state, began)]
            }
            Err(error) => refusal(&error).map(verified).into_iter().collect(),
        }
    }

    /// Moves the clock past the expiry. Returns the logical times before and after.
    fn expire(&self) -> (u64, u64) {
        let began = self.now();
        self.clock.advance(Duration::days(31));
        (began, self.now())
    }

    /// Runs a task. Returns its operations, and the times between which it moved the clock.
    pub(super) async fn run(
        &self,
        task: RoundTask,
        token: Token,
    ) -> (Vec<CompletedOperation>, Option<(u64, u64)>) {
        let operations = match task {
            RoundTask::Accept(user) => self.accept(user, token, 1).await.into_iter().collect(),
            RoundTask::Resend => self.resend(false).await.into_iter().collect(),
            RoundTask::Preview => self.preview(token, 1).await,
            RoundTask::Decline => self.decline(token).await.into_iter().collect(),
            RoundTask::Revoke => self.revoke().await.into_iter().collect(),
            RoundTask::Rotate(user) => {
                let resent = self.resend(true).await;
                let (newest, generation) = self.token().await;
                let accepted = self.accept(user, newest, generation).await;
                resent.into_iter().chain(accepted).collect()
            }
            RoundTask::Expire => return (Vec::new(), Some(self.expire())),
        };
        (operations, None)
    }
}

/// Translates an error for the model. Returns `None` for a conflict, because the operation has done nothing.
fn refusal(error: &ServiceError) -> Option<OperationResult> {
    match error.reason().code() {
        "TOKEN_INVALID" => Some(OperationResult::TokenInvalid),
        "INVITATION_EXPIRED" => Some(OperationResult::Expired),
        "ALREADY_ACCEPTED" => Some(OperationResult::AlreadyAccepted),
        "INVITATION_DECLINED" => Some(OperationResult::Declined),
        "INVITATION_REVOKED" => Some(OperationResult::Revoked),
        "CONFLICT" => None,
        other => panic!("unexpected reason {other}"),
    }
}

fn result_of<T>(answer: Result<T, ServiceError>) -> Option<OperationResult> {
    match answer {
        Ok(_) => Some(OperationResult::Done),
        Err(error) => refusal(&error),
    }
}

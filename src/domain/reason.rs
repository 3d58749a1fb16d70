//! Reasons: why a call or an item is refused, with the kind and the sentence of each reason.
//!
//! The protocol's `ErrorReason` has the same names. `grpc` converts a reason to it, and a kind to a status code.

/// The error domain of every reason (AIP-193).
pub const DOMAIN: &str = "invitation.v1";

/// The kind of a reason, which determines the status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    Invalid,
    Unauthenticated,
    Denied,
    NotFound,
    Exists,
    /// The state of something does not allow the call.
    Precondition,
    /// A quota or a rate is exceeded. The same call may succeed later.
    Exhausted,
    /// Concurrent calls changed the same rows. The same call may succeed at once.
    Aborted,
    /// The service cannot process the call now. The same call may succeed soon.
    Unavailable,
    Deadline,
    Internal,
}

/// A rule that a field of a request violates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field, such as `email` or `invitations[3].role`.
    pub field: String,
    pub reason: Reason,
}

impl Violation {
    pub fn new(field: impl Into<String>, reason: Reason) -> Self {
        Self {
            field: field.into(),
            reason,
        }
    }
}

/// Collects the violations of a message, so that all of them are reported together.
#[derive(Debug, Default)]
pub(super) struct Violations(Vec<Violation>);

impl Violations {
    pub(super) fn add(&mut self, field: &str, reason: Reason) {
        self.0.push(Violation::new(field, reason));
    }

    /// As [`Self::check`], for a field that may be empty.
    pub(super) fn check_optional<T>(
        &mut self,
        field: &str,
        input: &str,
        parse: impl FnOnce(&str) -> Result<T, Reason>,
    ) -> Option<T> {
        let value = (!input.is_empty()).then(|| parse(input))?;
        self.check(field, value)
    }

    /// As [`Self::check`], for a required identifier.
    pub(super) fn check_id<T>(
        &mut self,
        field: &str,
        input: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let reason = match input {
            "" => Reason::FieldRequired,
            _ => Reason::FieldInvalid,
        };
        self.check(field, parse(input).ok_or(reason))
    }

    pub(super) fn extend(&mut self, violations: Vec<Violation>) {
        self.0.extend(violations);
    }

    /// Returns the checked value of a field. Records a violation and returns `None` if the check failed.
    pub(super) fn check<T>(&mut self, field: &str, result: Result<T, Reason>) -> Option<T> {
        result.map_err(|reason| self.add(field, reason)).ok()
    }

    /// Returns the message if all of its fields are valid. `None` has at least one violation.
    pub(super) fn into_result<T>(self, message: Option<T>) -> Result<T, Vec<Violation>> {
        message.filter(|_| self.0.is_empty()).ok_or(self.0)
    }
}

macro_rules! reasons {
    ($($variant:ident $code:literal $kind:ident $sentence:literal;)*) => {
        /// Why something is refused. The protocol's `ErrorReason` documents each reason and what to do about it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason { $($variant,)* }

        impl Reason {
            pub const ALL: [Self; [$($code),*].len()] = [$(Self::$variant,)*];

            /// The name in the protocol, such as `EMAIL_INVALID`.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            pub const fn kind(self) -> ErrorKind {
                match self { $(Self::$variant => ErrorKind::$kind,)* }
            }

            /// A fixed sentence for a developer. It repeats nothing of the input, so that it may be logged.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }
        }
    };
}

// One table instead of four matches that must agree.
reasons! {
    EmailInvalid "EMAIL_INVALID" Invalid "the email address is malformed or of an unsupported form";
    EmailUnsupported "EMAIL_UNSUPPORTED" Invalid "the local part of the email address contains characters outside ASCII, which are not supported";
    DuplicateInRequest "DUPLICATE_IN_REQUEST" Exists "an earlier item of this request is the same";
    AlreadyInvited "ALREADY_INVITED" Exists "a pending invitation exists for the address";
    AlreadyMember "ALREADY_MEMBER" Exists "the address belongs to a member";
    RoleUnknown "ROLE_UNKNOWN" Invalid "the role is not one of the organization's roles";
    RoleNotGrantable "ROLE_NOT_GRANTABLE" Denied "the inviter may not grant this role, or no invitation may grant it";
    InviterNotFound "INVITER_NOT_FOUND" NotFound "the inviter is not a known user";
    InviterCannotInvite "INVITER_CANNOT_INVITE" Precondition "the inviter is not a member of the organization with a role that can invite";
    RedirectUrlInvalid "REDIRECT_URL_INVALID" Invalid "the redirect URL is malformed, or its origin is not on the organization's list";
    ExpiryOutOfRange "EXPIRY_OUT_OF_RANGE" Invalid "the invitation must expire between 1 hour and 365 days from now";
    MetadataTooLarge "METADATA_TOO_LARGE" Invalid "the metadata is larger than 8 KiB as JSON or nested deeper than 16 levels";
    LocaleInvalid "LOCALE_INVALID" Invalid "the locale is not a valid BCP 47 language tag";
    MessageInvalid "MESSAGE_INVALID" Invalid "the message is longer than 500 characters, or contains control characters or a link";
    DomainNotAllowed "DOMAIN_NOT_ALLOWED" Precondition "the organization does not allow invitations to this mail domain";
    NameInvalid "NAME_INVALID" Invalid "the name is empty, or contains control characters or angle brackets";
    NameTooLong "NAME_TOO_LONG" Invalid "the name is longer than 100 characters";
    NameContainsLink "NAME_CONTAINS_LINK" Invalid "the name contains a link, a host name or a telephone number";
    EmailSuppressed "EMAIL_SUPPRESSED" Precondition "the address is suppressed, because it bounced or its reader wants no more invitations";
    QuotaExceeded "QUOTA_EXCEEDED" Exhausted "a quota is used up";
    ItemsEmpty "ITEMS_EMPTY" Invalid "the list contains no items";
    TooManyItems "TOO_MANY_ITEMS" Invalid "the list contains more than 10,000 items, or items with too many values";
    FieldRequired "FIELD_REQUIRED" Invalid "the field is required";
    FieldInvalid "FIELD_INVALID" Invalid "the field is malformed";
    RequestIdInvalid "REQUEST_ID_INVALID" Invalid "the request id is not a UUID";
    RequestIdReused "REQUEST_ID_REUSED" Precondition "the request id was already used for a different request";
    UpdateMaskInvalid "UPDATE_MASK_INVALID" Invalid "the update mask names a field that does not exist or cannot be written";
    RequestMalformed "REQUEST_MALFORMED" Invalid "the bytes are not a valid request message of this method";
    PageTokenInvalid "PAGE_TOKEN_INVALID" Invalid "the page token was changed or belongs to another list";
    BatchNotFound "BATCH_NOT_FOUND" NotFound "the organization has no such batch";
    CursorInvalid "CURSOR_INVALID" Invalid "the cursor was changed or belongs to another stream of events";
    CursorExpired "CURSOR_EXPIRED" Precondition "events that follow the cursor were already deleted, or the database was replaced by another copy";
    StreamMalformed "STREAM_MALFORMED" Invalid "the first message of a stream must be its header, and every other message must contain items";
    ItemsFailed "ITEMS_FAILED" Precondition "items failed and the call is atomic, so nothing was done";
    OrganizationNotFound "ORGANIZATION_NOT_FOUND" NotFound "the organization is not known";
    OrganizationDeleted "ORGANIZATION_DELETED" Precondition "the organization was deleted";
    OrganizationSuspended "ORGANIZATION_SUSPENDED" Precondition "the organization was suspended by the operator";
    UserNotFound "USER_NOT_FOUND" NotFound "the user is not known";
    MembershipNotFound "MEMBERSHIP_NOT_FOUND" NotFound "the membership is not known";
    InvitationNotFound "INVITATION_NOT_FOUND" NotFound "the organization has no such invitation";
    TokenMalformed "TOKEN_MALFORMED" Invalid "the token does not have the format of an invitation token";
    TokenInvalid "TOKEN_INVALID" NotFound "the token belongs to no invitation";
    InvitationExpired "INVITATION_EXPIRED" Precondition "the invitation has expired";
    InvitationRevoked "INVITATION_REVOKED" Precondition "the invitation was revoked";
    InvitationDeclined "INVITATION_DECLINED" Precondition "the invitation was declined";
    AlreadyAccepted "ALREADY_ACCEPTED" Precondition "the invitation was already accepted";
    EmailMismatch "EMAIL_MISMATCH" Denied "none of the user's verified addresses is the invited address";
    EmailUnverified "EMAIL_UNVERIFIED" Denied "the caller's token contains no verified address";
    AddressErased "ADDRESS_ERASED" Precondition "the address of the invitation was erased";
    RoleWithdrawn "ROLE_WITHDRAWN" Precondition "the role of the invitation is no longer one of the organization's roles";
    MessageNotFailed "MESSAGE_NOT_FAILED" Precondition "the latest email of the invitation did not fail permanently";
    CredentialsInvalid "CREDENTIALS_INVALID" Unauthenticated "the call has no valid credentials";
    ScopeMissing "SCOPE_MISSING" Denied "the caller does not have the required scope";
    OrganizationDenied "ORGANIZATION_DENIED" Denied "the caller may not act for this organization";
    MethodDenied "METHOD_DENIED" Denied "this kind of caller may not call this method";
    UserDenied "USER_DENIED" Denied "a user may act only for themselves and may not set this field";
    RateLimited "RATE_LIMITED" Exhausted "the caller exceeded its rate limit";
    Conflict "CONFLICT" Aborted "concurrent calls changed the same rows; send the same call again";
    Overloaded "OVERLOADED" Unavailable "the service cannot process the call now; send the same call again";
    DeadlineExceeded "DEADLINE_EXCEEDED" Deadline "the deadline of the call was exceeded";
    Internal "INTERNAL" Internal "internal error; the log of the service has the details";
}

impl Reason {
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }
}

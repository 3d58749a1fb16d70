//! Why something is refused: every reason the service can give, its kind and its sentence.
//!
//! The protocol's enum has the same names; `grpc` maps one to the other and each kind to a status code.

/// The domain that every reason is of (AIP-193).
pub const DOMAIN: &str = "invitation.v1";

/// What sort of refusal a reason is; decides the status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// A malformed field: correct the call.
    Invalid,
    /// Nobody knows who calls.
    Unauthenticated,
    /// The caller may not.
    Denied,
    /// It is not there.
    NotFound,
    /// It is there already.
    Exists,
    /// It is not in the state for this.
    Precondition,
    /// A quota or a rate is used up: the same call works once it is not.
    Exhausted,
    /// Others were quicker: the same call may work in a moment.
    Aborted,
    /// The service cannot do it now: the same call may work in a moment.
    Unavailable,
    /// The time ran out.
    Deadline,
    /// A fault of the service.
    Internal,
}

/// A rule somebody broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field, such as `email` or `invitations[3].role`.
    pub field: String,
    /// The rule.
    pub reason: Reason,
}

impl Violation {
    /// A violation of one field.
    pub fn new(field: impl Into<String>, reason: Reason) -> Self {
        Self {
            field: field.into(),
            reason,
        }
    }
}

macro_rules! reasons {
    ($($variant:ident $code:literal $kind:ident $sentence:literal;)*) => {
        /// A reason. The protocol's `ErrorReason` documents each, and what to do about it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason { $(#[doc = $sentence] $variant,)* }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name on the wire, such as `EMAIL_INVALID`.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// What sort of refusal it is.
            #[must_use]
            pub const fn kind(self) -> ErrorKind {
                match self { $(Self::$variant => ErrorKind::$kind,)* }
            }

            /// A fixed sentence for a developer; repeats nothing of the input.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }
        }
    };
}

// A table reads better than four matches that must agree.
reasons! {
    EmailInvalid "EMAIL_INVALID" Invalid "the address is not one this service mails to";
    EmailUnsupported "EMAIL_UNSUPPORTED" Invalid "the local part of the address holds characters outside ASCII";
    DuplicateInRequest "DUPLICATE_IN_REQUEST" Exists "the same item stands earlier in this request";
    AlreadyInvited "ALREADY_INVITED" Exists "a pending invitation exists for the address";
    AlreadyMember "ALREADY_MEMBER" Exists "the address belongs to a member";
    RoleUnknown "ROLE_UNKNOWN" Invalid "the role is not one of the organization's roles";
    RoleNotGrantable "ROLE_NOT_GRANTABLE" Denied "the inviter may not grant this role";
    InviterNotFound "INVITER_NOT_FOUND" NotFound "the inviter is not known";
    InviterNotAdmin "INVITER_NOT_ADMIN" Precondition "the inviter is not an admin member of the organization";
    RedirectUrlInvalid "REDIRECT_URL_INVALID" Invalid "the redirect URL is malformed or its origin is not on the organization's list";
    ExpiryOutOfRange "EXPIRY_OUT_OF_RANGE" Invalid "the invitation must expire between 1 hour and 365 days from now";
    MetadataTooLarge "METADATA_TOO_LARGE" Invalid "the metadata is over 8 KiB as JSON or nested deeper than 16";
    LocaleInvalid "LOCALE_INVALID" Invalid "the locale is not a BCP 47 language tag";
    MessageInvalid "MESSAGE_INVALID" Invalid "the message is over 500 characters, or holds control characters or a link";
    DomainNotAllowed "DOMAIN_NOT_ALLOWED" Precondition "the organization does not invite people of this mail domain";
    NameInvalid "NAME_INVALID" Invalid "the name is empty, or holds control characters or angle brackets";
    NameTooLong "NAME_TOO_LONG" Invalid "the name is over 100 characters";
    NameContainsLink "NAME_CONTAINS_LINK" Invalid "the name holds a link, a host name or a telephone number";
    EmailSuppressed "EMAIL_SUPPRESSED" Precondition "the address bounced, or asked for no more invitations";
    QuotaExceeded "QUOTA_EXCEEDED" Exhausted "a quota is used up";
    ItemsEmpty "ITEMS_EMPTY" Invalid "the list holds no item";
    TooManyItems "TOO_MANY_ITEMS" Invalid "the list holds over 10,000 items";
    FieldRequired "FIELD_REQUIRED" Invalid "the field is required";
    FieldInvalid "FIELD_INVALID" Invalid "the field is malformed";
    RequestIdInvalid "REQUEST_ID_INVALID" Invalid "the request id is not a UUID";
    RequestIdReused "REQUEST_ID_REUSED" Precondition "the request id was used for a different request";
    RequestMalformed "REQUEST_MALFORMED" Invalid "the bytes are not the request message of this method";
    PageTokenInvalid "PAGE_TOKEN_INVALID" Invalid "the page token was changed or belongs to another list";
    BatchNotFound "BATCH_NOT_FOUND" NotFound "the organization has no such batch";
    CursorInvalid "CURSOR_INVALID" Invalid "the cursor was changed or belongs to another stream of events";
    CursorExpired "CURSOR_EXPIRED" Precondition "events that followed the cursor are kept no more";
    StreamMalformed "STREAM_MALFORMED" Invalid "a stream begins with its header, and every other message holds items";
    ItemsFailed "ITEMS_FAILED" Precondition "items failed and the call is atomic, so nothing was done";
    OrganizationNotFound "ORGANIZATION_NOT_FOUND" NotFound "the organization is not known";
    OrganizationInactive "ORGANIZATION_INACTIVE" Precondition "the organization was deleted";
    OrganizationSuspended "ORGANIZATION_SUSPENDED" Precondition "the organization was suspended by the operator";
    UserNotFound "USER_NOT_FOUND" NotFound "the user is not known";
    MembershipNotFound "MEMBERSHIP_NOT_FOUND" NotFound "the membership is not known";
    InvitationNotFound "INVITATION_NOT_FOUND" NotFound "the organization has no such invitation";
    TokenMalformed "TOKEN_MALFORMED" Invalid "the token does not have the shape of a token";
    TokenInvalid "TOKEN_INVALID" NotFound "the token names no invitation";
    Expired "EXPIRED" Precondition "the invitation has expired";
    Revoked "REVOKED" Precondition "the invitation was revoked";
    Declined "DECLINED" Precondition "the invitation was declined";
    AlreadyAccepted "ALREADY_ACCEPTED" Precondition "the invitation was accepted already";
    EmailMismatch "EMAIL_MISMATCH" Denied "none of the user's verified addresses is the invited one";
    EmailUnverified "EMAIL_UNVERIFIED" Denied "the caller's token names no verified address";
    AddressErased "ADDRESS_ERASED" Precondition "the address of the invitation was erased";
    RoleWithdrawn "ROLE_WITHDRAWN" Precondition "the invitation's role is not one of the organization's roles any more";
    MailNotFailed "MAIL_NOT_FAILED" Precondition "the latest mail of the invitation was not given up";
    CredentialsInvalid "CREDENTIALS_INVALID" Unauthenticated "the call carries no valid credentials";
    ScopeMissing "SCOPE_MISSING" Denied "the caller lacks a scope";
    OrganizationDenied "ORGANIZATION_DENIED" Denied "the caller may not act for this organization";
    MethodDenied "METHOD_DENIED" Denied "this kind of caller may not call this method";
    UserDenied "USER_DENIED" Denied "a user acts only for themselves, and may not say this";
    RateLimited "RATE_LIMITED" Exhausted "the caller asks for more in a time than it may";
    Conflict "CONFLICT" Aborted "other calls changed the same rows; send the same call again";
    Overloaded "OVERLOADED" Unavailable "the service cannot do this now; send the same call again";
    DeadlineExceeded "DEADLINE_EXCEEDED" Deadline "the call's time ran out";
    Internal "INTERNAL" Internal "an internal fault; the operator finds it in the log";
}

impl Reason {
    /// The reason with this name on the wire.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.code() == code)
    }
}

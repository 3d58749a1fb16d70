"""A client of the service: the connection, the caller's token, retries and readable errors. invite.py uses it."""

import json
import os
import pathlib
import sys
import urllib.parse

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

sys.path.insert(0, str(pathlib.Path(__file__).parent / "gen"))
try:
    from invitation.v1 import directory_pb2, error_pb2, invitation_pb2  # noqa: F401
    from invitation.v1 import directory_pb2_grpc, invitation_pb2_grpc
except ModuleNotFoundError as missing:
    if not (missing.name or "").startswith("invitation"):
        raise
    sys.exit("client: the generated code is missing; run ./generate.sh first")

CALL_SECONDS = 30  # the server's own limit for a bulk call
MESSAGE_BYTES_MAX = 32 * 1024 * 1024  # 10,000 results with long links; for all other responses, gRPC's 4 MiB suffice
# UNAVAILABLE and ABORTED mean that nothing was done, except if the database failed during a commit. A retry is safe then
# too, if BulkCreate, Resend and BulkResend have a request_id. The server says how long to wait.
RETRY = {
    "methodConfig": [
        {
            "name": [{"service": "invitation.v1.InvitationService"}, {"service": "invitation.v1.DirectoryService"}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.5s",
                "maxBackoff": "5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "ABORTED"],
            },
        }
    ]
}
ADVICE = {
    "CREDENTIALS_INVALID": "use the token of a caller in the server's callers file",
    "SCOPE_MISSING": "ask the operator to give the caller this scope",
    "ORGANIZATION_DENIED": "ask the operator to allow this organization for the caller",
    "ORGANIZATION_NOT_FOUND": "create the organization first with DirectoryService.UpsertOrganizations",
    "REQUEST_ID_REUSED": "use a new request_id for each new request",
    "ITEMS_FAILED": "correct the items named below, or call without atomic",
    "EMAIL_MISMATCH": "sign in with the invited address",
    "INVITATION_EXPIRED": "ask the organization to send the invitation again",
    "ALREADY_ACCEPTED": "nothing remains to be done",
    "CONFLICT": "repeat the call",
    "OVERLOADED": "repeat the call in a moment",
    "DEADLINE_EXCEEDED": "repeat the call with the same request_id; it may have succeeded",
}


class Client:
    """The two services, with the token of one caller."""

    def __init__(self, server: str, token: str):
        url = urllib.parse.urlsplit(server if "://" in server else f"http://{server}")
        options = [
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ("grpc.service_config", json.dumps(RETRY)),
        ]
        if url.scheme == "https":
            self.channel = grpc.secure_channel(url.netloc, grpc.ssl_channel_credentials(), options)
        else:
            self.channel = grpc.insecure_channel(url.netloc, options)
        self.invitations = invitation_pb2_grpc.InvitationServiceStub(self.channel)
        self.directory = directory_pb2_grpc.DirectoryServiceStub(self.channel)
        self._metadata = (("authorization", f"Bearer {token}"),)

    @classmethod
    def from_environment(cls) -> "Client":
        """Reads INVITATIONS_SERVER, and INVITATIONS_TOKEN_FILE or INVITATIONS_TOKEN."""
        token = os.environ.get("INVITATIONS_TOKEN", "")
        if file := os.environ.get("INVITATIONS_TOKEN_FILE"):
            token = pathlib.Path(file).read_text(encoding="utf-8")
        if not token.strip():
            sys.exit("client: set INVITATIONS_TOKEN_FILE or INVITATIONS_TOKEN")
        return cls(os.environ.get("INVITATIONS_SERVER", "127.0.0.1:50051"), token.strip())

    def call(self, method, request):
        """Calls a method of one of the stubs with the caller's token and a deadline."""
        return method(request, metadata=self._metadata, timeout=CALL_SECONDS)


def explain(error: grpc.RpcError) -> str:
    """Returns the error with its reason, the fields that caused it, and advice."""
    lines = [f"{error.code().name}: {error.details()}"]
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        info, fields = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            facts = "".join(f" {name}={value}" for name, value in sorted(info.metadata.items()))
            lines.append(f"  reason  {info.reason}{facts}")
            lines.append(f"  advice  {ADVICE.get(info.reason, 'see ErrorReason in proto/invitation/v1/error.proto')}")
        elif detail.Unpack(fields):
            for violation in fields.field_violations:
                lines.append(f"  field   {violation.field}: {violation.reason}, {violation.description}")
        elif detail.Unpack(retry):
            lines.append(f"  retry   after {retry.retry_delay.ToMilliseconds()} ms")
    return "\n".join(lines)


def reason_name(reason: int) -> str:
    """Returns the reason without the prefix of the enum, like ErrorInfo."""
    return error_pb2.ErrorReason.Name(reason).removeprefix("ERROR_REASON_")

#!/usr/bin/env python3
"""Calls the invitation service in ten ways. run.sh generates the code, sets the environment and starts this program."""

import os
import sys
import uuid

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from invitation.v1 import directory_pb2, error_pb2, invitation_pb2
from invitation.v1 import directory_pb2_grpc, invitation_pb2_grpc

PAGE_SIZE = 1000
CALL_SECONDS = 30
METADATA = (("authorization", f"Bearer {os.environ['INVITATIONS_TOKEN']}"),)

# Each run uses an organization and users of its own.
RUN = uuid.uuid4().hex[:12]
ORGANIZATION, INVITER, INVITED = f"example-{RUN}", f"inviter-{RUN}", f"invited-{RUN}"
INVITED_EMAIL = f"invited.{RUN}@example.com"


def name(enum, value: int, prefix: str) -> str:
    """Returns the name of an enum value without its prefix."""
    return enum.Name(value).removeprefix(prefix)


def write_directory(directory: directory_pb2_grpc.DirectoryServiceStub) -> None:
    organization = directory_pb2.Organization(
        id=ORGANIZATION,
        name="Example in Python",
        roles=[
            directory_pb2.Role(id="admin", display_name="Administrator", can_invite=True),
            directory_pb2.Role(id="member", display_name="Member", localized_display_names={"de": "Mitglied"}),
        ],
        default_role="member",
    )
    request = directory_pb2.UpsertOrganizationsRequest(organizations=[organization])
    response = directory.UpsertOrganizations(request, timeout=CALL_SECONDS, metadata=METADATA)
    print_upsert(" 1 UpsertOrganizations", response.results[0])

    user = directory_pb2.User(id=INVITER, name="Ada King", verified_emails=[f"ada.{RUN}@example.com"])
    request = directory_pb2.UpsertUsersRequest(users=[user])
    response = directory.UpsertUsers(request, timeout=CALL_SECONDS, metadata=METADATA)
    print_upsert(" 2 UpsertUsers", response.results[0])

    membership = directory_pb2.Membership(organization_id=ORGANIZATION, user_id=INVITER, role="admin")
    request = directory_pb2.UpsertMembershipsRequest(memberships=[membership])
    response = directory.UpsertMemberships(request, timeout=CALL_SECONDS, metadata=METADATA)
    print_upsert(" 3 UpsertMemberships", response.results[0])


def print_upsert(call: str, result: directory_pb2.UpsertResult) -> None:
    print(f"{call}: {name(directory_pb2.UpsertOutcome, result.outcome, 'UPSERT_OUTCOME_')}")


def invite(invitations: invitation_pb2_grpc.InvitationServiceStub) -> str:
    """Invites four people, three of them with mistakes, and returns the link of the first invitation."""
    request = invitation_pb2.BulkCreateRequest(
        # Makes the call safe to repeat: a repeated call returns the first response and sends no second email.
        request_id=str(uuid.uuid4()),
        organization_id=ORGANIZATION,
        inviter_user_id=INVITER,
        invitations=[
            invitation_pb2.NewInvitation(email=INVITED_EMAIL),
            invitation_pb2.NewInvitation(email="not an address"),
            invitation_pb2.NewInvitation(email=INVITED_EMAIL),
            invitation_pb2.NewInvitation(email=f"other.{RUN}@example.com", role="astronaut"),
        ],
        return_link=True,
    )
    first = invitations.BulkCreate(request, timeout=CALL_SECONDS, metadata=METADATA)
    print(f" 4 BulkCreate: succeeded {first.succeeded_count}, failed {first.failed_count}")
    for result in first.results:
        if result.outcome == invitation_pb2.CREATE_OUTCOME_FAILED:
            print(f"   item {result.index}: {name(error_pb2.ErrorReason, result.error.reason, 'ERROR_REASON_')}")

    again = invitations.BulkCreate(request, timeout=CALL_SECONDS, metadata=METADATA)
    print(f" 5 BulkCreate again: {'the same batch' if again.batch_id == first.batch_id else 'another batch'}")
    return first.results[0].link


def invite_in_stream(invitations: invitation_pb2_grpc.InvitationServiceStub) -> str:
    """Invites 2,500 people in one stream and returns their batch."""

    def requests():
        header = invitation_pb2.BulkCreateStreamHeader(
            request_id=str(uuid.uuid4()), organization_id=ORGANIZATION, inviter_user_id=INVITER
        )
        yield invitation_pb2.BulkCreateStreamRequest(header=header)
        for start in range(0, 2500, 500):
            items = [
                invitation_pb2.NewInvitation(email=f"row.{i}.{RUN}@example.com", key=f"row-{i}", notify=False)
                for i in range(start, start + 500)
            ]
            yield invitation_pb2.BulkCreateStreamRequest(invitations=items)

    batch_id, last_key, count, failed = "", "", 0, 0
    # grpcio sends from the iterator in a thread of its own, so results are read while items are sent.
    for response in invitations.BulkCreateStream(requests(), timeout=60, metadata=METADATA):
        batch_id = response.batch_id
        for result in response.results:
            count += 1
            last_key = result.key
            failed += result.outcome == invitation_pb2.CREATE_OUTCOME_FAILED
    print(f" 6 BulkCreateStream: {count} results, failed {failed}, last key {last_key}")
    return batch_id


def list_pending(invitations: invitation_pb2_grpc.InvitationServiceStub) -> None:
    request = invitation_pb2.ListRequest(
        organization_id=ORGANIZATION,
        page_size=PAGE_SIZE,
        filter=invitation_pb2.InvitationFilter(states=[invitation_pb2.INVITATION_STATE_PENDING]),
    )
    count, pages = 0, 0
    while True:
        response = invitations.List(request, timeout=CALL_SECONDS, metadata=METADATA)
        count += len(response.invitations)
        pages += 1
        request.page_token = response.next_page_token
        if not request.page_token:
            break
    print(f" 7 List: {count} invitations in {pages} pages")


def watch_one_event(invitations: invitation_pb2_grpc.InvitationServiceStub) -> None:
    """Prints the first event of the organization and cancels the stream, which does not end by itself."""
    stream = invitations.Watch(invitation_pb2.WatchRequest(organization_id=ORGANIZATION), metadata=METADATA)
    for response in stream:
        # A response without events holds only a cursor.
        if response.events:
            event_type = response.events[0].type
            print(f" 8 Watch: {name(invitation_pb2.InvitationEventType, event_type, 'INVITATION_EVENT_TYPE_')}")
            break
    stream.cancel()


def accept(invitations: invitation_pb2_grpc.InvitationServiceStub, link: str) -> None:
    token = link.partition("token=")[2]
    request = invitation_pb2.PreviewRequest(token=token)
    preview = invitations.Preview(request, timeout=CALL_SECONDS, metadata=METADATA)

    request = invitation_pb2.AcceptRequest(token=token, user_id=INVITED, verified_emails=[INVITED_EMAIL])
    accepted = invitations.Accept(request, timeout=CALL_SECONDS, metadata=METADATA)
    before = name(invitation_pb2.InvitationState, preview.state, "INVITATION_STATE_")
    after = name(invitation_pb2.InvitationState, accepted.invitation.state, "INVITATION_STATE_")
    print(f" 9 Preview and Accept: {before} for {preview.role}, then {after} with the role {accepted.membership.role}")


def revoke_batch(invitations: invitation_pb2_grpc.InvitationServiceStub, batch_id: str) -> None:
    request = invitation_pb2.BulkRevokeRequest(
        organization_id=ORGANIZATION,
        filter=invitation_pb2.InvitationFilter(batch_id=batch_id),
        acting_user_id=INVITER,
        page_size=PAGE_SIZE,
    )
    count, pages = 0, 0
    while True:
        response = invitations.BulkRevoke(request, timeout=CALL_SECONDS, metadata=METADATA)
        count += response.revoked_count
        pages += 1
        request.page_token = response.next_page_token
        if not request.page_token:
            break
    print(f"10 BulkRevoke: {count} invitations in {pages} pages")


def explain(error: grpc.RpcError) -> str:
    """Returns the code and the message of a refused call, with its reason."""
    text = f"{error.code().name}: {error.details()}"
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            text += f" ({info.reason})"
    return text


def main() -> None:
    with grpc.insecure_channel(os.environ["INVITATIONS_SERVER"]) as channel:
        invitations = invitation_pb2_grpc.InvitationServiceStub(channel)
        write_directory(directory_pb2_grpc.DirectoryServiceStub(channel))
        link = invite(invitations)
        batch_id = invite_in_stream(invitations)
        list_pending(invitations)
        watch_one_event(invitations)
        accept(invitations, link)
        revoke_batch(invitations, batch_id)


if __name__ == "__main__":
    try:
        main()
    except grpc.RpcError as error:
        sys.exit(f"ten_calls: {explain(error)}")

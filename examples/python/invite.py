#!/usr/bin/env python3
"""Invites people with BulkCreate, with the requests and responses of two other kinds of invitation APIs.

simple  addresses and roles; the output lists the invited people and the failures
full    for each person a role, an inviter, a redirect URL, metadata and an expiry; if one item fails, nobody is invited
"""

import argparse
import json
import sys
import urllib.parse
import uuid

import grpc
from google.protobuf import duration_pb2, json_format, struct_pb2

from client import Client, explain, invitation_pb2, reason_name

EXIT_REFUSED = 1
EXIT_PARTLY = 3


def invite_simply(client: Client, organization_id: str, inviter_user_id: str, people: list[dict]) -> dict:
    """Invites people given by `email` and `role`. A bad address does not affect the other people."""
    request = invitation_pb2.BulkCreateRequest(
        # Makes retries safe: a retry returns the first response and sends no second email.
        request_id=str(uuid.uuid4()),
        organization_id=organization_id,
        inviter_user_id=inviter_user_id,
        invitations=[
            invitation_pb2.NewInvitation(email=person["email"], role=person.get("role", "")) for person in people
        ],
        view=invitation_pb2.INVITATION_VIEW_FULL,
    )
    response = client.call(client.invitations.BulkCreate, request)
    successful, failed = [], []
    for result in response.results:
        invitation = project_invitation(result.invitation) if result.HasField("invitation") else None
        if result.outcome == invitation_pb2.CREATE_OUTCOME_FAILED:
            error = f"{reason_name(result.error.reason)}: {result.error.message}"
            failed.append({"email": result.email, "success": False, "error": error, "invitation": invitation})
        else:
            successful.append(invitation)
    return {"successful": successful, "failed": failed}


def invite_fully(client: Client, organization_id: str, people: list[dict]) -> list[dict]:
    """Invites people with all fields of an invitation, and returns their links. If one item fails, nobody is invited."""
    request = invitation_pb2.BulkCreateRequest(
        request_id=str(uuid.uuid4()),
        organization_id=organization_id,
        invitations=[new_invitation(person) for person in people],
        atomic=True,
        return_link=True,
        view=invitation_pb2.INVITATION_VIEW_FULL,
    )
    response = client.call(client.invitations.BulkCreate, request)
    return [organization_invitation(result) for result in response.results]


def accept(client: Client, link: str, user_id: str, email: str) -> dict:
    """Accepts an invitation for a user whose address is verified, and returns the membership."""
    request = invitation_pb2.AcceptRequest(token=token_of(link), user_id=user_id, verified_emails=[email])
    response = client.call(client.invitations.Accept, request)
    membership = json_format.MessageToDict(response.membership, preserving_proto_field_name=True)
    for name in ("public_metadata", "private_metadata"):
        membership[name] = metadata(getattr(response.membership, name))
    return membership


def new_invitation(person: dict) -> invitation_pb2.NewInvitation:
    item = invitation_pb2.NewInvitation(
        email=person["email_address"],
        role=person.get("role", ""),
        inviter_user_id=person["inviter_user_id"],
        redirect_url=person.get("redirect_url", ""),
        notify=person.get("notify", True),
    )
    item.public_metadata.update(person.get("public_metadata", {}))
    item.private_metadata.update(person.get("private_metadata", {}))
    if days := person.get("expires_in_days"):
        item.ttl.CopyFrom(duration_pb2.Duration(seconds=days * 24 * 60 * 60))
    return item


def project_invitation(invitation: invitation_pb2.Invitation) -> dict:
    return {
        "id": invitation.id,
        "invited_email": invitation.email,
        "project_id": invitation.organization_id,
        "project_name": invitation.organization_name,
        "created_at": invitation.create_time.ToJsonString(),
        # Not set for a caller without directory:read.
        "registered": invitation.registered if invitation.HasField("registered") else None,
        "expires_at": invitation.expire_time.ToJsonString(),
        "role": invitation.role,
        "inviter_name": invitation.inviter_name,
        "invited_profile_id": invitation.invited_user_id or None,
    }


def organization_invitation(result: invitation_pb2.CreateResult) -> dict:
    invitation = result.invitation
    state = invitation_pb2.InvitationState.Name(invitation.state)
    return {
        "id": invitation.id,
        "email_address": invitation.email,
        "role": invitation.role,
        "role_name": invitation.role,
        "organization_id": invitation.organization_id,
        "inviter_id": invitation.inviter_user_id,
        "public_inviter_data": {"user_id": invitation.inviter_user_id, "name": invitation.inviter_name},
        "status": state.removeprefix("INVITATION_STATE_").lower(),
        "public_metadata": metadata(invitation.public_metadata),
        "private_metadata": metadata(invitation.private_metadata),
        "url": result.link,
        "expires_at": invitation.expire_time.ToJsonString(),
        "created_at": invitation.create_time.ToJsonString(),
        "updated_at": invitation.update_time.ToJsonString(),
    }


def metadata(struct: struct_pb2.Struct) -> dict:
    """Returns a Struct as JSON. A Struct stores all numbers as floats; whole numbers are returned as integers."""

    def plain(value):
        if isinstance(value, dict):
            return {name: plain(item) for name, item in value.items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
        return int(value) if isinstance(value, float) and value.is_integer() else value

    return plain(json_format.MessageToDict(struct))


def token_of(link: str) -> str:
    """Returns the token of a link. It is in the fragment, or in the query if the server links to redirect URLs."""
    url = urllib.parse.urlsplit(link)
    named = urllib.parse.parse_qs(url.fragment).get("token") or urllib.parse.parse_qs(url.query)["invitation_token"]
    return named[0]


def print_json(value) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="INVITATIONS_SERVER is the address of the server (127.0.0.1:50051). INVITATIONS_TOKEN_FILE or\n"
        "INVITATIONS_TOKEN is the caller's token. Exit status: 0 success, 1 refused, 3 some items failed.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    simple = commands.add_parser("simple", help='a file of {"invitations": [{"email", "role"}]}')
    simple.add_argument("organization")
    simple.add_argument("file", type=argparse.FileType(encoding="utf-8"), help="- for standard input")
    simple.add_argument("--inviter", required=True, help="the user id of an admin")
    full = commands.add_parser("full", help="a file of [{email_address, role, inviter_user_id, …}]")
    full.add_argument("organization")
    full.add_argument("file", type=argparse.FileType(encoding="utf-8"), help="- for standard input")
    full.add_argument("--accept", metavar="USER", help="accept the first invitation as this user afterwards")
    arguments = parser.parse_args()

    client, body = Client.from_environment(), json.load(arguments.file)
    try:
        if arguments.command == "simple":
            response = invite_simply(client, arguments.organization, arguments.inviter, body["invitations"])
            print_json(response)
            return EXIT_PARTLY if response["failed"] else 0
        invited = invite_fully(client, arguments.organization, body)
        print_json(invited)
        if arguments.accept:
            print_json(accept(client, invited[0]["url"], arguments.accept, invited[0]["email_address"]))
        return 0
    except grpc.RpcError as error:
        print(explain(error), file=sys.stderr)
        return EXIT_REFUSED


if __name__ == "__main__":
    sys.exit(main())

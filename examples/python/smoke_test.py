#!/usr/bin/env python3
"""Runs both commands of invite.py against a server and checks every field of the results.

    INVITATIONS_SERVER=127.0.0.1:50051 INVITATIONS_TOKEN_FILE=../../.data/demo.token ./smoke_test.py ORGANIZATION

The inviter must be an admin of the organization, and the origin of the redirect URL must be on its list. Each run uses new
addresses, so it can be repeated. Status: 0 if all checks succeed, 1 with a line for each failed check.
"""

import argparse
import sys
import uuid

import grpc

import invite
from client import Client, directory_pb2, explain

SIMPLE_FIELDS = {
    "id",
    "invited_email",
    "project_id",
    "project_name",
    "created_at",
    "registered",
    "expires_at",
    "role",
    "inviter_name",
    "invited_profile_id",
}
FAILED_FIELDS = {"email", "success", "error", "invitation"}
FULL_FIELDS = {
    "id",
    "email_address",
    "role",
    "role_name",
    "organization_id",
    "inviter_id",
    "public_inviter_data",
    "status",
    "public_metadata",
    "private_metadata",
    "url",
    "expires_at",
    "created_at",
    "updated_at",
}


class Checks:
    """Counts successful checks and collects failed ones."""

    def __init__(self):
        self.held, self.broken = 0, []

    def that(self, holds: bool, what: str) -> None:
        if holds:
            self.held += 1
        else:
            self.broken.append(what)

    def filled(self, answer: dict, fields: set[str], what: str) -> None:
        """Every field is present and not empty; False is not empty."""
        for field in sorted(fields):
            self.that(answer.get(field) not in (None, "", {}), f"{what}: {field} is missing or empty")


def check_simple(client: Client, checks: Checks, organization: str, inviter: str, run: str) -> None:
    registered = f"user-{run}"
    user = directory_pb2.User(id=registered, name="Known Before", verified_emails=[f"known.{run}@example.com"])
    client.call(client.directory.UpsertUsers, directory_pb2.UpsertUsersRequest(users=[user]))
    people = [
        {"email": f"known.{run}@example.com", "role": "admin"},
        {"email": f"new.{run}@example.com"},
        {"email": "?"},
    ]
    answer = invite.invite_simply(client, organization, inviter, people)
    checks.that([len(answer["successful"]), len(answer["failed"])] == [2, 1], "simple: not 2 successful and 1 failed")
    known, new = answer["successful"]
    checks.filled(known, SIMPLE_FIELDS, "simple, a known user")
    checks.filled(new, SIMPLE_FIELDS - {"invited_profile_id"}, "simple, a stranger")
    checks.that(known["registered"], "simple: a known user is not registered")
    checks.that(known["invited_profile_id"] == registered, "simple: a known user's profile is another one")
    checks.that(not new["registered"] and new["invited_profile_id"] is None, "simple: a stranger is registered")
    checks.that([known["role"], new["role"]] == ["admin", "member"], "simple: roles are not as asked and as default")
    checks.filled(answer["failed"][0], FAILED_FIELDS - {"invitation"}, "simple, a bad address")
    checks.that(answer["failed"][0]["error"].startswith("EMAIL_INVALID"), "simple: the error is not EMAIL_INVALID")
    again = invite.invite_simply(client, organization, inviter, people[1:2])["failed"][0]
    checks.filled(again, FAILED_FIELDS, "simple, invited already")
    checks.that((again["invitation"] or {}).get("id") == new["id"], "simple: invited already, but not that invitation")


def check_full(client: Client, checks: Checks, organization: str, inviter: str, redirect_url: str, run: str) -> None:
    public = {"team": "compute", "seat": 7, "tags": ["a", None, True]}
    private = {"cost": {"center": "CC-1147", "rate": 0.5}}
    person = {
        "email_address": f"full.{run}@example.com",
        "role": "admin",
        "inviter_user_id": inviter,
        "redirect_url": redirect_url,
        "public_metadata": public,
        "private_metadata": private,
        "expires_in_days": 7,
        "notify": False,
    }
    invited = invite.invite_fully(client, organization, [person])[0]
    checks.filled(invited, FULL_FIELDS, "full")
    checks.that(invited["status"] == "pending", "full: not pending")
    checks.that(invited["inviter_id"] == inviter, "full: another inviter")
    checks.that(invited["public_metadata"] == public, "full: other public_metadata")
    checks.that(invited["private_metadata"] == private, "full: other private_metadata")

    membership = invite.accept(client, invited["url"], f"member-{run}", person["email_address"])
    stored = client.call(
        client.directory.GetMembership,
        directory_pb2.GetMembershipRequest(organization_id=organization, user_id=f"member-{run}"),
    ).membership
    checks.that(membership["role"] == stored.role == "admin", "accept: the role did not reach the membership")
    for name, sent in (("public_metadata", public), ("private_metadata", private)):
        checks.that(membership.get(name) == sent, f"accept: {name} did not reach the membership")
        kept = invite.metadata(getattr(stored, name))
        checks.that(kept == sent, f"accept: {name} was not kept with the membership")
    checks.that(stored.invitation_id == invited["id"], "accept: the membership does not name its invitation")

    try:
        invite.invite_fully(client, organization, [person | {"role": "no such role", "expires_in_days": 400}])
        checks.that(False, "full: a bad item was not refused")
    except grpc.RpcError as refusal:
        explanation = explain(refusal)
        for part in ("ITEMS_FAILED", "invitations[0].role: ROLE_UNKNOWN", "invitations[0].ttl: EXPIRY_OUT_OF_RANGE"):
            checks.that(part in explanation, f"full: a refusal does not contain {part}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("organization")
    parser.add_argument("--inviter", default="ada")
    parser.add_argument("--redirect-url", default="https://app.example.com/welcome")
    arguments = parser.parse_args()
    client, checks, run = Client.from_environment(), Checks(), uuid.uuid4().hex[:12]
    try:
        check_simple(client, checks, arguments.organization, arguments.inviter, run)
        check_full(client, checks, arguments.organization, arguments.inviter, arguments.redirect_url, run)
    except grpc.RpcError as error:
        checks.broken.append(explain(error))
    for broken in checks.broken:
        print(f"smoke_test: {broken}", file=sys.stderr)
    print(f"{checks.held} checks held, {len(checks.broken)} did not")
    return 1 if checks.broken else 0


if __name__ == "__main__":
    sys.exit(main())

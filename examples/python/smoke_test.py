#!/usr/bin/env python3
"""Runs both commands of invite.py against a running server and checks every field of the responses.

    INVITATIONS_SERVER=127.0.0.1:50051 INVITATIONS_TOKEN_FILE=../../.data/demo.token ./smoke_test.py ORGANIZATION

The inviter must be an admin of the organization, and the organization must list the origin of the redirect URL. Each run
uses new addresses. Exit status: 0 if all checks pass, otherwise 1 and a line for each failed check.
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
    """Counts the passed checks and lists the failed ones."""

    def __init__(self):
        self.passed, self.failures = 0, []

    def check(self, condition: bool, failure: str) -> None:
        if condition:
            self.passed += 1
        else:
            self.failures.append(failure)

    def check_fields(self, response: dict, fields: set[str], name: str) -> None:
        """Checks that every field is present and not empty. False is not empty."""
        for field in sorted(fields):
            self.check(response.get(field) not in (None, "", {}), f"{name}: {field} is missing or empty")


def check_simple(client: Client, checks: Checks, organization: str, inviter: str, run: str) -> None:
    registered = f"user-{run}"
    user = directory_pb2.User(id=registered, name="Known Before", verified_emails=[f"known.{run}@example.com"])
    client.call(client.directory.UpsertUsers, directory_pb2.UpsertUsersRequest(users=[user]))
    people = [
        {"email": f"known.{run}@example.com", "role": "admin"},
        {"email": f"new.{run}@example.com"},
        {"email": "?"},
    ]
    response = invite.invite_simply(client, organization, inviter, people)
    checks.check([len(response["successful"]), len(response["failed"])] == [2, 1], "simple: not 2 successful and 1 failed")
    known, new = response["successful"]
    checks.check_fields(known, SIMPLE_FIELDS, "simple, a known user")
    checks.check_fields(new, SIMPLE_FIELDS - {"invited_profile_id"}, "simple, an unknown user")
    checks.check(known["registered"], "simple: a known user is not registered")
    checks.check(known["invited_profile_id"] == registered, "simple: a known user has another profile")
    checks.check(not new["registered"] and new["invited_profile_id"] is None, "simple: an unknown user is registered")
    checks.check([known["role"], new["role"]] == ["admin", "member"], "simple: the roles are not the requested one and the default")
    checks.check_fields(response["failed"][0], FAILED_FIELDS - {"invitation"}, "simple, a bad address")
    checks.check(response["failed"][0]["error"].startswith("EMAIL_INVALID"), "simple: the error is not EMAIL_INVALID")
    again = invite.invite_simply(client, organization, inviter, people[1:2])["failed"][0]
    checks.check_fields(again, FAILED_FIELDS, "simple, already invited")
    checks.check((again["invitation"] or {}).get("id") == new["id"], "simple: the failure names another invitation")


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
    checks.check_fields(invited, FULL_FIELDS, "full")
    checks.check(invited["status"] == "pending", "full: not pending")
    checks.check(invited["inviter_id"] == inviter, "full: the inviter is another user")
    checks.check(invited["public_metadata"] == public, "full: public_metadata differs")
    checks.check(invited["private_metadata"] == private, "full: private_metadata differs")

    membership = invite.accept(client, invited["url"], f"member-{run}", person["email_address"])
    stored = client.call(
        client.directory.GetMembership,
        directory_pb2.GetMembershipRequest(organization_id=organization, user_id=f"member-{run}"),
    ).membership
    checks.check(membership["role"] == stored.role == "admin", "accept: the role did not reach the membership")
    for name, sent in (("public_metadata", public), ("private_metadata", private)):
        checks.check(membership.get(name) == sent, f"accept: {name} did not reach the membership")
        kept = invite.metadata(getattr(stored, name))
        checks.check(kept == sent, f"accept: {name} was not kept with the membership")
    checks.check(stored.invitation_id == invited["id"], "accept: the membership does not name its invitation")

    try:
        invite.invite_fully(client, organization, [person | {"role": "no such role", "expires_in_days": 400}])
        checks.check(False, "full: a bad item was not refused")
    except grpc.RpcError as refusal:
        explanation = explain(refusal)
        for part in ("ITEMS_FAILED", "invitations[0].role: ROLE_UNKNOWN", "invitations[0].ttl: EXPIRY_OUT_OF_RANGE"):
            checks.check(part in explanation, f"full: the error does not contain {part}")


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
        checks.failures.append(explain(error))
    for failure in checks.failures:
        print(f"smoke_test: {failure}", file=sys.stderr)
    print(f"{checks.passed} checks passed, {len(checks.failures)} failed")
    return 1 if checks.failures else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Synchronizes a large directory of users and memberships with the service, and prints how long each kind of call took.

    INVITATIONS_SERVER=127.0.0.1:50051 INVITATIONS_TOKEN_FILE=../../.data/demo.token ./sync_directory.py --users 10000

The directory is generated. It is synchronized twice: first as it is, then after 1 % of the users left, 1 % joined, 1 % got
another name, 1 % got another role, and 1 % left their organization. At the end it is listed again and must not differ.

Other users of the service are left alone: all ids start with "sync-". The caller needs the scopes directory:read,
directory:write and directory:admin, and may not be limited to organizations.
"""

import argparse
import collections
import sys
import time

import grpc
from google.protobuf import field_mask_pb2

from client import Client, directory_pb2, explain, reason_name

PREFIX = "sync-"
CALL_ITEMS = 10_000  # the limit of one call
PAGE_ITEMS = 1_000  # the limit of one page
PERCENT = 100  # one of so many users changes


class Directory:
    """A generated directory of users, each a member of one organization. Lists are ordered by id, like the service's."""

    def __init__(self, users: int, organizations: int, changed: bool = False):
        self._users, self._organizations, self._changed = users, organizations, changed

    def organization_ids(self) -> list[str]:
        return [f"{PREFIX}{organization:06}" for organization in range(self._organizations)]

    def users(self):
        for n in self._numbers(range(self._end())):
            name = f"Person {n} Renamed" if self._changed and n % PERCENT == 1 else f"Person {n}"
            yield directory_pb2.User(id=f"{PREFIX}{n:09}", name=name, verified_emails=[f"person.{n}@example.com"])

    def memberships(self, organization_id: str):
        first = int(organization_id.removeprefix(PREFIX))
        for n in self._numbers(range(first, self._end(), self._organizations)):
            if self._changed and n % PERCENT == 3:
                continue
            role = "admin" if self._changed and n % PERCENT == 2 else "member"
            yield directory_pb2.Membership(organization_id=organization_id, user_id=f"{PREFIX}{n:09}", role=role)

    def _end(self) -> int:
        """The number of users who ever joined."""
        return self._users + self._users // PERCENT if self._changed else self._users

    def _numbers(self, all_numbers: range):
        """The numbers of the users who did not leave."""
        return (n for n in all_numbers if not self._changed or n >= self._users or n % PERCENT)


class Service:
    """The calls of the synchronization. Counts the calls and items of each kind and the seconds that they took."""

    def __init__(self, client: Client):
        self._client = client
        self._directory = client.directory
        self._calls, self._items, self._seconds = (collections.Counter() for _ in range(3))

    def users(self):
        """Lists all users whose ids start with the prefix."""
        request = directory_pb2.ListUsersRequest(page_size=PAGE_ITEMS)
        users = self._pages("list users", self._directory.ListUsers, request, "users")
        return (user for user in users if user.id.startswith(PREFIX))

    def memberships(self, organization_id: str):
        request = directory_pb2.ListMembershipsRequest(organization_id=organization_id, page_size=PAGE_ITEMS)
        return self._pages("list memberships", self._directory.ListMemberships, request, "memberships")

    def upsert_organizations(self, ids: list[str]) -> None:
        organizations = [directory_pb2.Organization(id=id, name="Synchronized") for id in ids]
        request = directory_pb2.UpsertOrganizationsRequest(organizations=organizations, undelete=True)
        self._change("upsert organizations", self._directory.UpsertOrganizations, request, len(ids))

    # The update_mask names the fields that the directory owns. All other fields keep their values.

    def upsert_users(self, users: list) -> None:
        mask = field_mask_pb2.FieldMask(paths=["name", "verified_emails"])
        request = directory_pb2.UpsertUsersRequest(users=users, update_mask=mask)
        self._change("upsert users", self._directory.UpsertUsers, request, len(users))

    def upsert_memberships(self, memberships: list) -> None:
        mask = field_mask_pb2.FieldMask(paths=["role"])
        request = directory_pb2.UpsertMembershipsRequest(memberships=memberships, update_mask=mask)
        self._change("upsert memberships", self._directory.UpsertMemberships, request, len(memberships))

    def delete_users(self, users: list) -> None:
        ids = [user.id for user in users]
        request = directory_pb2.BulkDeleteUsersRequest(user_ids=ids, allow_missing=True)
        self._change("delete users", self._directory.BulkDeleteUsers, request, len(ids))

    def delete_memberships(self, memberships: list) -> None:
        keys = [
            directory_pb2.MembershipKey(organization_id=membership.organization_id, user_id=membership.user_id)
            for membership in memberships
        ]
        request = directory_pb2.BulkDeleteMembershipsRequest(memberships=keys, allow_missing=True)
        self._change("delete memberships", self._directory.BulkDeleteMemberships, request, len(keys))

    def delete_organizations(self, ids: list[str]) -> None:
        for id in ids:
            request = directory_pb2.DeleteOrganizationRequest(organization_id=id, allow_missing=True)
            self._call("delete organizations", self._directory.DeleteOrganization, request, 1)

    def print_times(self) -> None:
        print(f"  {'':20} {'calls':>7} {'items':>10} {'seconds':>9} {'items/s':>9}")
        for kind, seconds in self._seconds.items():
            calls, items = self._calls[kind], self._items[kind]
            print(f"  {kind:20} {calls:7} {items:10} {seconds:9.2f} {items / seconds:9.0f}")
        for counter in (self._calls, self._items, self._seconds):
            counter.clear()

    def _pages(self, kind: str, method, request, field: str):
        while True:
            response = self._call(kind, method, request, 0)
            items = getattr(response, field)
            self._items[kind] += len(items)
            yield from items
            request.page_token = response.next_page_token
            if not request.page_token:
                return

    def _change(self, kind: str, method, request, items: int) -> None:
        response = self._call(kind, method, request, items)
        if response.failed_count:
            failed = next(result for result in response.results if result.HasField("error"))
            reason = reason_name(failed.error.reason)
            sys.exit(f"sync_directory: {kind}: {response.failed_count} items failed, the first one with {reason}")

    def _call(self, kind: str, method, request, items: int):
        start = time.perf_counter()
        response = self._client.call(method, request)
        self._seconds[kind] += time.perf_counter() - start
        self._calls[kind] += 1
        self._items[kind] += items
        return response


class Batch:
    """Collects items and gives them to a call when there are enough for one."""

    def __init__(self, call):
        self._call, self._items, self.count = call, [], 0

    def add(self, item) -> None:
        self._items.append(item)
        self.count += 1
        if len(self._items) == CALL_ITEMS:
            self.finish()

    def finish(self) -> None:
        if self._items:
            self._call(self._items)
            self._items = []


def pairs(wanted, listed, key):
    """Yields a wanted and a listed item for each key, with None for the one that is missing. Both are ordered by key."""
    left, right = next(wanted, None), next(listed, None)
    while left is not None or right is not None:
        if right is None or (left is not None and key(left) < key(right)):
            yield left, None
            left = next(wanted, None)
        elif left is None or key(right) < key(left):
            yield None, right
            right = next(listed, None)
        else:
            yield left, right
            left, right = next(wanted, None), next(listed, None)


def reconcile(both, differs, upsert: Batch, delete: Batch) -> None:
    """Upserts what is missing or different, and deletes what is superfluous, while the lists are read."""
    for wanted, listed in both:
        if wanted is None:
            delete.add(listed)
        elif listed is None or differs(wanted, listed):
            upsert.add(wanted)


def synchronize(directory: Directory, service: Service) -> int:
    """Makes the service agree with the directory. Returns the number of changes."""
    service.upsert_organizations(directory.organization_ids())

    def user_differs(wanted, listed) -> bool:
        return wanted.name != listed.name or wanted.verified_emails != listed.verified_emails

    users = Batch(service.upsert_users), Batch(service.delete_users)
    reconcile(pairs(directory.users(), service.users(), lambda user: user.id), user_differs, *users)
    for batch in users:
        batch.finish()

    def membership_differs(wanted, listed) -> bool:
        return wanted.role != listed.role

    memberships = Batch(service.upsert_memberships), Batch(service.delete_memberships)
    for id in directory.organization_ids():
        both = pairs(directory.memberships(id), service.memberships(id), lambda membership: membership.user_id)
        reconcile(both, membership_differs, *memberships)
    for batch in memberships:
        batch.finish()
    return sum(batch.count for batch in users + memberships)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--organizations", type=int, default=100, help="at most 10,000")
    parser.add_argument("--clean-up", action="store_true", help="delete everything at the end")
    arguments = parser.parse_args()
    users, organizations = arguments.users, arguments.organizations
    service = Service(Client.from_environment())

    def step(title: str, directory: Directory) -> int:
        start = time.perf_counter()
        changes = synchronize(directory, service)
        print(f"{title}: {changes} changes in {time.perf_counter() - start:.1f} s")
        service.print_times()
        return changes

    changed = Directory(users, organizations, changed=True)
    step("first synchronization", Directory(users, organizations))
    step("synchronization after changes", changed)
    differences = step("comparison", changed)
    if arguments.clean_up:
        step("removal of all users", Directory(0, organizations))
        service.delete_organizations(changed.organization_ids())
    if differences:
        sys.exit(f"sync_directory: {differences} differences remained after the synchronization")


if __name__ == "__main__":
    try:
        main()
    except grpc.RpcError as error:
        sys.exit(f"sync_directory: {explain(error)}")

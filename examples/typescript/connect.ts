// Calls the invitation service in ten ways, with protobuf-es and connect-node. run.sh generates the code, sets the
// environment and starts this program.

import { randomUUID } from "node:crypto";
import { createClient, ConnectError, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { ErrorInfoSchema } from "./gen/es/google/rpc/error_details_pb";
import { DirectoryService, UpsertOutcome, type UpsertResult } from "./gen/es/invitation/v1/directory_pb";
import { ErrorReason } from "./gen/es/invitation/v1/error_pb";
import {
  type BulkCreateStreamRequestSchema,
  CreateOutcome,
  InvitationEventType,
  InvitationService,
  InvitationState,
} from "./gen/es/invitation/v1/invitation_pb";

const PAGE_SIZE = 1000;

// Each run uses an organization and users of its own.
const run = randomUUID().slice(24);
const organizationId = `example-${run}`;
const inviter = `inviter-${run}`;
const invited = `invited-${run}`;
const invitedEmail = `invited.${run}@example.com`;

const authorize: Interceptor = (next) => (request) => {
  request.header.set("authorization", `Bearer ${process.env.INVITATIONS_TOKEN}`);
  return next(request);
};
const transport = createGrpcTransport({
  baseUrl: `http://${process.env.INVITATIONS_SERVER}`,
  defaultTimeoutMs: 30_000,
  interceptors: [authorize],
});
const directory = createClient(DirectoryService, transport);
const invitations = createClient(InvitationService, transport);

async function writeDirectory(): Promise<void> {
  const organizations = await directory.upsertOrganizations({
    organizations: [
      {
        id: organizationId,
        name: "Example in TypeScript",
        roles: [
          { id: "admin", displayName: "Administrator", canInvite: true },
          { id: "member", displayName: "Member", localizedDisplayNames: { de: "Mitglied" } },
        ],
        defaultRole: "member",
      },
    ],
  });
  printUpsert(" 1 UpsertOrganizations", organizations.results[0]);

  const users = await directory.upsertUsers({
    users: [{ id: inviter, name: "Ada King", verifiedEmails: [`ada.${run}@example.com`] }],
  });
  printUpsert(" 2 UpsertUsers", users.results[0]);

  const memberships = await directory.upsertMemberships({
    memberships: [{ organizationId, userId: inviter, role: "admin" }],
  });
  printUpsert(" 3 UpsertMemberships", memberships.results[0]);
}

function printUpsert(call: string, result: UpsertResult): void {
  console.log(`${call}: ${UpsertOutcome[result.outcome]}`);
}

// Invites four people, three of them with mistakes, and returns the link of the first invitation.
async function invite(): Promise<string> {
  const request = {
    // Makes the call safe to repeat: a repeated call returns the first response and sends no second email.
    requestId: randomUUID(),
    organizationId,
    inviterUserId: inviter,
    invitations: [
      { email: invitedEmail },
      { email: "not an address" },
      { email: invitedEmail },
      { email: `other.${run}@example.com`, role: "astronaut" },
    ],
    returnLink: true,
  };
  const first = await invitations.bulkCreate(request);
  console.log(` 4 BulkCreate: succeeded ${first.succeededCount}, failed ${first.failedCount}`);
  for (const result of first.results) {
    if (result.outcome === CreateOutcome.FAILED && result.error) {
      console.log(`   item ${result.index}: ${ErrorReason[result.error.reason]}`);
    }
  }

  const again = await invitations.bulkCreate(request);
  console.log(` 5 BulkCreate again: ${again.batchId === first.batchId ? "the same batch" : "another batch"}`);
  return first.results[0].link;
}

// Invites 2,500 people in one stream and returns their batch.
async function inviteInStream(): Promise<string> {
  async function* requests(): AsyncIterable<MessageInitShape<typeof BulkCreateStreamRequestSchema>> {
    yield { header: { requestId: randomUUID(), organizationId, inviterUserId: inviter } };
    for (let start = 0; start < 2500; start += 500) {
      yield {
        invitations: Array.from({ length: 500 }, (_, i) => ({
          email: `row.${start + i}.${run}@example.com`,
          key: `row-${start + i}`,
          notify: false,
        })),
      };
    }
  }

  let batchId = "";
  let lastKey = "";
  let count = 0;
  let failed = 0;
  for await (const response of invitations.bulkCreateStream(requests())) {
    batchId = response.batchId;
    for (const result of response.results) {
      count++;
      lastKey = result.key;
      failed += result.outcome === CreateOutcome.FAILED ? 1 : 0;
    }
  }
  console.log(` 6 BulkCreateStream: ${count} results, failed ${failed}, last key ${lastKey}`);
  return batchId;
}

async function listPending(): Promise<void> {
  let count = 0;
  let pages = 0;
  let pageToken = "";
  do {
    const response = await invitations.list({
      organizationId,
      pageSize: PAGE_SIZE,
      pageToken,
      filter: { states: [InvitationState.PENDING] },
    });
    count += response.invitations.length;
    pages++;
    pageToken = response.nextPageToken;
  } while (pageToken !== "");
  console.log(` 7 List: ${count} invitations in ${pages} pages`);
}

// Prints the first event of the organization and cancels the stream, which does not end by itself.
async function watchOneEvent(): Promise<void> {
  for await (const response of invitations.watch({ organizationId })) {
    // A response without events holds only a cursor.
    if (response.events.length > 0) {
      console.log(` 8 Watch: ${InvitationEventType[response.events[0].type]}`);
      // Leaving the loop cancels the stream.
      break;
    }
  }
}

async function accept(link: string): Promise<void> {
  const token = link.split("token=")[1];
  const preview = await invitations.preview({ token });
  const accepted = await invitations.accept({
    target: { case: "token", value: token },
    userId: invited,
    verifiedEmails: [invitedEmail],
  });
  const before = InvitationState[preview.state];
  const after = InvitationState[accepted.invitation?.state ?? InvitationState.UNSPECIFIED];
  const role = accepted.membership?.role;
  console.log(` 9 Preview and Accept: ${before} for ${preview.role}, then ${after} with the role ${role}`);
}

async function revokeBatch(batchId: string): Promise<void> {
  let count = 0;
  let pages = 0;
  let pageToken = "";
  do {
    const response = await invitations.bulkRevoke({
      organizationId,
      filter: { batchId },
      actingUserId: inviter,
      pageSize: PAGE_SIZE,
      pageToken,
    });
    count += response.revokedCount;
    pages++;
    pageToken = response.nextPageToken;
  } while (pageToken !== "");
  console.log(`10 BulkRevoke: ${count} invitations in ${pages} pages`);
}

// Returns the code and the message of a refused call, with its reason.
function explain(error: ConnectError): string {
  const reasons = error.findDetails(ErrorInfoSchema).map((info) => ` (${info.reason})`);
  return error.message + reasons.join("");
}

async function main(): Promise<void> {
  await writeDirectory();
  const link = await invite();
  const batchId = await inviteInStream();
  await listPending();
  await watchOneEvent();
  await accept(link);
  await revokeBatch(batchId);
}

main().catch((error: unknown) => {
  console.error(`connect: ${explain(ConnectError.from(error))}`);
  process.exitCode = 1;
});

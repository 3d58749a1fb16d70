// Calls the invitation service in ten ways, with ts-proto and grpc-js. run.sh generates the code, sets the environment and
// starts this program.

import { randomUUID } from "node:crypto";
import { once } from "node:events";
import {
  type CallOptions,
  type Client,
  type ClientUnaryCall,
  credentials,
  Metadata,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { ErrorInfo } from "./gen/ts-proto/google/rpc/error_details";
import { Status } from "./gen/ts-proto/google/rpc/status";
import {
  DirectoryServiceClient,
  UpsertMembershipsRequest,
  UpsertOrganizationsRequest,
  UpsertOutcome,
  type UpsertResult,
  UpsertUsersRequest,
} from "./gen/ts-proto/invitation/v1/directory";
import { ErrorReason } from "./gen/ts-proto/invitation/v1/error";
import {
  AcceptRequest,
  BulkCreateRequest,
  BulkCreateStreamRequest,
  BulkRevokeRequest,
  CreateOutcome,
  InvitationEventType,
  InvitationServiceClient,
  InvitationState,
  ListRequest,
  PreviewRequest,
  WatchRequest,
} from "./gen/ts-proto/invitation/v1/invitation";

const PAGE_SIZE = 1000;

// Each run uses an organization and users of its own.
const run = randomUUID().slice(24);
const organizationId = `example-${run}`;
const inviter = `inviter-${run}`;
const invited = `invited-${run}`;
const invitedEmail = `invited.${run}@example.com`;

const metadata = new Metadata();
metadata.set("authorization", `Bearer ${process.env.INVITATIONS_TOKEN}`);
const server = process.env.INVITATIONS_SERVER ?? "";
const directory = new DirectoryServiceClient(server, credentials.createInsecure());
const invitations = new InvitationServiceClient(server, credentials.createInsecure());

type Callback<Response> = (error: ServiceError | null, response: Response) => void;
type Method<Request, Response> = (
  request: Request,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: Callback<Response>,
) => ClientUnaryCall;

// Calls a method with the caller's token and a deadline, and returns the response as a promise.
function call<Request, Response>(
  client: Client,
  method: Method<Request, Response>,
  request: Request,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const options = { deadline: Date.now() + 30_000 };
    method.call(client, request, metadata, options, (error, response) => (error ? reject(error) : resolve(response)));
  });
}

async function writeDirectory(): Promise<void> {
  const organizations = UpsertOrganizationsRequest.fromPartial({
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
  const first = await call(directory, directory.upsertOrganizations, organizations);
  printUpsert(" 1 UpsertOrganizations", first.results[0]);

  const users = UpsertUsersRequest.fromPartial({
    users: [{ id: inviter, name: "Ada King", verifiedEmails: [`ada.${run}@example.com`] }],
  });
  const second = await call(directory, directory.upsertUsers, users);
  printUpsert(" 2 UpsertUsers", second.results[0]);

  const memberships = UpsertMembershipsRequest.fromPartial({
    memberships: [{ organizationId, userId: inviter, role: "admin" }],
  });
  const third = await call(directory, directory.upsertMemberships, memberships);
  printUpsert(" 3 UpsertMemberships", third.results[0]);
}

function printUpsert(name: string, result: UpsertResult): void {
  console.log(`${name}: ${UpsertOutcome[result.outcome].replace("UPSERT_OUTCOME_", "")}`);
}

// Invites four people, three of them with mistakes, and returns the link of the first invitation.
async function invite(): Promise<string> {
  const request = BulkCreateRequest.fromPartial({
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
  });
  const first = await call(invitations, invitations.bulkCreate, request);
  console.log(` 4 BulkCreate: succeeded ${first.succeededCount}, failed ${first.failedCount}`);
  for (const result of first.results) {
    if (result.outcome === CreateOutcome.CREATE_OUTCOME_FAILED && result.error) {
      console.log(`   item ${result.index}: ${ErrorReason[result.error.reason].replace("ERROR_REASON_", "")}`);
    }
  }

  const again = await call(invitations, invitations.bulkCreate, request);
  console.log(` 5 BulkCreate again: ${again.batchId === first.batchId ? "the same batch" : "another batch"}`);
  return first.results[0].link;
}

// Invites 2,500 people in one stream and returns their batch.
async function inviteInStream(): Promise<string> {
  function* requests(): Iterable<BulkCreateStreamRequest> {
    yield BulkCreateStreamRequest.fromPartial({
      header: { requestId: randomUUID(), organizationId, inviterUserId: inviter },
    });
    for (let start = 0; start < 2500; start += 500) {
      yield BulkCreateStreamRequest.fromPartial({
        invitations: Array.from({ length: 500 }, (_, i) => ({
          email: `row.${start + i}.${run}@example.com`,
          key: `row-${start + i}`,
          notify: false,
        })),
      });
    }
  }

  const stream = invitations.bulkCreateStream(metadata, { deadline: Date.now() + 60_000 });

  async function send(): Promise<void> {
    for (const request of requests()) {
      if (!stream.write(request)) {
        await once(stream, "drain");
      }
    }
    stream.end();
  }

  let batchId = "";
  let lastKey = "";
  let count = 0;
  let failed = 0;

  async function receive(): Promise<void> {
    for await (const response of stream) {
      batchId = response.batchId;
      for (const result of response.results) {
        count++;
        lastKey = result.key;
        failed += result.outcome === CreateOutcome.CREATE_OUTCOME_FAILED ? 1 : 0;
      }
    }
  }

  // Results are read while items are sent: the service stops reading items while nobody reads results.
  await Promise.all([send(), receive()]);
  console.log(` 6 BulkCreateStream: ${count} results, failed ${failed}, last key ${lastKey}`);
  return batchId;
}

async function listPending(): Promise<void> {
  const request = ListRequest.fromPartial({
    organizationId,
    pageSize: PAGE_SIZE,
    filter: { states: [InvitationState.INVITATION_STATE_PENDING] },
  });
  let count = 0;
  let pages = 0;
  do {
    const response = await call(invitations, invitations.list, request);
    count += response.invitations.length;
    pages++;
    request.pageToken = response.nextPageToken;
  } while (request.pageToken !== "");
  console.log(` 7 List: ${count} invitations in ${pages} pages`);
}

// Prints the first event of the organization and cancels the stream, which does not end by itself.
async function watchOneEvent(): Promise<void> {
  const stream = invitations.watch(WatchRequest.fromPartial({ organizationId }), metadata);
  for await (const response of stream) {
    // A response without events holds only a cursor.
    if (response.events.length > 0) {
      const type = InvitationEventType[response.events[0].type].replace("INVITATION_EVENT_TYPE_", "");
      console.log(` 8 Watch: ${type}`);
      break;
    }
  }
  // grpc-js reports the cancellation as an error.
  stream.on("error", () => {});
  stream.cancel();
}

async function accept(link: string): Promise<void> {
  const token = link.split("token=")[1];
  const preview = await call(invitations, invitations.preview, PreviewRequest.fromPartial({ token }));
  const request = AcceptRequest.fromPartial({ token, userId: invited, verifiedEmails: [invitedEmail] });
  const accepted = await call(invitations, invitations.accept, request);
  const state = accepted.invitation?.state ?? InvitationState.INVITATION_STATE_UNSPECIFIED;
  const before = InvitationState[preview.state].replace("INVITATION_STATE_", "");
  const after = InvitationState[state].replace("INVITATION_STATE_", "");
  const role = accepted.membership?.role;
  console.log(` 9 Preview and Accept: ${before} for ${preview.role}, then ${after} with the role ${role}`);
}

async function revokeBatch(batchId: string): Promise<void> {
  const request = BulkRevokeRequest.fromPartial({
    organizationId,
    filter: { batchId },
    actingUserId: inviter,
    pageSize: PAGE_SIZE,
  });
  let count = 0;
  let pages = 0;
  do {
    const response = await call(invitations, invitations.bulkRevoke, request);
    count += response.revokedCount;
    pages++;
    request.pageToken = response.nextPageToken;
  } while (request.pageToken !== "");
  console.log(`10 BulkRevoke: ${count} invitations in ${pages} pages`);
}

// Returns the code and the message of a refused call, with its reason.
function explain(error: ServiceError): string {
  let text = `${status[error.code]}: ${error.details}`;
  for (const bytes of error.metadata?.get("grpc-status-details-bin") ?? []) {
    for (const detail of Status.decode(bytes as Buffer).details) {
      if (detail.typeUrl === "type.googleapis.com/google.rpc.ErrorInfo") {
        text += ` (${ErrorInfo.decode(detail.value).reason})`;
      }
    }
  }
  return text;
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

main()
  .catch((error: ServiceError) => {
    console.error(`grpc_js: ${error.code === undefined ? error.stack : explain(error)}`);
    process.exitCode = 1;
  })
  .finally(() => {
    directory.close();
    invitations.close();
  });

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.ErrorInfo;
import com.invitation.v1.*;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import io.grpc.stub.MetadataUtils;
import java.util.Iterator;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** Calls the invitation service in ten ways. run.sh generates the code, sets the environment and starts this program. */
public final class TenCalls {
    private static final int PAGE_SIZE = 1000;
    private static final int STREAM_ITEMS = 2500;
    private static final int MESSAGE_ITEMS = 500;

    // Each run uses an organization and users of its own.
    private static final String RUN = UUID.randomUUID().toString().substring(24);
    private static final String ORGANIZATION = "example-" + RUN;
    private static final String INVITER = "inviter-" + RUN;
    private static final String INVITED = "invited-" + RUN;
    private static final String INVITED_EMAIL = "invited." + RUN + "@example.com";

    private final DirectoryServiceGrpc.DirectoryServiceBlockingStub directory;
    private final InvitationServiceGrpc.InvitationServiceBlockingStub invitations;
    private final InvitationServiceGrpc.InvitationServiceStub asynchronous;

    private TenCalls(ManagedChannel channel, String token) {
        Metadata headers = new Metadata();
        headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + token);
        var authorization = MetadataUtils.newAttachHeadersInterceptor(headers);
        directory = DirectoryServiceGrpc.newBlockingStub(channel).withInterceptors(authorization);
        invitations = InvitationServiceGrpc.newBlockingStub(channel).withInterceptors(authorization);
        asynchronous = InvitationServiceGrpc.newStub(channel).withInterceptors(authorization);
    }

    public static void main(String[] arguments) throws Exception {
        ManagedChannel channel =
                ManagedChannelBuilder.forTarget(System.getenv("INVITATIONS_SERVER")).usePlaintext().build();
        TenCalls calls = new TenCalls(channel, System.getenv("INVITATIONS_TOKEN"));
        try {
            calls.writeDirectory();
            String link = calls.invite();
            String batchId = calls.inviteInStream();
            calls.listPending();
            calls.watchOneEvent();
            calls.accept(link);
            calls.revokeBatch(batchId);
        } catch (StatusRuntimeException error) {
            System.err.println("TenCalls: " + explain(error));
            System.exit(1);
        } finally {
            channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
        }
    }

    private void writeDirectory() {
        var organizations = directory.upsertOrganizations(UpsertOrganizationsRequest.newBuilder()
                .addOrganizations(Organization.newBuilder()
                        .setId(ORGANIZATION)
                        .setName("Example in Java")
                        .addRoles(Role.newBuilder()
                                .setId("admin")
                                .setDisplayName("Administrator")
                                .setCanInvite(true))
                        .addRoles(Role.newBuilder()
                                .setId("member")
                                .setDisplayName("Member")
                                .putLocalizedDisplayNames("de", "Mitglied"))
                        .setDefaultRole("member"))
                .build());
        printUpsert(" 1 UpsertOrganizations", organizations.getResults(0));

        var users = directory.upsertUsers(UpsertUsersRequest.newBuilder()
                .addUsers(User.newBuilder()
                        .setId(INVITER)
                        .setName("Ada King")
                        .addVerifiedEmails("ada." + RUN + "@example.com"))
                .build());
        printUpsert(" 2 UpsertUsers", users.getResults(0));

        var memberships = directory.upsertMemberships(UpsertMembershipsRequest.newBuilder()
                .addMemberships(Membership.newBuilder()
                        .setOrganizationId(ORGANIZATION)
                        .setUserId(INVITER)
                        .setRole("admin"))
                .build());
        printUpsert(" 3 UpsertMemberships", memberships.getResults(0));
    }

    private static void printUpsert(String call, UpsertResult result) {
        System.out.println(call + ": " + name(result.getOutcome(), "UPSERT_OUTCOME_"));
    }

    /** Invites four people, three of them with mistakes, and returns the link of the first invitation. */
    private String invite() {
        BulkCreateRequest request = BulkCreateRequest.newBuilder()
                // Makes the call safe to repeat: a repeated call returns the first response and sends no second email.
                .setRequestId(UUID.randomUUID().toString())
                .setOrganizationId(ORGANIZATION)
                .setInviterUserId(INVITER)
                .addInvitations(NewInvitation.newBuilder().setEmail(INVITED_EMAIL))
                .addInvitations(NewInvitation.newBuilder().setEmail("not an address"))
                .addInvitations(NewInvitation.newBuilder().setEmail(INVITED_EMAIL))
                .addInvitations(NewInvitation.newBuilder()
                        .setEmail("other." + RUN + "@example.com")
                        .setRole("astronaut"))
                .setReturnLink(true)
                .build();
        BulkCreateResponse first = invitations.bulkCreate(request);
        System.out.printf(
                " 4 BulkCreate: succeeded %d, failed %d%n", first.getSucceededCount(), first.getFailedCount());
        for (CreateResult result : first.getResultsList()) {
            if (result.getOutcome() == CreateOutcome.CREATE_OUTCOME_FAILED) {
                System.out.printf(
                        "   item %d: %s%n", result.getIndex(), name(result.getError().getReason(), "ERROR_REASON_"));
            }
        }

        BulkCreateResponse again = invitations.bulkCreate(request);
        boolean same = again.getBatchId().equals(first.getBatchId());
        System.out.println(" 5 BulkCreate again: " + (same ? "the same batch" : "another batch"));
        return first.getResults(0).getLink();
    }

    /** Invites 2,500 people in one stream and returns their batch. */
    private String inviteInStream() throws Exception {
        var stream = new ItemStream();
        asynchronous.withDeadlineAfter(60, TimeUnit.SECONDS).bulkCreateStream(stream);
        stream.done.get();
        System.out.printf(
                " 6 BulkCreateStream: %d results, failed %d, last key %s%n",
                stream.count, stream.failed, stream.lastKey);
        return stream.batchId;
    }

    /** Sends a message of items whenever the connection can take one, and reads the results at the same time. */
    private static final class ItemStream
            implements ClientResponseObserver<BulkCreateStreamRequest, BulkCreateStreamResponse> {
        private final CompletableFuture<Void> done = new CompletableFuture<>();
        private String batchId = "";
        private String lastKey = "";
        private int sent;
        private int count;
        private int failed;

        @Override
        public void beforeStart(ClientCallStreamObserver<BulkCreateStreamRequest> requests) {
            requests.setOnReadyHandler(() -> {
                while (requests.isReady() && sent < STREAM_ITEMS) {
                    requests.onNext(nextMessage());
                    if (sent == STREAM_ITEMS) {
                        requests.onCompleted();
                    }
                }
            });
        }

        private BulkCreateStreamRequest nextMessage() {
            var message = BulkCreateStreamRequest.newBuilder();
            if (sent == 0) {
                message.setHeader(BulkCreateStreamHeader.newBuilder()
                        .setRequestId(UUID.randomUUID().toString())
                        .setOrganizationId(ORGANIZATION)
                        .setInviterUserId(INVITER));
            }
            for (int end = sent + MESSAGE_ITEMS; sent < end; sent++) {
                message.addInvitations(NewInvitation.newBuilder()
                        .setEmail("row." + sent + "." + RUN + "@example.com")
                        .setKey("row-" + sent)
                        .setNotify(false));
            }
            return message.build();
        }

        @Override
        public void onNext(BulkCreateStreamResponse response) {
            batchId = response.getBatchId();
            for (CreateResult result : response.getResultsList()) {
                count++;
                lastKey = result.getKey();
                if (result.getOutcome() == CreateOutcome.CREATE_OUTCOME_FAILED) {
                    failed++;
                }
            }
        }

        @Override
        public void onError(Throwable error) {
            done.completeExceptionally(error);
        }

        @Override
        public void onCompleted() {
            done.complete(null);
        }
    }

    private void listPending() {
        var request = ListRequest.newBuilder()
                .setOrganizationId(ORGANIZATION)
                .setPageSize(PAGE_SIZE)
                .setFilter(InvitationFilter.newBuilder().addStates(InvitationState.INVITATION_STATE_PENDING));
        int count = 0;
        int pages = 0;
        do {
            ListResponse response = invitations.list(request.build());
            count += response.getInvitationsCount();
            pages++;
            request.setPageToken(response.getNextPageToken());
        } while (!request.getPageToken().isEmpty());
        System.out.printf(" 7 List: %d invitations in %d pages%n", count, pages);
    }

    /** Prints the first event of the organization and cancels the stream, which does not end by itself. */
    private void watchOneEvent() {
        var request = WatchRequest.newBuilder().setOrganizationId(ORGANIZATION).build();
        try (var context = io.grpc.Context.current().withCancellation()) {
            var previous = context.attach();
            try {
                Iterator<WatchResponse> stream = invitations.watch(request);
                while (stream.hasNext()) {
                    WatchResponse response = stream.next();
                    // A response without events holds only a cursor.
                    if (response.getEventsCount() > 0) {
                        var type = response.getEvents(0).getType();
                        System.out.println(" 8 Watch: " + name(type, "INVITATION_EVENT_TYPE_"));
                        return;
                    }
                }
            } finally {
                context.detach(previous);
            }
        }
    }

    private void accept(String link) {
        String token = link.substring(link.indexOf("token=") + "token=".length());
        PreviewResponse preview = invitations.preview(PreviewRequest.newBuilder().setToken(token).build());
        AcceptResponse accepted = invitations.accept(AcceptRequest.newBuilder()
                .setToken(token)
                .setUserId(INVITED)
                .addVerifiedEmails(INVITED_EMAIL)
                .build());
        System.out.printf(
                " 9 Preview and Accept: %s for %s, then %s with the role %s%n",
                name(preview.getState(), "INVITATION_STATE_"),
                preview.getRole(),
                name(accepted.getInvitation().getState(), "INVITATION_STATE_"),
                accepted.getMembership().getRole());
    }

    private void revokeBatch(String batchId) {
        var request = BulkRevokeRequest.newBuilder()
                .setOrganizationId(ORGANIZATION)
                .setFilter(InvitationFilter.newBuilder().setBatchId(batchId))
                .setActingUserId(INVITER)
                .setPageSize(PAGE_SIZE);
        int count = 0;
        int pages = 0;
        do {
            BulkRevokeResponse response = invitations.bulkRevoke(request.build());
            count += response.getRevokedCount();
            pages++;
            request.setPageToken(response.getNextPageToken());
        } while (!request.getPageToken().isEmpty());
        System.out.printf("10 BulkRevoke: %d invitations in %d pages%n", count, pages);
    }

    /** Returns the name of an enum value without its prefix. */
    private static String name(Enum<?> value, String prefix) {
        return value.name().substring(prefix.length());
    }

    /** Returns the code and the message of a refused call, with its reason. */
    private static String explain(StatusRuntimeException error) throws InvalidProtocolBufferException {
        String text = error.getStatus().getCode() + ": " + error.getStatus().getDescription();
        var status = StatusProto.fromThrowable(error);
        for (var detail : status == null ? java.util.List.<com.google.protobuf.Any>of() : status.getDetailsList()) {
            if (detail.is(ErrorInfo.class)) {
                text += " (" + detail.unpack(ErrorInfo.class).getReason() + ")";
            }
        }
        return text;
    }
}

// Calls the invitation service in ten ways. run.sh generates the code, sets the environment and starts this program.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"invitation/v1"
)

const pageSize = 1000

// Each run uses an organization and users of its own.
var (
	run          = randomHex(6)
	organization = "example-" + run
	inviter      = "inviter-" + run
	invited      = "invited-" + run
	invitedEmail = "invited." + run + "@example.com"
)

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+os.Getenv("INVITATIONS_TOKEN"))

	connection, err := grpc.Dial(os.Getenv("INVITATIONS_SERVER"), grpc.WithInsecure())
	check(err)
	defer connection.Close()
	invitations := invitationv1.NewInvitationServiceClient(connection)

	writeDirectory(ctx, invitationv1.NewDirectoryServiceClient(connection))
	link := invite(ctx, invitations)
	batchID := inviteInStream(ctx, invitations)
	listPending(ctx, invitations)
	watchOneEvent(ctx, invitations)
	accept(ctx, invitations, link)
	revokeBatch(ctx, invitations, batchID)
}

func writeDirectory(ctx context.Context, directory invitationv1.DirectoryServiceClient) {
	organizations, err := directory.UpsertOrganizations(ctx, &invitationv1.UpsertOrganizationsRequest{
		Organizations: []*invitationv1.Organization{{
			Id:   organization,
			Name: proto.String("Example in Go"),
			Roles: []*invitationv1.Role{
				{Id: "admin", DisplayName: "Administrator", CanInvite: true},
				{Id: "member", DisplayName: "Member", LocalizedDisplayNames: map[string]string{"de": "Mitglied"}},
			},
			DefaultRole: proto.String("member"),
		}},
	})
	check(err)
	printUpsert(" 1 UpsertOrganizations", organizations.Results)

	users, err := directory.UpsertUsers(ctx, &invitationv1.UpsertUsersRequest{
		Users: []*invitationv1.User{{
			Id:             inviter,
			Name:           proto.String("Ada King"),
			VerifiedEmails: []string{"ada." + run + "@example.com"},
		}},
	})
	check(err)
	printUpsert(" 2 UpsertUsers", users.Results)

	memberships, err := directory.UpsertMemberships(ctx, &invitationv1.UpsertMembershipsRequest{
		Memberships: []*invitationv1.Membership{{
			OrganizationId: organization,
			UserId:         inviter,
			Role:           proto.String("admin"),
		}},
	})
	check(err)
	printUpsert(" 3 UpsertMemberships", memberships.Results)
}

func printUpsert(call string, results []*invitationv1.UpsertResult) {
	fmt.Printf("%s: %s\n", call, name(results[0].Outcome, "UPSERT_OUTCOME_"))
}

// Invites four people, three of them with mistakes, and returns the link of the first invitation.
func invite(ctx context.Context, invitations invitationv1.InvitationServiceClient) string {
	request := &invitationv1.BulkCreateRequest{
		// Makes the call safe to repeat: a repeated call returns the first response and sends no second email.
		RequestId:      newUUID(),
		OrganizationId: organization,
		InviterUserId:  inviter,
		Invitations: []*invitationv1.NewInvitation{
			{Email: invitedEmail},
			{Email: "not an address"},
			{Email: invitedEmail},
			{Email: "other." + run + "@example.com", Role: "astronaut"},
		},
		ReturnLink: true,
	}
	first, err := invitations.BulkCreate(ctx, request)
	check(err)
	fmt.Printf(" 4 BulkCreate: succeeded %d, failed %d\n", first.SucceededCount, first.FailedCount)
	for _, result := range first.Results {
		if result.Outcome == invitationv1.CreateOutcome_CREATE_OUTCOME_FAILED {
			fmt.Printf("   item %d: %s\n", result.Index, name(result.Error.Reason, "ERROR_REASON_"))
		}
	}

	again, err := invitations.BulkCreate(ctx, request)
	check(err)
	if again.BatchId == first.BatchId {
		fmt.Println(" 5 BulkCreate again: the same batch")
	} else {
		fmt.Println(" 5 BulkCreate again: another batch")
	}
	return first.Results[0].Link
}

// Invites 2,500 people in one stream and returns their batch.
func inviteInStream(ctx context.Context, invitations invitationv1.InvitationServiceClient) string {
	stream, err := invitations.BulkCreateStream(ctx)
	check(err)
	// Results are read while items are sent: the service stops reading items while nobody reads results.
	go func() {
		// If a message cannot be sent, Recv returns the reason.
		if sendItems(stream) == nil {
			stream.CloseSend()
		}
	}()

	var batchID, lastKey string
	var count, failed int
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		check(err)
		batchID = response.BatchId
		for _, result := range response.Results {
			count++
			lastKey = result.Key
			if result.Outcome == invitationv1.CreateOutcome_CREATE_OUTCOME_FAILED {
				failed++
			}
		}
	}
	fmt.Printf(" 6 BulkCreateStream: %d results, failed %d, last key %s\n", count, failed, lastKey)
	return batchID
}

func sendItems(stream invitationv1.InvitationService_BulkCreateStreamClient) error {
	header := &invitationv1.BulkCreateStreamHeader{
		RequestId:      newUUID(),
		OrganizationId: organization,
		InviterUserId:  inviter,
	}
	if err := stream.Send(&invitationv1.BulkCreateStreamRequest{Header: header}); err != nil {
		return err
	}
	for start := 0; start < 2500; start += 500 {
		var items []*invitationv1.NewInvitation
		for i := start; i < start+500; i++ {
			items = append(items, &invitationv1.NewInvitation{
				Email:  fmt.Sprintf("row.%d.%s@example.com", i, run),
				Key:    fmt.Sprintf("row-%d", i),
				Notify: proto.Bool(false),
			})
		}
		if err := stream.Send(&invitationv1.BulkCreateStreamRequest{Invitations: items}); err != nil {
			return err
		}
	}
	return nil
}

func listPending(ctx context.Context, invitations invitationv1.InvitationServiceClient) {
	request := &invitationv1.ListRequest{
		OrganizationId: organization,
		PageSize:       pageSize,
		Filter: &invitationv1.InvitationFilter{
			States: []invitationv1.InvitationState{invitationv1.InvitationState_INVITATION_STATE_PENDING},
		},
	}
	count, pages := 0, 0
	for {
		response, err := invitations.List(ctx, request)
		check(err)
		count += len(response.Invitations)
		pages++
		request.PageToken = response.NextPageToken
		if request.PageToken == "" {
			break
		}
	}
	fmt.Printf(" 7 List: %d invitations in %d pages\n", count, pages)
}

// Prints the first event of the organization and cancels the stream, which does not end by itself.
func watchOneEvent(ctx context.Context, invitations invitationv1.InvitationServiceClient) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := invitations.Watch(ctx, &invitationv1.WatchRequest{OrganizationId: organization})
	check(err)
	for {
		response, err := stream.Recv()
		check(err)
		// A response without events holds only a cursor.
		if len(response.Events) > 0 {
			fmt.Printf(" 8 Watch: %s\n", name(response.Events[0].Type, "INVITATION_EVENT_TYPE_"))
			return
		}
	}
}

func accept(ctx context.Context, invitations invitationv1.InvitationServiceClient, link string) {
	token := link[strings.Index(link, "token=")+len("token="):]
	preview, err := invitations.Preview(ctx, &invitationv1.PreviewRequest{Token: token})
	check(err)
	accepted, err := invitations.Accept(ctx, &invitationv1.AcceptRequest{
		Target:         &invitationv1.AcceptRequest_Token{Token: token},
		UserId:         invited,
		VerifiedEmails: []string{invitedEmail},
	})
	check(err)
	fmt.Printf(" 9 Preview and Accept: %s for %s, then %s with the role %s\n",
		name(preview.State, "INVITATION_STATE_"), preview.Role,
		name(accepted.Invitation.State, "INVITATION_STATE_"), accepted.Membership.GetRole())
}

func revokeBatch(ctx context.Context, invitations invitationv1.InvitationServiceClient, batchID string) {
	request := &invitationv1.BulkRevokeRequest{
		OrganizationId: organization,
		Filter:         &invitationv1.InvitationFilter{BatchId: &batchID},
		ActingUserId:   inviter,
		PageSize:       pageSize,
	}
	count, pages := int32(0), 0
	for {
		response, err := invitations.BulkRevoke(ctx, request)
		check(err)
		count += response.RevokedCount
		pages++
		request.PageToken = response.NextPageToken
		if request.PageToken == "" {
			break
		}
	}
	fmt.Printf("10 BulkRevoke: %d invitations in %d pages\n", count, pages)
}

// Returns the name of an enum value without its prefix.
func name(value fmt.Stringer, prefix string) string {
	return strings.TrimPrefix(value.String(), prefix)
}

// Ends the program if a call was refused, with the code, the message and the reason.
func check(err error) {
	if err == nil {
		return
	}
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			log.Fatalf("ten_calls: %v (%s)", err, info.Reason)
		}
	}
	log.Fatalf("ten_calls: %v", err)
}

func randomHex(bytes int) string {
	random := make([]byte, bytes)
	if _, err := rand.Read(random); err != nil {
		log.Fatal(err)
	}
	return fmt.Sprintf("%x", random)
}

// Returns a random UUID (version 4).
func newUUID() string {
	hex := randomHex(16)
	return fmt.Sprintf("%s-%s-4%s-8%s-%s", hex[:8], hex[8:12], hex[13:16], hex[17:20], hex[20:])
}

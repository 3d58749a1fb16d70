//! Every attack on memory and connections, one after another and then together, on a process in a small container. It
//! survives, other callers are served, and the memory is returned.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::attacked_server::{AttackedServer, MIB};
use crate::support::background_calls::print_line;
use crate::support::memory_cgroup::MemoryCgroup;

const MEMORY_MAX: usize = 256 * MIB;
/// How long the process may take to return memory.
const RETURN_MAX: Duration = Duration::from_mins(1);

/// Attacks until `duration` has passed, at least once with each attack.
async fn run_attacks(duration: Duration) {
    let server = AttackedServer::start().await;
    let cgroup = MemoryCgroup::create(MEMORY_MAX);
    match &cgroup {
        Some(cgroup) => cgroup.add(&server.process),
        None => print_line("this user may not create a cgroup; only the peak is checked"),
    }
    let before = server.process.memory_kib();
    let began = Instant::now();
    loop {
        attack_in_turn(&server).await;
        attack_at_once(&server).await;
        if began.elapsed() >= duration {
            break;
        }
    }
    let peak = server.process.peak_memory();
    assert!(peak < MEMORY_MAX, "{peak} bytes");
    let ended = Instant::now();
    let mut after = server.process.memory_kib();
    while after > before * 6 / 5 && ended.elapsed() < RETURN_MAX {
        tokio::time::sleep(Duration::from_secs(1)).await;
        after = server.process.memory_kib();
    }
    print_line(&format!(
        "peak {} MiB; memory {before} KiB, {:.0?} after the attacks {after} KiB",
        peak / MIB,
        ended.elapsed()
    ));
    assert!(after <= before * 6 / 5, "{before} then {after}");
}

async fn attack_in_turn(server: &AttackedServer) {
    for size in [4 * MIB, 15 * MIB] {
        let attack = server.send_empty_items(size);
        server.attack("empty items", attack).await;
    }
    server
        .attack("large calls", server.send_large_calls(12))
        .await;
    server
        .attack("unfinished messages", server.begin_large_messages())
        .await;
    server.attack("reflection", server.begin_reflection()).await;
    server
        .attack("idle HTTP/2 connections", server.hold_idle_connections())
        .await;
    server
        .attack("keep-alive HTTP connections", server.hold_keep_alive())
        .await;
    server
        .attack("POSTs without a body", server.hold_posts())
        .await;
    server
        .attack("silent streams", server.hold_silent_streams())
        .await;
    server.attack("watches", server.hold_watches()).await;
}

async fn attack_at_once(server: &AttackedServer) {
    let attacks = async {
        tokio::join!(
            server.send_empty_items(4 * MIB),
            server.send_empty_items(15 * MIB),
            server.send_large_calls(12),
            server.begin_large_messages(),
            server.begin_reflection(),
            server.hold_idle_connections(),
            server.hold_keep_alive(),
            server.hold_posts(),
            server.hold_silent_streams(),
            server.hold_watches(),
        )
    };
    Box::pin(server.attack("all attacks", attacks)).await;
}

#[tokio::test]
#[ignore = "takes two minutes"]
async fn all_attacks_together_leave_memory_for_others_and_it_is_returned() {
    run_attacks(Duration::ZERO).await;
}

#[tokio::test]
#[ignore = "takes eleven minutes"]
async fn ten_minutes_of_attacks_leave_memory_for_others_and_it_is_returned() {
    run_attacks(Duration::from_mins(10)).await;
}

//! Replies, by a clock that the tests move.

use tokio::time::{Instant, sleep};

use super::*;
use crate::engine::running_call::{ABANDONED_FOR, outbound};
use crate::engine::unlogged_stream::WRITE_WITHIN;
use crate::protocol::sse;

const TIMES: ReplyTimes = ReplyTimes {
    form: ReplyForm::Auto,
    grace: Duration::from_millis(1),
    keep_alive: Duration::from_secs(60),
};

/// A call that sends without end, from a task of its own, and ends after `last` or when it is cancelled.
fn flood(last: Duration, survives: bool) -> (Flight, CancellationToken, Supervisor) {
    let (out, messages) = outbound();
    let (cancel, supervisor) = (CancellationToken::new(), Supervisor::new("a"));
    supervisor.spawn("flood", async move {
        while out.send(Bytes::from_static(b"{}")).await.is_ok() {}
    });
    let cancelled = cancel.clone();
    let call = Box::pin(async move {
        tokio::select! {
            () = cancelled.cancelled() => {}
            () = sleep(last) => {}
        }
        Finished {
            body: Some(Bytes::from_static(b"\"end\"")),
            verdict: Verdict::Answered,
        }
    });
    let running = RunningCall {
        call,
        messages: Some(messages),
    };
    let flight = Flight::new(running, cancel.clone(), survives, supervisor.clone());
    (flight, cancel, supervisor)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_counts_as_gone() {
    let (flight, cancel, supervisor) = flood(Duration::from_secs(3600), false);
    let began = Instant::now();
    let Reply::Stream(mut unread) = flight.reply(TIMES).await else {
        panic!("a call that sends is answered by a stream")
    };
    cancel.cancelled().await;
    assert!(began.elapsed() >= WRITE_WITHIN && began.elapsed() < WRITE_WITHIN * 2);
    supervisor.stop(Duration::from_secs(1)).await;
    let mut left = 0;
    while unread.recv().await.is_some() {
        left += 1;
    }
    assert_eq!(
        left, STREAM_QUEUE_EVENTS_MAX,
        "what it could have read, and an end"
    );
}

/// F7: a call does not run to its timeout for a client that cannot come back.
#[tokio::test(start_paused = true)]
async fn a_call_is_given_up_whose_client_can_never_come_back() {
    for streams in [false, true] {
        let (cancel, supervisor) = (CancellationToken::new(), Supervisor::new("a"));
        let stopped = cancel.clone();
        let call = Box::pin(async move {
            stopped.cancelled().await;
            Finished::nothing()
        });
        let running = RunningCall { call, messages: None };
        let flight = Flight::new(running, cancel.clone(), true, supervisor.clone());
        let began = Instant::now();
        match streams {
            // The connection breaks before there is an answer.
            false => drop(tokio::time::timeout(Duration::ZERO, flight.reply(TIMES)).await),
            // It is a stream without event ids.
            true => drop(flight.reply(TIMES).await),
        }
        cancel.cancelled().await;
        assert!(began.elapsed() >= ABANDONED_FOR && began.elapsed() < ABANDONED_FOR * 2);
        supervisor.stop(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_in_time_while_its_client_is_slow() {
    let (flight, _, supervisor) = flood(Duration::from_secs(5), true);
    let Reply::Stream(mut slow) = flight.reply(TIMES).await else {
        panic!("a call that sends is answered by a stream")
    };
    // It reads again just before it would count as gone, and gets everything and the end.
    sleep(Duration::from_secs(9)).await;
    let mut last = Bytes::new();
    while let Some(event) = slow.recv().await {
        last = event;
    }
    assert_eq!(last, sse::message(b"\"end\""));
    supervisor.stop(Duration::from_secs(1)).await;
}

//! What becomes of a call when its node dies is for its tool to say: `quote` may be run again, `book` may not.

use std::process::ExitCode;
use std::time::Duration;

use anynode::session::Caller;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;

struct Travel;

#[derive(Deserialize, JsonSchema)]
struct Trip {
    /// Where to.
    to: String,
    /// How long it takes to find out, in milliseconds.
    takes_ms: u64,
}

#[tool_router(server_handler)]
impl Travel {
    /// Asks for a price, which is lower for callers with the scope `members`. Asking twice does no harm, so another node asks again when
    /// this one is lost: for the same caller.
    #[tool(annotations(read_only_hint = true))]
    async fn quote(&self, Parameters(trip): Parameters<Trip>, caller: Caller) -> String {
        tokio::time::sleep(Duration::from_millis(trip.takes_ms)).await;
        let price = if caller.identity.has_scope("members") {
            40
        } else {
            42
        };
        format!("a trip to {} costs {price}, says {}", trip.to, caller.node)
    }

    /// Books. Booking twice would, so when this node is lost the client is told that the outcome is unknown.
    #[tool]
    async fn book(&self, Parameters(trip): Parameters<Trip>, caller: Caller) -> String {
        tokio::time::sleep(Duration::from_millis(trip.takes_ms)).await;
        format!("booked a trip to {}, says {}", trip.to, caller.node)
    }
}

fn main() -> ExitCode {
    anynode::cli::main(anynode::program!(), || Travel)
}

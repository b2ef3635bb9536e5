//! The Lua scripts: one file each, sent by their hash, and whole when Redis does not know the hash (any
//! longer).

use fred::error::Error as FredError;
use fred::types::Value;

use super::link::{Link, on_slot_of};

/// Lists the scripts. From each word come the field, the file, the hash, and the name of the operation in
/// metrics. What stands behind a colon is a file that goes in front of the script: what such scripts share.
macro_rules! scripts {
    ($($name:ident $(: $shared:ident)?),* $(,)?) => {
        /// All scripts.
        #[derive(Debug)]
        pub(super) struct Scripts {
            $(pub(super) $name: Script,)*
        }

        impl Scripts {
            /// Loads every script, which also shows that this user may run them.
            pub(super) async fn load(link: &Link) -> Result<Self, FredError> {
                Ok(Self {
                    $($name: {
                        let source = concat!(
                            $(include_str!(concat!(stringify!($shared), ".lua")),)?
                            include_str!(concat!(stringify!($name), ".lua")),
                        );
                        Script::load(link, stringify!($name), source).await?
                    },)*
                })
            }
        }
    };
}

scripts! {
    // Sessions.
    create: log,
    load: record,
    touch,
    change: record,
    change_introduced: log,
    end: log,
    release,
    sight,
    // How many there are.
    enter,
    stay,
    of_peer,
    leave,
    // Streams.
    append: log,
    attach: log,
    detach: log,
    read,
    delivered,
    note_change,
    note_change_own,
    tell: log,
    // Calls.
    enroll,
    call_begin: log,
    call_end: log,
    answer,
    inbox: log,
    cancel,
    cancelled,
    claim,
    forget,
    // Nodes.
    lease_renew,
    lease_renew_set,
    lease_end,
    lease_end_set,
    nodes,
    // Rates.
    take,
    // State.
    state_get,
    state_entries,
    state_swap,
    state_open,
    state_owner,
    secrets,
}

/// A script, and the hash by which Redis knows it.
#[derive(Debug)]
pub(super) struct Script {
    /// What the operation is called.
    pub(super) name: &'static str,
    source: &'static str,
    sha: String,
}

impl Script {
    async fn load(link: &Link, name: &'static str, source: &'static str) -> Result<Self, FredError> {
        let hash = on_slot_of("");
        let sha = link
            .send("SCRIPT", hash, vec!["LOAD".into(), source.into()])
            .await?;
        Ok(Self {
            name,
            source,
            sha: sha.convert()?,
        })
    }

    /// Runs the script. In a cluster, all `keys` must be in the slot of the first.
    pub(super) async fn run(&self, link: &Link, keys: &[&str], args: Vec<Value>) -> Result<Value, FredError> {
        let hash = on_slot_of(keys.first().copied().unwrap_or_default());
        let rest: Vec<Value> = std::iter::once(keys.len().to_string().into())
            .chain(keys.iter().map(|key| Value::from(*key)))
            .chain(args)
            .collect();
        let call = |text: &str| std::iter::once(Value::from(text)).chain(rest.clone()).collect();
        match link.send("EVALSHA", hash.clone(), call(&self.sha)).await {
            // Redis was restarted, or another one took over, or this cluster node never saw the script.
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                link.send("EVAL", hash, call(self.source)).await
            }
            answer => answer,
        }
    }
}

//! The composition root: settings, store and handler become a running node.

use std::fmt;
use std::sync::Arc;

use rmcp::ServerHandler;

use crate::config::Settings;
use crate::store::Store;
use crate::transport::handler::Handler;

/// A node: an MCP server that shares its sessions with every other node on the same store.
#[derive(Debug)]
pub struct App;

impl App {
    /// Begins to put a node together.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            settings: Settings::default(),
            handler: None,
            store: None,
        }
    }
}

/// Puts a node together; see [`App::builder`].
pub struct Builder {
    settings: Settings,
    handler: Option<Arc<dyn Handler>>,
    store: Option<Arc<dyn Store>>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").finish_non_exhaustive()
    }
}

impl Builder {
    /// Uses these settings instead of the defaults.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Serves this rmcp handler. It is made once, when the node starts.
    #[must_use]
    pub fn handler<H: ServerHandler>(mut self, make: impl FnOnce() -> H) -> Self {
        self.handler = Some(Arc::new(make()));
        self
    }

    /// Uses this store instead of the one that the settings name.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }
}

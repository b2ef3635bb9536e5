//! How the issuers do whose tokens are taken, for operators.

use std::time::Duration;

/// How an issuer does, for `/health`.
#[derive(Debug, Clone)]
pub(crate) struct IssuerHealth {
    /// The issuer.
    pub issuer: String,
    /// How old its keys are; `None` if they were never fetched.
    pub keys_age: Option<Duration>,
    /// Whether the last attempt to fetch them failed.
    pub failing: bool,
}

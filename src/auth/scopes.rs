//! The scopes that a request needs: every request, and a tool besides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::AuthSettings;
use crate::session::Identity;

/// What stands for all tools that have no entry of their own.
const OTHERS: &str = "*";

/// The scopes that requests need, and what scopes stand for.
#[derive(Debug)]
pub(crate) struct ScopePolicy {
    base: Vec<String>,
    tools: BTreeMap<String, Vec<String>>,
    write: Option<String>,
    implied: BTreeMap<String, BTreeSet<Arc<str>>>,
    /// Whether anonymous requests are let in: they need no scope but for tools.
    optional: bool,
}

/// The scopes of one operation, of which its caller lacks some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lacking {
    /// All that the operation needs, also those that the caller has: some clients ask for exactly these
    /// (2025-11-25, Authorization, "Scope Challenge Handling").
    pub needed: Vec<String>,
    /// Whether the caller has no credentials at all.
    pub anonymous: bool,
}

impl ScopePolicy {
    /// That of the settings.
    pub(crate) fn new(auth: &AuthSettings) -> Self {
        Self {
            base: auth.scopes.clone(),
            tools: auth.tool_scopes.clone(),
            write: Some(auth.write_scope.clone()).filter(|scope| !scope.is_empty()),
            implied: all_implied(&auth.scope_implies),
            optional: auth.optional,
        }
    }

    /// The scopes that every request needs.
    pub(crate) fn base(&self) -> &[String] {
        &self.base
    }

    /// Whether tools need scopes of their own.
    pub(crate) fn bounds_tools(&self) -> bool {
        !self.tools.is_empty() || self.write.is_some()
    }

    /// The same identity, with the scopes that its own stand for.
    pub(crate) fn expand(&self, identity: Identity) -> Identity {
        if self.implied.is_empty() {
            return identity;
        }
        let Some(own) = identity.scopes() else {
            return identity;
        };
        let mut all: BTreeSet<Arc<str>> = own.map(Arc::from).collect();
        let implied: Vec<_> = all
            .iter()
            .filter_map(|scope| self.implied.get(&**scope))
            .collect();
        let implied: Vec<Arc<str>> = implied.into_iter().flatten().cloned().collect();
        all.extend(implied);
        identity.with_scopes(all)
    }

    /// Checks what every request needs.
    pub(crate) fn check(&self, identity: &Identity) -> Result<(), Lacking> {
        if self.base.is_empty() || (self.optional && identity.is_anonymous()) {
            return Ok(());
        }
        lacks(identity, self.base.iter())
    }

    /// Checks what a tool needs besides; `reads` tells whether the tool says that it only reads.
    pub(crate) fn check_tool(
        &self,
        identity: &Identity,
        tool: &str,
        reads: impl FnOnce() -> bool,
    ) -> Result<(), Lacking> {
        let own = self.tools.get(tool).or_else(|| self.tools.get(OTHERS));
        let write = self.write.as_ref().filter(|_| !reads());
        let needed = self.base.iter().chain(own.into_iter().flatten()).chain(write);
        match own.is_none() && write.is_none() {
            true => Ok(()),
            false => lacks(identity, needed),
        }
    }
}

fn lacks<'a>(identity: &Identity, needed: impl Iterator<Item = &'a String> + Clone) -> Result<(), Lacking> {
    if needed.clone().all(|scope| identity.has_scope(scope)) {
        return Ok(());
    }
    let mut told = Vec::new();
    for scope in needed {
        if !told.contains(scope) {
            told.push(scope.clone());
        }
    }
    Err(Lacking {
        needed: told,
        anonymous: identity.is_anonymous(),
    })
}

/// For each scope all that it stands for, also by way of others.
fn all_implied(direct: &BTreeMap<String, Vec<String>>) -> BTreeMap<String, BTreeSet<Arc<str>>> {
    let below = |scope: &str| {
        let (mut found, mut open) = (BTreeSet::new(), vec![scope.to_owned()]);
        while let Some(next) = open.pop() {
            for implied in direct.get(&next).into_iter().flatten() {
                if found.insert(Arc::<str>::from(implied.as_str())) {
                    open.push(implied.clone());
                }
            }
        }
        found
    };
    direct.keys().map(|scope| (scope.clone(), below(scope))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Principal;

    fn policy(change: impl FnOnce(&mut AuthSettings)) -> ScopePolicy {
        let mut auth = AuthSettings {
            scopes: vec!["tools".into()],
            tool_scopes: BTreeMap::from([("pay".to_owned(), vec!["pay".to_owned(), "tools".to_owned()])]),
            ..AuthSettings::default()
        };
        change(&mut auth);
        ScopePolicy::new(&auth)
    }

    fn with(scopes: &[&str]) -> Identity {
        Identity::of(Principal("alice".into())).with_scopes(scopes.iter().copied())
    }

    fn needed(outcome: Result<(), Lacking>) -> Vec<String> {
        outcome.expect_err("it lacks none").needed
    }

    #[test]
    fn a_tool_needs_its_own_scopes_besides_those_of_every_request() {
        let policy = policy(|_| {});
        assert_eq!(policy.check(&with(&["tools", "other"])), Ok(()));
        assert_eq!(needed(policy.check(&with(&["other"]))), ["tools"]);
        assert_eq!(policy.check_tool(&with(&["tools"]), "look", || true), Ok(()));
        // T37: all scopes of the operation, with those that the client has.
        assert_eq!(
            needed(policy.check_tool(&with(&["tools"]), "pay", || true)),
            ["tools", "pay"]
        );
        assert_eq!(
            policy.check_tool(&with(&["tools", "pay"]), "pay", || true),
            Ok(())
        );
    }

    #[test]
    fn tools_that_write_need_the_scope_for_that() {
        let policy = policy(|auth| {
            auth.write_scope = "write".into();
            auth.tool_scopes.insert(OTHERS.into(), vec!["rest".into()]);
        });
        assert_eq!(
            needed(policy.check_tool(&with(&["tools"]), "note", || false)),
            ["tools", "rest", "write"]
        );
        assert_eq!(
            needed(policy.check_tool(&with(&["tools"]), "note", || true)),
            ["tools", "rest"]
        );
        assert_eq!(
            needed(policy.check_tool(&with(&["tools"]), "pay", || false)),
            ["tools", "pay", "write"]
        );
    }

    #[test]
    fn a_scope_stands_for_others_also_by_way_of_others() {
        let policy = policy(|auth| {
            auth.scope_implies = BTreeMap::from([
                ("admin".to_owned(), vec!["pay".to_owned()]),
                ("pay".to_owned(), vec!["tools".to_owned(), "admin".to_owned()]),
            ]);
        });
        let admin = policy.expand(with(&["admin"]));
        assert_eq!(policy.check_tool(&admin, "pay", || true), Ok(()));
        assert!(
            policy
                .expand(with(&["tools"]))
                .scopes()
                .into_iter()
                .flatten()
                .eq(["tools"])
        );
        let unbounded = Identity::of(Principal("static".into()));
        assert!(policy.expand(unbounded.clone()) == unbounded);
    }

    #[test]
    fn those_without_credentials_are_asked_for_them_where_a_tool_needs_scopes() {
        let policy = policy(|auth| auth.optional = true);
        assert_eq!(policy.check(&Identity::anonymous()), Ok(()));
        let lacking = policy.check_tool(&Identity::anonymous(), "pay", || true);
        assert!(lacking.is_err_and(|lacking| lacking.anonymous));
    }
}

//! One line of the audit log: JSON, whose members are left out when they are not known.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use humantime_serde::re::humantime::format_rfc3339_millis;
use serde::Serialize;
use serde_json::value::RawValue;

use super::act::{Act, Actor, CameFrom, cut};

/// A line, in the order of its members.
#[derive(Debug, Default, Serialize)]
pub(super) struct AuditLine<'a> {
    at: String,
    node: &'a str,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<&'a str>,
}

impl<'a> AuditLine<'a> {
    /// The line of an act that was done just now.
    pub(super) fn of(node: &'a str, actor: &Actor<'a>, act: &Act<'a>) -> Self {
        static NOWHERE: CameFrom = CameFrom {
            address: None,
            agent: None,
            trace: None,
        };
        let from = actor.from.unwrap_or(&NOWHERE);
        let named = |principal: &'a crate::session::Principal| {
            Some(principal.as_str()).filter(|name| !name.is_empty())
        };
        let line = Self {
            at: now(),
            node,
            event: act.event(),
            principal: actor.principal.and_then(named),
            client: actor.client.map(cut),
            session: actor.session,
            address: from.address.map(|address| address.to_canonical()),
            agent: from.agent.as_deref(),
            method: actor.method,
            trace: from.trace.as_deref(),
            ..Self::default()
        };
        line.with(act)
    }

    /// The same with what is known of the act.
    fn with(self, act: &Act<'a>) -> Self {
        match *act {
            Act::SessionMade => self,
            Act::SessionEnded(by) => Self {
                reason: Some(by.label()),
                ..self
            },
            Act::Denied { reason, count } => Self {
                reason: Some(reason),
                count: (count > 1).then_some(count),
                ..self
            },
            Act::ScopeDenied { scopes, tool } => Self {
                reason: Some(cut(scopes)),
                tool: tool.map(cut),
                ..self
            },
            Act::ToolCalled {
                tool,
                outcome,
                arguments,
            } => Self {
                tool: tool.map(cut),
                outcome: Some(outcome),
                arguments: arguments.and_then(|text| serde_json::from_str(text).ok()),
                ..self
            },
            Act::KeysChanged { issuer } => Self {
                reason: Some(cut(issuer)),
                ..self
            },
            Act::CertificateChanged { outcome } => Self {
                outcome: Some(outcome),
                ..self
            },
            Act::LimitsLocal { local } => Self {
                outcome: Some(if local { "begun" } else { "over" }),
                ..self
            },
            Act::Admin { command } => Self {
                reason: Some(command),
                ..self
            },
        }
    }

    /// The line that says how many were dropped before it.
    pub(super) fn dropped(count: u64) -> Self {
        Self {
            at: now(),
            event: "lines_dropped",
            count: Some(count),
            ..Self::default()
        }
    }

    /// As it is written.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // Nothing in it can fail to be written as JSON.
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

/// The time now, to the millisecond.
fn now() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let since = since.unwrap_or(Duration::ZERO);
    format_rfc3339_millis(SystemTime::UNIX_EPOCH + since).to_string()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use serde_json::Value;

    use super::*;
    use crate::audit::EndedBy;
    use crate::session::Principal;

    fn written(actor: &Actor<'_>, act: &Act<'_>) -> Value {
        let bytes = AuditLine::of("node-1", actor, act).to_bytes();
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let mut line: Value = serde_json::from_str(&text).unwrap();
        let at = line.as_object_mut().unwrap().remove("at").unwrap();
        let at = at.as_str().unwrap();
        assert!(at.len() == 24 && at.ends_with('Z') && at.contains('T'), "{at}");
        line
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let anonymous = Principal::anonymous();
        let nobody = Actor {
            principal: Some(&anonymous),
            ..Actor::default()
        };
        let line = written(&nobody, &Act::SessionEnded(EndedBy::Quota));
        let wanted = serde_json::json!({"node": "node-1", "event": "session_ended", "reason": "quota"});
        assert_eq!(line, wanted);
    }

    #[test]
    fn each_event_has_what_belongs_to_it() {
        let (alice, from) = (
            Principal("alice".into()),
            CameFrom {
                address: Some(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().into()),
                agent: Some("a \"b\"\n".into()),
                trace: None,
            },
        );
        let actor = Actor {
            principal: Some(&alice),
            client: Some("suite"),
            session: Some("0011aabb"),
            from: Some(&from),
            method: Some("tools/call"),
        };
        let called = Act::ToolCalled {
            tool: Some("echo"),
            outcome: "ok",
            arguments: Some(r#"{"text":"hi"}"#),
        };
        let line = written(&actor, &called);
        for (member, value) in [
            ("principal", "alice"),
            ("client", "suite"),
            ("session", "0011aabb"),
            ("address", "192.0.2.1"),
            ("agent", "a \"b\"\n"),
            ("method", "tools/call"),
            ("tool", "echo"),
            ("outcome", "ok"),
        ] {
            assert_eq!(line[member], value, "{line}");
        }
        assert_eq!(line["arguments"]["text"], "hi");
        let of = |act: Act<'_>| {
            let line = written(&Actor::default(), &act);
            (
                line["event"].clone(),
                line["reason"].clone(),
                line["outcome"].clone(),
            )
        };
        let text = |text: &str| Value::from(text);
        let scopes = Act::ScopeDenied {
            scopes: "mcp:write",
            tool: None,
        };
        assert_eq!(of(scopes), (text("scope_denied"), text("mcp:write"), Value::Null));
        let keys = Act::KeysChanged { issuer: "https://a" };
        assert_eq!(of(keys), (text("keys_changed"), text("https://a"), Value::Null));
        let certificate = Act::CertificateChanged { outcome: "served" };
        assert_eq!(
            of(certificate),
            (text("certificate_changed"), Value::Null, text("served"))
        );
        let limits = Act::LimitsLocal { local: true };
        assert_eq!(of(limits), (text("limits_local"), Value::Null, text("begun")));
        let limits = Act::LimitsLocal { local: false };
        assert_eq!(of(limits), (text("limits_local"), Value::Null, text("over")));
        let admin = Act::Admin {
            command: "sessions end",
        };
        assert_eq!(of(admin), (text("admin"), text("sessions end"), Value::Null));
        let reasons = [EndedBy::Client, EndedBy::Expiry, EndedBy::Operator].map(EndedBy::label);
        assert_eq!(reasons, ["client", "expiry", "operator"]);
    }
}

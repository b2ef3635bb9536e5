//! What a handler may want to know of the HTTP request that brought a call. It can be stored, so that a call
//! that another node runs again sees what the first run saw.

use std::fmt;
use std::sync::{Arc, OnceLock};

/// What a request's headers have together, as a rule.
const USUAL_BYTES: usize = 512;

/// Headers that are credentials, or name one. No handler sees them, and no store keeps them. The principal is in
/// [`Caller::principal`](super::Caller::principal), and the session is [`Session`](super::Session).
const SECRET: [&str; 14] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "mcp-session-id",
    "last-event-id",
    // What gateways and proxies in front are known to pass on.
    "api-key",
    "x-api-key",
    "x-auth-token",
    "x-access-token",
    "x-forwarded-access-token",
    "x-amzn-oidc-accesstoken",
    "x-amzn-oidc-data",
    "cf-access-jwt-assertion",
    "x-goog-iap-jwt-assertion",
];

/// A request's headers, as they came. They are copied only when somebody wants to know them: most calls never
/// ask.
pub(crate) trait Headers: Send + Sync + 'static {
    /// Gives name and value of each.
    fn each(&self, give: &mut dyn FnMut(&str, &str));
}

/// The HTTP headers of a request, without credentials. Clones share them.
///
/// ```
/// use anynode::session::RequestInfo;
///
/// let info = RequestInfo::of([("X-Tenant", "blue"), ("Authorization", "Bearer secret")]);
/// assert_eq!(info.header("x-tenant"), Some("blue"));
/// assert_eq!(info.header("authorization"), None);
/// ```
#[derive(Clone, Default)]
pub struct RequestInfo(Option<Arc<SharedHeaders<dyn Headers>>>);

struct SharedHeaders<H: ?Sized> {
    /// `name: value` in a line of its own for each; names in lower case.
    lines: OnceLock<Box<str>>,
    headers: H,
}

impl RequestInfo {
    /// The most bytes of headers that are kept, name and value of each. A header that does not fit is left
    /// out.
    pub const BYTES_MAX: usize = 8 << 10;

    /// That of a request with these headers, but for credentials and what has line breaks. At most
    /// [`BYTES_MAX`](Self::BYTES_MAX) are kept.
    pub fn of<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut lines = HeaderLines::default();
        for (name, value) in headers {
            lines.push(name, value);
        }
        Self::from_lines(&lines.0)
    }

    /// The same of headers that are copied only when they are asked for.
    pub(crate) fn later(headers: impl Headers) -> Self {
        Self(Some(Arc::new(SharedHeaders {
            lines: OnceLock::new(),
            headers,
        })))
    }

    /// The value of a header, whose name may be written in any case: the first, if it came more than once.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers();
        headers.find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value))
    }

    /// All headers, each name in lower case with its value.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.as_lines().lines().filter_map(|line| line.split_once(": "))
    }

    /// The text that is stored: a line for each header.
    pub(crate) fn as_lines(&self) -> &str {
        let Some(kept) = &self.0 else { return "" };
        kept.lines.get_or_init(|| {
            let mut lines = HeaderLines(String::with_capacity(USUAL_BYTES));
            kept.headers.each(&mut |name, value| lines.push(name, value));
            lines.0.into_boxed_str()
        })
    }

    /// What was stored.
    pub(crate) fn from_lines(lines: &str) -> Self {
        if lines.is_empty() {
            return Self::default();
        }
        Self(Some(Arc::new(SharedHeaders {
            lines: OnceLock::from(Box::from(lines)),
            headers: (),
        })))
    }
}

/// Those whose lines are known.
impl Headers for () {
    fn each(&self, _give: &mut dyn FnMut(&str, &str)) {}
}

#[derive(Default)]
struct HeaderLines(String);

impl HeaderLines {
    fn push(&mut self, name: &str, value: &str) {
        let Self(lines) = self;
        let start = lines.len();
        if start + name.len() + value.len() + 3 > RequestInfo::BYTES_MAX {
            return;
        }
        lines.push_str(name);
        let secret = {
            let name = lines.get_mut(start..).unwrap_or_default();
            name.make_ascii_lowercase();
            SECRET.contains(&&*name)
        };
        if secret || value.contains('\n') {
            lines.truncate(start);
            return;
        }
        lines.push_str(": ");
        lines.push_str(value);
        lines.push('\n');
    }
}

impl PartialEq for RequestInfo {
    fn eq(&self, other: &Self) -> bool {
        self.as_lines() == other.as_lines()
    }
}

impl Eq for RequestInfo {}

/// Values are not printed: a header may hold a secret that this program does not know of.
impl fmt::Debug for RequestInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.headers().map(|(name, _)| name))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_in_any_case_and_survive_the_store() {
        let info = RequestInfo::of([("X-Tenant", "blue: sky"), ("accept", "a/b"), ("X-TENANT", "red")]);
        let stored = RequestInfo::from_lines(info.as_lines());
        assert_eq!(stored, info);
        assert_eq!(stored.header("x-tenant"), Some("blue: sky"));
        assert_eq!(stored.headers().count(), 3);
        assert_eq!(stored.header("x"), None);
    }

    #[test]
    fn credentials_are_not_kept_nor_values_printed() {
        let info = RequestInfo::of(SECRET.map(|name| (name, "s3cret")));
        assert_eq!(info.headers().count(), 0);
        let info = RequestInfo::of([("x-key", "s3cret"), ("x-broken", "a\nauthorization: s3cret")]);
        assert_eq!(format!("{info:?}"), r#"{"x-key"}"#);
        assert_eq!(info.header("authorization"), None);
    }

    struct Came(&'static [(&'static str, &'static str)]);

    impl Headers for Came {
        fn each(&self, give: &mut dyn FnMut(&str, &str)) {
            for (name, value) in self.0 {
                give(name, value);
            }
        }
    }

    #[test]
    fn headers_that_are_copied_later_are_the_same() {
        const CAME: [(&str, &str); 2] = [("X-Tenant", "blue"), ("cookie", "s3cret")];
        let later = RequestInfo::later(Came(&CAME));
        assert_eq!(later.clone().header("x-tenant"), Some("blue"));
        assert_eq!(later, RequestInfo::of(CAME));
        assert_eq!(RequestInfo::later(Came(&[])), RequestInfo::default());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let long = "x".repeat(RequestInfo::BYTES_MAX);
        let info = RequestInfo::of([("a", "1"), ("b", &long), ("c", "2")]);
        assert_eq!(info.headers().collect::<Vec<_>>(), [("a", "1"), ("c", "2")]);
    }
}

//! The user that deploy/README.md recommends: nodes of tests are that user, so that the page and the program
//! cannot differ.

const GUIDE: &str = include_str!("../../../../deploy/README.md");
const COMMAND: &str = "redis-cli ACL SETUSER mcp reset on '>PASSWORD'";
/// What keys and channels of tests start with. A star stands for a number.
const PREFIXES: [&str; 3] = ["", "it*:", "other:"];

/// The name of that user.
pub(crate) const USER: &str = "mcp";
/// Its password in tests.
pub(crate) const PASSWORD: &str = "least";

/// What stands behind the user's name and password: patterns of keys and channels, and commands.
pub(crate) fn documented() -> Vec<&'static str> {
    let (_, rest) = GUIDE
        .split_once(COMMAND)
        .expect("deploy/README.md names the user");
    let (rules, _) = rest.split_once("```").expect("the command ends");
    let words = rules.split_whitespace().filter(|word| *word != "\\");
    words.map(|word| word.trim_matches('\'')).collect()
}

/// The same, for the prefixes of tests.
pub(crate) fn rules() -> Vec<String> {
    let mut rules = Vec::new();
    for rule in documented() {
        match rule.split_at(1) {
            (kind @ ("~" | "&"), pattern) => {
                rules.extend(PREFIXES.map(|prefix| format!("{kind}{prefix}{pattern}")));
            }
            _ => rules.push(rule.to_owned()),
        }
    }
    rules
}

/// The arguments of `redis-server` that make the user.
pub(super) fn arguments() -> Vec<String> {
    let password = format!(">{PASSWORD}");
    let user = ["--user", USER, "on", &password].map(str::to_owned);
    user.into_iter().chain(rules()).collect()
}

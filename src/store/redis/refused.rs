//! What an error of Redis means: it is away, it refuses, or it holds what cannot be read.

use fred::error::{Error as FredError, ErrorKind};

use crate::store::{StoreError, WhyRefused};

/// The first word of what Redis answers, and why it then refuses. Scripts pass on what their commands are
/// answered.
const REFUSALS: [(&str, WhyRefused); 14] = [
    ("OOM", WhyRefused::Full),
    ("READONLY", WhyRefused::ReadOnly),
    ("NOREPLICAS", WhyRefused::TooFewReplicas),
    ("MISCONF", WhyRefused::SaveFailed),
    ("NOAUTH", WhyRefused::NotPermitted),
    ("NOPERM", WhyRefused::NotPermitted),
    ("WRONGPASS", WhyRefused::NotPermitted),
    ("LOADING", WhyRefused::NotReady),
    ("BUSY", WhyRefused::NotReady),
    ("MASTERDOWN", WhyRefused::NotReady),
    ("CLUSTERDOWN", WhyRefused::NotReady),
    ("TRYAGAIN", WhyRefused::NotReady),
    ("MOVED", WhyRefused::NotReady),
    ("ASK", WhyRefused::NotReady),
];

/// What Redis answers when a key holds another type of value than what is asked for.
const OTHER_TYPE: &str = "WRONGTYPE";

pub(super) fn store_error(error: FredError) -> StoreError {
    let word = first_word(error.details());
    if word == OTHER_TYPE {
        return StoreError::Corrupt(error.details().to_owned());
    }
    let why = why(word);
    match (error.kind(), why) {
        (_, Some(why)) => refused(why, error),
        (ErrorKind::Parse | ErrorKind::InvalidArgument | ErrorKind::NotFound, None) => {
            StoreError::Corrupt(error.details().to_owned())
        }
        // What else Redis answers; errors of the connection do not begin so.
        (_, None) if error.details().starts_with("ERR ") => refused(WhyRefused::Other, error),
        (_, None) => StoreError::Unreachable(Box::new(error)),
    }
}

fn refused(why: WhyRefused, error: FredError) -> StoreError {
    StoreError::Refused {
        why,
        source: Box::new(error),
    }
}

/// What kind of error it is, as Redis says. Redis 6 puts a script's place before what its command was
/// answered: `ERR Error running script (call to f_0): @user_script:1: @user_script: 1: -OOM command not
/// allowed`.
fn first_word(details: &str) -> &str {
    let answer = if details.starts_with("ERR Error running script") {
        details.split(": -").nth(1).unwrap_or_default()
    } else {
        details
    };
    answer.split(' ').next().unwrap_or_default()
}

/// Why Redis refuses, if what it says is known.
fn why(word: &str) -> Option<WhyRefused> {
    let known = REFUSALS.iter().find(|(known, _)| *known == word);
    known.map(|(_, why)| *why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(kind: ErrorKind, details: &'static str) -> &'static str {
        store_error(FredError::new(kind, details)).label()
    }

    /// M8: a Redis that is full, read-only or short of replicas is not out of reach.
    #[test]
    fn what_redis_refuses_is_called_by_its_name() {
        for (details, name) in [
            (
                "WRONGTYPE Operation against a key holding the wrong kind of value",
                "corrupt",
            ),
            (
                "ERR Error running script (call to f_5f): @user_script:1: @user_script: 1: -WRONGTYPE Operation against a key",
                "corrupt",
            ),
            (
                "OOM command not allowed when used memory > 'maxmemory'. script: 5f, on @user_script:3.",
                "full",
            ),
            (
                "ERR Error running script (call to f_5f): @user_script:3: @user_script: 3: -OOM command not allowed",
                "full",
            ),
            (
                "READONLY You can't write against a read only replica.",
                "read_only",
            ),
            (
                "NOREPLICAS Not enough good replicas to write.",
                "too_few_replicas",
            ),
            ("MISCONF Redis is configured to save RDB snapshots", "save_failed"),
            (
                "NOPERM this user has no permissions to run the 'get' command",
                "not_permitted",
            ),
            ("LOADING Redis is loading the dataset in memory", "not_ready"),
            (
                "ERR Error running script (call to f_5f): @user_script:3: attempt to index",
                "refused",
            ),
            ("ERR unknown command", "refused"),
        ] {
            assert_eq!(label(ErrorKind::Unknown, details), name, "{details}");
        }
        assert_eq!(
            label(ErrorKind::Auth, "NOAUTH Authentication required."),
            "not_permitted"
        );
    }

    #[test]
    fn what_no_redis_answered_is_an_outage() {
        for (kind, details) in [
            (ErrorKind::IO, "not connected"),
            (ErrorKind::Timeout, "Request timed out."),
            (ErrorKind::Canceled, "Canceled."),
            (ErrorKind::Unknown, ""),
        ] {
            assert_eq!(label(kind, details), "unreachable", "{details}");
        }
        assert_eq!(
            label(ErrorKind::InvalidArgument, "WRONGTYPE Operation against a key"),
            "corrupt"
        );
    }

    #[test]
    fn the_cause_is_kept() {
        let error = store_error(FredError::new(ErrorKind::Unknown, "OOM command not allowed"));
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(error.to_string(), "the store is full");
        assert!(cause.is_some_and(|cause| cause.contains("OOM")));
    }
}

//! What Redis says, read from its socket.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;

/// What Redis answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// No such thing.
    Nil,
    /// A number.
    Int(i64),
    /// A simple or bulk string.
    Text(String),
    /// Several answers.
    List(Vec<Reply>),
    /// An error, such as `WRONGTYPE ...`.
    Error(String),
}

impl Reply {
    /// The text, of text or number; fails the test for anything else.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Int(number) => number.to_string(),
            other => panic!("expected text of Redis, got {other:?}"),
        }
    }

    /// The number; fails the test for anything else.
    pub(crate) fn int(&self) -> i64 {
        match self {
            Self::Int(number) => *number,
            other => panic!("expected a number of Redis, got {other:?}"),
        }
    }

    /// The texts of a list, such as that of `KEYS`; fails the test for anything else.
    pub(crate) fn texts(&self) -> Vec<String> {
        match self {
            Self::List(list) => list.iter().map(Self::text).collect(),
            other => panic!("expected a list of Redis, got {other:?}"),
        }
    }
}

/// Reads one RESP 2 answer.
pub(super) async fn read_reply(stream: &mut BufReader<TcpStream>) -> std::io::Result<Reply> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let line = line.trim_end();
    let (kind, rest) = line.split_at(1);
    let number = || -> i64 { rest.parse().unwrap_or_else(|_| panic!("not RESP: {line}")) };
    Ok(match kind {
        "+" => Reply::Text(rest.into()),
        "-" => Reply::Error(rest.into()),
        ":" => Reply::Int(number()),
        "$" => match usize::try_from(number()) {
            Err(_) => Reply::Nil,
            Ok(length) => {
                let mut bytes = vec![0; length + 2];
                stream.read_exact(&mut bytes).await?;
                bytes.truncate(length);
                Reply::Text(String::from_utf8_lossy(&bytes).into_owned())
            }
        },
        "*" => match usize::try_from(number()) {
            Err(_) => Reply::Nil,
            Ok(length) => {
                let mut list = Vec::with_capacity(length);
                for _ in 0..length {
                    list.push(Box::pin(read_reply(stream)).await?);
                }
                Reply::List(list)
            }
        },
        _ => panic!("not RESP: {line}"),
    })
}

//! Keys have TTLs without exception: every Redis of a test is walked when the test is done with it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// How long a Redis may take to answer while its test ends.
const PATIENCE: Duration = Duration::from_secs(10);

/// Fails the test when the Redis on this port holds a key that does not end by itself, unless the test fails
/// already.
///
/// One that has gone, or lets in only those with credentials or certificates, is not walked: their tests are
/// about connecting, and leave that to the others.
#[expect(
    clippy::print_stdout,
    reason = "a Redis that is not walked is not passed over in silence"
)]
pub(crate) fn assert_that_all_keys_end(port: u16) {
    if std::thread::panicking() {
        return;
    }
    let Ok(mut redis) = Asked::connect(port) else {
        return;
    };
    match endless_keys(&mut redis) {
        Ok(endless) => assert!(endless.is_empty(), "keys without a TTL: {endless:?}"),
        Err(why) => println!("the Redis on port {port} was not walked for keys without a TTL: {why}"),
    }
}

fn endless_keys(redis: &mut Asked) -> Result<Vec<String>, String> {
    let (mut endless, mut cursor) = (Vec::new(), "0".to_owned());
    loop {
        let found = redis.ask(&["SCAN", &cursor, "COUNT", "1000"])?;
        let (next, keys) = found.split_first().ok_or("SCAN answered nothing")?;
        for key in keys {
            if redis.ask(&["PTTL", key])? == ["-1"] {
                endless.push(key.clone());
            }
        }
        cursor.clone_from(next);
        if cursor == "0" {
            return Ok(endless);
        }
    }
}

/// A connection that is asked one thing after the other. Blocking, because it is used while things are
/// dropped.
struct Asked(BufReader<TcpStream>);

impl Asked {
    fn connect(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// The texts and numbers of an answer, in order, however they are nested.
    fn ask(&mut self, words: &[&str]) -> Result<Vec<String>, String> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        let sent = self.0.get_mut().write_all(request.as_bytes());
        sent.map_err(|error| error.to_string())?;
        let mut texts = Vec::new();
        self.read(&mut texts)?;
        Ok(texts)
    }

    fn read(&mut self, texts: &mut Vec<String>) -> Result<(), String> {
        let mut line = String::new();
        self.0.read_line(&mut line).map_err(|error| error.to_string())?;
        let line = line.trim_end();
        let (kind, rest) = line.split_at_checked(1).ok_or("no answer")?;
        let number = || rest.parse::<usize>().map_err(|error| format!("{line}: {error}"));
        match kind {
            ":" | "+" => texts.push(rest.to_owned()),
            "$" => {
                let mut bytes = vec![0; number()? + 2];
                self.0.read_exact(&mut bytes).map_err(|error| error.to_string())?;
                bytes.truncate(bytes.len() - 2);
                texts.push(String::from_utf8_lossy(&bytes).into_owned());
            }
            "*" => {
                for _ in 0..number()? {
                    self.read(texts)?;
                }
            }
            _ => return Err(line.to_owned()),
        }
        Ok(())
    }
}

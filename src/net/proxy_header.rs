//! The PROXY protocol: a proxy's connection begins with the address of its client, in text (version 1) or in
//! binary (version 2).
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>

use std::io;
use std::net::IpAddr;

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What a header of version 1 begins with.
const TEXT: &[u8] = b"PROXY ";
/// The longest one, with its line end (section 2.1).
const TEXT_BYTES_MAX: usize = 107;
/// What a header of version 2 begins with.
const BINARY: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// That, its command, its family, and the length of the rest.
const BINARY_FIXED_BYTES: usize = 16;
/// The longest rest: addresses take 216 bytes at most, and what proxies add of themselves some hundreds.
const BINARY_REST_BYTES_MAX: usize = 4096 - BINARY_FIXED_BYTES;
/// What shows which version it is. No header of either version is shorter.
pub(super) const BEGINNING_BYTES: usize = BINARY.len();

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proxied {
    /// That of the client at this address.
    Client(IpAddr),
    /// The proxy's own, or one whose client it cannot tell.
    Own,
}

impl Proxied {
    /// Its name in metrics.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Client(_) => "client",
            Self::Own => "own",
        }
    }
}

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeaderFault {
    /// The connection begins otherwise.
    #[error("the connection does not begin with a header of the PROXY protocol")]
    Missing,
    /// It breaks the rules of its version, or is too long.
    #[error("the header of the PROXY protocol is malformed, or longer than 4 KiB")]
    Malformed,
    /// The connection has ended.
    #[error("the connection ended before the header of the PROXY protocol was there")]
    Ended(#[from] io::Error),
    /// It did not come in time.
    #[error("the header of the PROXY protocol did not come in time")]
    Late,
}

impl HeaderFault {
    /// Its name in metrics.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Ended(_) => "closed",
            Self::Late => "late",
        }
    }
}

/// Whether bytes are the beginning of a header, as far as they go.
pub(super) fn is_beginning(bytes: &[u8]) -> bool {
    bytes.starts_with(TEXT) || bytes.starts_with(BINARY)
}

/// Reads the header that a connection begins with, and not one byte of what follows.
///
/// # Errors
/// [`HeaderFault`]; then the connection is of no use.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Proxied, HeaderFault> {
    let mut header = vec![0; BEGINNING_BYTES];
    stream.read_exact(&mut header).await?;
    if header == BINARY {
        read_binary(stream, &mut header).await?;
    } else if header.starts_with(TEXT) {
        read_line(stream, &mut header).await?;
    } else {
        return Err(HeaderFault::Missing);
    }
    let parsed = ProxyHeader::parse(&header, ParseConfig::default());
    let (parsed, length) = parsed.map_err(|_error| HeaderFault::Malformed)?;
    if length != header.len() {
        return Err(HeaderFault::Malformed);
    }
    let client = parsed.proxied_address().map(|address| address.source.ip());
    Ok(client.map_or(Proxied::Own, Proxied::Client))
}

/// Reads the rest of a header whose length is in it.
async fn read_binary(stream: &mut (impl AsyncRead + Unpin), header: &mut Vec<u8>) -> Result<(), HeaderFault> {
    header.resize(BINARY_FIXED_BYTES, 0);
    let (_, fixed) = header.split_at_mut(BEGINNING_BYTES);
    stream.read_exact(fixed).await?;
    let &mut [_command, _family, high, low] = fixed else {
        return Err(HeaderFault::Malformed);
    };
    let rest = usize::from(u16::from_be_bytes([high, low]));
    if rest > BINARY_REST_BYTES_MAX {
        return Err(HeaderFault::Malformed);
    }
    header.resize(BINARY_FIXED_BYTES + rest, 0);
    let (_, rest) = header.split_at_mut(BINARY_FIXED_BYTES);
    stream.read_exact(rest).await?;
    Ok(())
}

/// Reads on to the end of the line, byte by byte: what follows is the client's.
async fn read_line(stream: &mut (impl AsyncRead + Unpin), header: &mut Vec<u8>) -> Result<(), HeaderFault> {
    while header.last() != Some(&b'\n') {
        if header.len() == TEXT_BYTES_MAX {
            return Err(HeaderFault::Malformed);
        }
        header.push(stream.read_u8().await?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proxy_header::ProxiedAddress;

    use super::*;
    use crate::random::number;

    const FOLLOWS: &[u8] = b"GET / HTTP/1.1\r\n";

    /// What is read of a header, and what is left after it.
    async fn read_of(header: &[u8]) -> (Result<Proxied, HeaderFault>, Vec<u8>) {
        let bytes = [header, FOLLOWS].concat();
        let mut left = bytes.as_slice();
        let read = read(&mut left).await;
        (read, left.to_vec())
    }

    async fn reads(header: &[u8], proxied: Proxied) {
        let (read, left) = read_of(header).await;
        let shown = String::from_utf8_lossy(header);
        assert_eq!(
            read.unwrap_or_else(|fault| panic!("{shown}: {fault}")),
            proxied,
            "{shown}"
        );
        assert_eq!(left, FOLLOWS, "{shown}");
    }

    async fn refuses(header: &[u8], label: &str) {
        let (read, _) = read_of(header).await;
        let shown = String::from_utf8_lossy(header);
        assert_eq!(read.expect_err(&shown).label(), label, "{shown}");
    }

    fn client(address: &str) -> Proxied {
        Proxied::Client(address.parse().unwrap())
    }

    /// A header of version 2: its command, its family, and the rest.
    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&BINARY[..], &[command, family], &length, rest].concat()
    }

    fn of_ipv4() -> Vec<u8> {
        binary(0x21, 0x11, &[192, 0, 2, 1, 10, 0, 0, 1, 0x80, 0, 0x0b, 0xb8])
    }

    #[tokio::test]
    async fn the_client_is_read_from_both_versions_and_what_follows_is_left() {
        reads(
            b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n",
            client("192.0.2.1"),
        )
        .await;
        reads(b"PROXY TCP6 2001:db8::1 ::1 56324 443\r\n", client("2001:db8::1")).await;
        reads(&of_ipv4(), client("192.0.2.1")).await;
        let address = ProxiedAddress::stream("[2001:db8::1]:5".parse().unwrap(), "[::1]:6".parse().unwrap());
        let mut of_ipv6 = [0; 64];
        let length = ProxyHeader::with_address(address)
            .encode_to_slice_v2(&mut of_ipv6)
            .unwrap();
        reads(&of_ipv6[..length], client("2001:db8::1")).await;
        // HAProxy and AWS add a checksum, an id, or the name of an endpoint.
        let mut with_more = vec![192, 0, 2, 1, 10, 0, 0, 1, 0x80, 0, 0x0b, 0xb8, 0xea, 1, 0];
        with_more.extend([b'x'; 256]);
        reads(&binary(0x21, 0x11, &with_more), client("192.0.2.1")).await;
    }

    #[tokio::test]
    async fn a_proxys_own_connection_is_its_own() {
        reads(b"PROXY UNKNOWN\r\n", Proxied::Own).await;
        reads(b"PROXY UNKNOWN ffff:f::1 ffff::1 65535 65535\r\n", Proxied::Own).await;
        reads(&binary(0x20, 0x00, &[]), Proxied::Own).await;
        reads(&binary(0x21, 0x00, &[]), Proxied::Own).await;
        reads(&binary(0x21, 0x31, &[0; 216]), Proxied::Own).await;
        // What a proxy asks for itself names no client, also if it has an address.
        let of_itself = binary(0x20, 0x11, &[192, 0, 2, 1, 10, 0, 0, 1, 0x80, 0, 0x0b, 0xb8]);
        reads(&of_itself, Proxied::Own).await;
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        refuses(b"", "missing").await;
        refuses(b"proxy TCP4 192.0.2.1 10.0.0.1 1 2\r\n", "missing").await;
        refuses(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03abc", "missing").await;
        refuses(b"PROXY TCP4 192.0.2.1.5 10.0.0.1 1 2\r\n", "malformed").await;
        refuses(b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\n", "malformed").await;
        refuses(b"PROXY TCP4 2001:db8::1 ::1 1 2\r\n", "malformed").await;
        refuses(b"PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n", "malformed").await;
        refuses(
            &[&b"PROXY UNKNOWN "[..], &[b'x'; TEXT_BYTES_MAX]].concat(),
            "malformed",
        )
        .await;
        refuses(&binary(0x22, 0x11, &[0; 12]), "malformed").await;
        refuses(&binary(0x21, 0x11, &[0; 4]), "malformed").await;
        refuses(&binary(0x11, 0x11, &[0; 12]), "malformed").await;
        refuses(&binary(0x21, 0x11, &[0; BINARY_REST_BYTES_MAX + 1]), "malformed").await;
        reads(&binary(0x21, 0x00, &[0; BINARY_REST_BYTES_MAX]), Proxied::Own).await;
    }

    #[tokio::test]
    async fn a_header_that_breaks_off_is_refused() {
        for whole in [&b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n"[..], &of_ipv4()] {
            for end in 0..whole.len() {
                let fault = read(&mut &whole[..end]).await.unwrap_err();
                assert_eq!(fault.label(), "closed", "{end}");
            }
        }
    }

    /// Random bytes are read within the bound and without a panic.
    #[tokio::test]
    async fn bytes_at_random_do_no_harm() {
        let line = b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n".to_vec();
        for seed in [line, of_ipv4(), binary(0x20, 0, &[])] {
            for _ in 0..20_000 {
                let mut bytes = [&seed[..], &[0; 300]].concat();
                for _ in 0..=number(5) {
                    let place = usize::try_from(number(seed.len() as u64)).unwrap();
                    let [byte] = crate::random::bytes();
                    bytes[place] = byte;
                }
                let mut left = bytes.as_slice();
                let outcome = read(&mut left).await;
                let taken = bytes.len() - left.len();
                assert!(taken <= BINARY_FIXED_BYTES + BINARY_REST_BYTES_MAX, "{outcome:?}");
            }
        }
    }

    #[test]
    fn a_beginning_is_known_by_its_first_bytes() {
        assert!(is_beginning(b"PROXY TCP4 1"));
        assert!(is_beginning(BINARY));
        for other in [&b""[..], b"POST /mcp HT", b"PROXY", b"\r\n\r\nGET / H"] {
            assert!(!is_beginning(other));
        }
    }
}

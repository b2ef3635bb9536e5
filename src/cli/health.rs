//! `mcp-server health`: asks a running node whether it is well, so that containers need no curl.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use url::{Host, Url};

use super::{Exit, print};
use crate::config::{ListenAddress, Settings};

mod tls;
mod words;

use tls::Trust;

/// How long the whole exchange may take: health checks repeat every few seconds.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024; // a node's is 400 B

/// What `health` takes.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct HealthArguments {
    /// The node to ask, if not the one in the settings.
    #[arg(
        long,
        value_name = "URL",
        help = "Ask this URL, such as http://10.0.0.5:3000/readyz, https://mcp.example.com/readyz or unix:/run/mcp.sock \
                [default: /health where the settings listen]"
    )]
    pub(crate) url: Option<String>,
    /// The authorities to trust.
    #[arg(
        long,
        value_name = "FILE",
        help = "Trust the authorities in this PEM file for https [default: the system's; the certificate in \
                tls.cert_file is trusted in any case]"
    )]
    pub(crate) ca: Option<PathBuf>,
    /// Print the node's own answer, in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Why no node answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HealthError {
    /// The URL cannot be asked.
    #[error("--url: expected http://host[:port][/path], https://host[:port][/path] or unix:/path/to/socket")]
    Url,
    /// Nobody listens there.
    #[error("nothing listens at {place}")]
    Connect {
        /// Where.
        place: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file with certificates cannot be read.
    #[error("{what}: {why}")]
    Trust {
        /// The flag or setting that names it.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// What listens there does not speak TLS, or shows a certificate that is not to be trusted.
    #[error("no TLS with {place}: trust its authority with --ca, or see whether it speaks https")]
    Tls {
        /// Where.
        place: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What listens there does not speak HTTP.
    #[error("no HTTP answer")]
    Http(#[from] hyper::Error),
    /// Only a part of the answer came, or too much.
    #[error("the answer broke off, or is longer than {ANSWER_BYTES_MAX} bytes")]
    Body(#[source] Box<dyn Error + Send + Sync>),
    /// The path cannot be asked for.
    #[error("not a path: {0}")]
    Request(#[from] http::Error),
    /// It took too long.
    #[error("no answer within {TIMEOUT:?}")]
    Timeout,
}

/// Asks, prints in words how the node is, and succeeds if it is well.
///
/// # Errors
/// [`HealthError`] when there is no answer.
pub(crate) async fn run(arguments: &HealthArguments, settings: &Settings) -> anyhow::Result<Exit> {
    let target = match &arguments.url {
        Some(url) => HealthTarget::parse(url).ok_or(HealthError::Url)?,
        None => HealthTarget::of(settings),
    };
    let trust = Trust::of(arguments.ca.as_deref(), settings);
    let answer = tokio::time::timeout(TIMEOUT, target.ask(&trust)).await;
    let answer = answer.unwrap_or(Err(HealthError::Timeout))?;
    print::remark(match arguments.json {
        true => words::in_json(&answer),
        false => words::in_words(&answer),
    });
    Ok(match answer.status {
        StatusCode::OK => Exit::Ok,
        _ => Exit::Failure,
    })
}

/// What a node has answered.
#[derive(Debug)]
struct HealthAnswer {
    status: StatusCode,
    body: Bytes,
}

/// The node to ask, and the path.
#[derive(Debug, PartialEq, Eq)]
struct HealthTarget {
    place: Endpoint,
    /// Whether it speaks TLS.
    secure: bool,
    /// The `Host` header.
    host: String,
    path: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Endpoint {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl Endpoint {
    /// A node that listens on all addresses is reached on loopback.
    fn reached(host: &str, port: u16) -> Self {
        let host = match host {
            "0.0.0.0" => "127.0.0.1",
            "::" => "::1",
            host => host,
        };
        Self::Tcp(host.into(), port)
    }
}

impl HealthTarget {
    /// The node that runs with these settings on this machine.
    fn of(settings: &Settings) -> Self {
        let place = match ListenAddress::parse(&settings.http.probe_listen) {
            // `/health` is only there.
            Some(ListenAddress::Unix(path)) => Endpoint::Unix(path.into()),
            Some(ListenAddress::Tcp(host, port)) => Endpoint::reached(host, port),
            None => match settings.host.strip_prefix("unix:") {
                Some(path) => Endpoint::Unix(path.into()),
                None => Endpoint::reached(&settings.host, settings.port),
            },
        };
        Self {
            secure: settings.tls.is_on() && settings.http.probe_listen.is_empty(),
            place,
            // Allowed in spite of `http.allowed_hosts`.
            host: "localhost".into(),
            path: "/health".into(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Some(Self {
                place: Endpoint::Unix(path.into()),
                secure: false,
                host: "localhost".into(),
                path: "/health".into(),
            });
        }
        let url = Url::parse(text).ok()?;
        let secure = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let host = match url.host()? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let asked = match url.path() {
            "/" => "/health",
            path => path,
        };
        Some(Self {
            place: Endpoint::Tcp(host, url.port_or_known_default()?),
            secure,
            host: url.authority().rsplit('@').next()?.to_owned(),
            path: asked.to_owned(),
        })
    }

    async fn ask(&self, trust: &Trust<'_>) -> Result<HealthAnswer, HealthError> {
        let refused = |place: String| |source| HealthError::Connect { place, source };
        match &self.place {
            Endpoint::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await;
                let stream = stream.map_err(refused(format!("{host} port {port}")))?;
                if !self.secure {
                    return self.ask_over(stream).await;
                }
                let stream = trust
                    .secure(stream, host)
                    .await?
                    .map_err(|source| HealthError::Tls {
                        place: format!("{host} port {port}"),
                        source,
                    })?;
                self.ask_over(stream).await
            }
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path).await;
                self.ask_over(stream.map_err(refused(path.display().to_string()))?)
                    .await
            }
        }
    }

    async fn ask_over<S>(&self, stream: S) -> Result<HealthAnswer, HealthError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let request = Request::get(&self.path)
            .header(header::HOST, &self.host)
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let answered = async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            Ok(HealthAnswer {
                status: head.status,
                body: body.map_err(HealthError::Body)?.to_bytes(),
            })
        };
        tokio::pin!(answered, connection);
        // The connection moves only while it is polled. When it ends first, its end is the answer.
        tokio::select! {
            answer = &mut answered => answer,
            _closed = &mut connection => answered.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    fn settings(host: &str, port: u16) -> Settings {
        Settings {
            host: host.into(),
            port,
            ..Settings::default()
        }
    }

    #[test]
    fn a_node_that_listens_everywhere_is_asked_here() {
        let place = |host: &str| HealthTarget::of(&settings(host, 80)).place;
        assert_eq!(place("0.0.0.0"), Endpoint::Tcp("127.0.0.1".into(), 80));
        assert_eq!(place("::"), Endpoint::Tcp("::1".into(), 80));
        assert_eq!(
            place("unix:/run/mcp.sock"),
            Endpoint::Unix("/run/mcp.sock".into())
        );
    }

    #[test]
    fn health_is_asked_where_it_is_apart_from_clients() {
        let place = |address: &str| {
            let mut settings = settings("0.0.0.0", 80);
            settings.http.probe_listen = address.into();
            HealthTarget::of(&settings).place
        };
        assert_eq!(place("[::]:9090"), Endpoint::Tcp("::1".into(), 9090));
        assert_eq!(place("10.0.0.5:9090"), Endpoint::Tcp("10.0.0.5".into(), 9090));
        assert_eq!(
            place("unix:/run/probes.sock"),
            Endpoint::Unix("/run/probes.sock".into())
        );
        assert_eq!(place(""), Endpoint::Tcp("127.0.0.1".into(), 80));
    }

    #[test]
    fn urls_are_http_or_a_socket() {
        let target = HealthTarget::parse("http://[::1]:8080").unwrap();
        assert_eq!(target.place, Endpoint::Tcp("::1".into(), 8080));
        assert_eq!(
            (target.host.as_str(), target.path.as_str()),
            ("[::1]:8080", "/health")
        );
        let target = HealthTarget::parse("http://node/readyz").unwrap();
        assert_eq!(
            (target.place, target.path.as_str()),
            (Endpoint::Tcp("node".into(), 80), "/readyz")
        );
        assert_eq!(
            HealthTarget::parse("unix:/s").unwrap().place,
            Endpoint::Unix("/s".into())
        );
        let target = HealthTarget::parse("https://node").unwrap();
        assert!(
            target.secure && target.place == Endpoint::Tcp("node".into(), 443),
            "{target:?}"
        );
        assert_eq!(HealthTarget::parse("ftp://node"), None);
        assert_eq!(HealthTarget::parse("node:80"), None);
    }

    /// A server that gives its caller this answer, and keeps the connection open.
    fn answering(answer: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap();
            assert!(request[..read].starts_with(b"GET /health HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
            // Until the caller hangs up.
            stream.read(&mut request)
        });
        port
    }

    #[tokio::test]
    async fn the_exit_code_tells_whether_the_node_is_well() {
        let ask = |port| async move { run(&HealthArguments::default(), &settings("127.0.0.1", port)).await };
        let well = answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        assert_eq!(ask(well).await.unwrap(), Exit::Ok);
        let ill = answering("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(ask(ill).await.unwrap(), Exit::Failure);
        let length = ANSWER_BYTES_MAX + 1;
        let long = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{}",
            "x".repeat(length)
        );
        let long = answering(Box::leak(long.into_boxed_str()));
        let why_body = ask(long).await.unwrap_err().downcast::<HealthError>();
        assert!(matches!(why_body, Ok(HealthError::Body(_))), "{why_body:?}");
        let other = answering("SSH-2.0-OpenSSH\r\n");
        let why = |exit: anyhow::Result<Exit>| exit.unwrap_err().downcast::<HealthError>();
        assert!(matches!(why(ask(other).await), Ok(HealthError::Http(_))));
        let nobody = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        assert!(matches!(why(ask(nobody).await), Ok(HealthError::Connect { .. })));
    }
}

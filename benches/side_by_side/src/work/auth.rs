//! Quick calls by callers with credentials: what it costs to ask for them, by kind, and what a flood of bad ones takes from those
//! who have good ones.

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use serde::Serialize;

use crate::certificate::Certificate;
use crate::http::{Connection, Stream};
use crate::issuer::{Issuer, random_text};
use crate::load::{self, Client, Sample, Span};
use crate::mcp::{self, Caller, Numbered};
use crate::process::Process;
use crate::report::Rounds;
use crate::server::{Era, Server, Starter};

mod flood;

use flood::Flood;

/// How many callers there are, each with a connection, and in the legacy era a session, of its own.
pub const CALLERS: usize = 32;
/// How many tokens callers have where they have many: as many as `auth.cache_max` is by default.
const MANY: usize = 10_000;
/// So many verified tokens that none is dropped.
const CACHE_MAX_FOR_ALL: &str = "20000";
/// How long a token of one's own is, of those that are short.
const SHORT_BYTES: usize = 48;
/// As high as limits go: nobody reaches them.
const RATE_FAR_AWAY: &str = "1000000/s burst 1000000";
/// What an address may bring of tokens that nobody knows, where that is limited.
const FAILURES: &str = "10/s burst 100";

/// Who calls, and what is asked of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Credentials {
    /// None are asked for.
    None,
    /// A token of `auth.tokens`, of 48 bytes.
    Short,
    /// A token of `auth.tokens` that is as long as the JWTs.
    Long,
    /// A JWT for each caller, so all are known after their first request.
    Jwt,
    /// The same, and requests are counted.
    Limits,
    /// The same as [`Jwt`](Self::Jwt), over TLS.
    Tls,
    /// As many JWTs as verified ones are kept, in turn.
    Many,
    /// The same, and twice as many are kept.
    ManyKept,
    /// The same as [`Jwt`](Self::Jwt), while others bring tokens that nobody knows, at a steady pace.
    Flood,
    /// The same, as fast as they can, and such tokens are limited.
    FloodLimited,
}

impl Credentials {
    /// All of them, in the order of the tables. Those that are compared stand together.
    pub const ALL: [Self; 10] = [
        Self::None,
        Self::Short,
        Self::Long,
        Self::Jwt,
        Self::Limits,
        Self::Tls,
        Self::Many,
        Self::ManyKept,
        Self::Flood,
        Self::FloodLimited,
    ];

    /// What tables call it.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::None => "none asked for".into(),
            Self::Short => format!("static token, {SHORT_BYTES} bytes"),
            Self::Long => "static token, as long as the JWT".into(),
            Self::Jwt => "JWT, 1 KB".into(),
            Self::Limits => "JWT, `limit.principal`, `.address` and `.session`".into(),
            Self::Tls => "JWT, TLS".into(),
            Self::Many => format!("{MANY} JWTs in turn"),
            Self::ManyKept => format!("{MANY} JWTs in turn, `auth.cache_max` {CACHE_MAX_FOR_ALL}"),
            Self::Flood => format!("JWT, others bring {} bad tokens a second", flood::PER_SECOND),
            Self::FloodLimited => "JWT, others bring all they can, `limit.failures_address`".into(),
        }
    }

    /// What a node is told beside the tokens.
    fn settings(self) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::Limits => vec![
                ("MCP_LIMIT__PRINCIPAL", RATE_FAR_AWAY),
                ("MCP_LIMIT__ADDRESS", RATE_FAR_AWAY),
                ("MCP_LIMIT__SESSION", RATE_FAR_AWAY),
            ],
            Self::ManyKept => vec![("MCP_AUTH__CACHE_MAX", CACHE_MAX_FOR_ALL)],
            Self::FloodLimited => vec![("MCP_LIMIT__FAILURES_ADDRESS", FAILURES)],
            _ => Vec::new(),
        }
    }
}

/// What came of it in one era.
#[derive(Debug, Serialize)]
pub struct Auth {
    /// How callers speak.
    pub era: Era,
    /// Which server they called.
    pub server: Server,
    /// With these credentials.
    pub rows: Vec<Row>,
}

/// What came of one kind of credentials.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Which they were.
    pub credentials: Credentials,
    /// In words.
    pub name: String,
    /// One for each round.
    pub rounds: Rounds,
    /// How many bad tokens were refused each second, one figure for each round, if there were any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused_per_second: Vec<f64>,
}

impl Auth {
    /// What came of these credentials.
    #[must_use]
    pub fn of(&self, credentials: Credentials) -> Option<&Row> {
        self.rows.iter().find(|row| row.credentials == credentials)
    }
}

/// All kinds in each round, in the other order each time.
///
/// # Errors
/// When a caller is refused, or somebody else is not.
pub async fn measure(
    starter: &Starter,
    server: Server,
    era: Era,
    rounds: usize,
    span: Span,
) -> anyhow::Result<Auth> {
    let callers = Callers::new(era).await?;
    let mut rows = Credentials::ALL.map(|credentials| Row {
        credentials,
        name: credentials.name(),
        rounds: Rounds::default(),
        refused_per_second: Vec::new(),
    });
    for round in 0..rounds {
        let mut order: Vec<_> = rows.iter_mut().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for row in order {
            let (sample, refused) = callers
                .sample(starter, server, row.credentials, span)
                .await
                .with_context(|| row.name.clone())?;
            eprintln!(
                "  {:56} {:>8.0} /s  {:>6.1} µs",
                row.name, sample.per_second, sample.server_us
            );
            row.rounds.0.push(sample);
            row.refused_per_second.extend(refused);
        }
    }
    Ok(Auth {
        era,
        server,
        rows: rows.into(),
    })
}

/// Those who call, with all that they may bring. One token or more for each of them.
struct Callers {
    era: Era,
    issuer: Issuer,
    certificate: Certificate,
    short: Vec<String>,
    long: Vec<String>,
    jwts: Vec<String>,
    many: Vec<Vec<String>>,
    bad: Vec<String>,
}

impl Callers {
    async fn new(era: Era) -> anyhow::Result<Self> {
        let issuer = Issuer::start().await?;
        let jwts: Vec<_> = (0..CALLERS)
            .map(|user| issuer.token(&name_of(user)))
            .collect::<anyhow::Result<_>>()?;
        let length = jwts.first().map_or(0, String::len);
        let random = |bytes| {
            let tokens = (0..CALLERS).map(|_| random_text(bytes));
            tokens.collect::<anyhow::Result<Vec<_>>>()
        };
        let mut many = vec![Vec::new(); CALLERS];
        for number in 0..MANY {
            let caller = number % CALLERS;
            // A session belongs to one user, who may have many tokens; without one each token is another user's.
            let user = if era == Era::Legacy { caller } else { number };
            many[caller].push(issuer.token(&name_of(user))?);
        }
        Ok(Self {
            era,
            certificate: Certificate::new()?,
            short: random(SHORT_BYTES)?,
            long: random(length)?,
            jwts,
            many,
            bad: flood::bad_tokens(&issuer, length)?,
            issuer,
        })
    }

    /// Starts a server that asks for these credentials, lets all call it, and stops it.
    async fn sample(
        &self,
        starter: &Starter,
        server: Server,
        credentials: Credentials,
        span: Span,
    ) -> anyhow::Result<(Sample, Option<f64>)> {
        let settings = self.settings(credentials);
        let pairs: Vec<_> = settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .chain(credentials.settings())
            .collect();
        let running = starter.start_with(server, &pairs).await?;
        let process = &running.process;
        // Redis has next to nothing to do.
        let span = Span { awake: true, ..span };
        if credentials == Credentials::Tls {
            let connect = |_| self.certificate.connect(process.port);
            let connections = try_join_all((0..CALLERS).map(connect)).await?;
            let clients = self.clients(credentials, connections).await?;
            return Ok((load::run(clients, process, span).await?, None));
        }
        let connect = |_| Connection::open(process.port);
        let connections = try_join_all((0..CALLERS).map(connect)).await?;
        let clients = self.clients(credentials, connections).await?;
        let flood = self.flood(credentials, process).await?;
        let sample = load::run(clients, process, span).await?;
        Ok((sample, flood.map(Flood::end).transpose()?))
    }

    fn settings(&self, credentials: Credentials) -> Vec<(String, String)> {
        let table = |tokens: &[String]| {
            let named = tokens.iter().enumerate();
            let name = |user| format!("MCP_AUTH__TOKENS__{}", name_of(user).to_uppercase());
            named.map(|(user, token)| (name(user), token.clone())).collect()
        };
        match credentials {
            Credentials::None => Vec::new(),
            Credentials::Short => table(&self.short),
            Credentials::Long => table(&self.long),
            Credentials::Tls => [self.issuer.settings(), self.certificate.settings()].concat(),
            _ => self.issuer.settings(),
        }
    }

    /// Which tokens a caller brings, in turn; none if none are asked for.
    fn tokens(&self, credentials: Credentials, caller: usize) -> Vec<String> {
        match credentials {
            Credentials::None => Vec::new(),
            Credentials::Short => vec![self.short[caller].clone()],
            Credentials::Long => vec![self.long[caller].clone()],
            Credentials::Many | Credentials::ManyKept => self.many[caller].clone(),
            _ => vec![self.jwts[caller].clone()],
        }
    }

    /// A caller for each connection. Each has called once with each of its tokens, so those are known that can be kept.
    async fn clients<S: Stream>(
        &self,
        credentials: Credentials,
        connections: Vec<Connection<S>>,
    ) -> anyhow::Result<Vec<TokenEcho<S>>> {
        let numbered = connections.into_iter().enumerate();
        let clients = numbered.map(|(number, connection)| async move {
            let mut client = TokenEcho::new(connection, self.era, self.tokens(credentials, number)).await?;
            for _ in 0..client.tokens.len() {
                client.once().await?;
            }
            anyhow::Ok(client)
        });
        try_join_all(clients).await
    }

    async fn flood(&self, credentials: Credentials, process: &Process) -> anyhow::Result<Option<Flood>> {
        let pace = match credentials {
            Credentials::Flood => Some(flood::PER_SECOND),
            Credentials::FloodLimited => None,
            _ => return Ok(None),
        };
        Flood::start(process.port, &self.bad, pace).await.map(Some)
    }
}

/// A user's name, which may stand in the name of a setting. All are as long.
fn name_of(user: usize) -> String {
    format!("user{user:05}")
}

/// Calls `echo`, with one token after another.
struct TokenEcho<S> {
    connection: Connection<S>,
    call: Numbered,
    /// Where the token stands in the call.
    at: usize,
    tokens: Vec<String>,
    next: usize,
}

impl<S: Stream> TokenEcho<S> {
    async fn new(mut connection: Connection<S>, era: Era, tokens: Vec<String>) -> anyhow::Result<Self> {
        let first = tokens.first().cloned();
        let caller = match era {
            Era::Legacy => mcp::initialize_by(&mut connection, first.clone()).await?,
            Era::Modern => Caller::without_session(era).with_token(first.clone()),
        };
        let call = caller.echo();
        let at = match &first {
            Some(token) => call.position(token).context("no token in the call")?,
            None => 0,
        };
        let as_long = |token: &String| Some(token.len()) == first.as_ref().map(String::len);
        ensure!(tokens.iter().all(as_long), "tokens of several lengths");
        Ok(Self {
            connection,
            call,
            at,
            tokens,
            next: 0,
        })
    }
}

impl<S: Stream> Client for TokenEcho<S> {
    async fn once(&mut self) -> anyhow::Result<()> {
        // One token stays where it is.
        if self.tokens.len() > 1 {
            self.call.write(self.at, &self.tokens[self.next]);
            self.next = (self.next + 1) % self.tokens.len();
        }
        let (number, request) = self.call.next();
        mcp::echoed(&self.connection.exchange(request).await?, number)
    }
}

//! `make bench`: measures, prints tables, writes them, the figures and a plot.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand, ValueEnum};
use side_by_side::cores::Cores;
use side_by_side::load::Span;
use side_by_side::report::{ROUNDS, Rate, Rates, Report, Rounds, SECONDS, setting};
use side_by_side::server::{Era, Server, Starter};
use side_by_side::work::calls::Work;
use side_by_side::work::{across, auth, fan_out, idle, instructions, restore, resume};
use side_by_side::{plot, table};

/// Measures anynode beside other MCP servers, on the same work.
#[derive(Debug, Parser)]
struct Options {
    #[command(subcommand)]
    command: Option<Hidden>,
    /// anynode's program
    #[arg(long, default_value = "target/release/mcp-server")]
    anynode: PathBuf,
    /// Another build of anynode, to measure beside it
    #[arg(long)]
    other: Option<PathBuf>,
    /// A setting of anynode's, such as MCP_LOG__LEVEL=warn
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// Where the figures go: report.json, report.md, report.svg, and summary.md for the README
    #[arg(long, default_value = "benches/results")]
    out: PathBuf,
    /// Where callgrind's own files go, for callgrind_annotate
    #[arg(long, default_value = "target/side-by-side/callgrind")]
    keep: PathBuf,
    /// How often each server does each work
    #[arg(long, default_value_t = ROUNDS)]
    rounds: usize,
    /// How long it does so each time
    #[arg(long, default_value_t = SECONDS)]
    seconds: f64,
    /// One short round of everything, to see whether it works
    #[arg(long)]
    fast: bool,
    /// Only these parts
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Only these servers
    #[arg(long, value_delimiter = ',')]
    servers: Vec<Server>,
}

#[derive(Debug, Subcommand)]
enum Hidden {
    /// Asks Redis again and again, and prints how long each answer took.
    #[command(hide = true)]
    Ping { port: u16 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Quick calls, both eras
    Echo,
    /// Whole sessions
    Churn,
    /// Calls that tell progress
    Progress,
    /// Quick calls by callers with credentials, both eras
    Auth,
    /// Instructions for a quick call
    Instructions,
    /// Sessions on a node that has never seen them
    Restore,
    /// Events from node to node
    Across,
    /// One change, many streams
    FanOut,
    /// Memory of idle streams
    Idle,
    /// A long stream taken up
    Resume,
}

impl Options {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    /// How often to do something that is worth doing this often; a tenth when it is only tried.
    const fn times(&self, often: usize) -> usize {
        if self.fast { often / 10 } else { often }
    }
}

// One thread: the load has one core.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut options = Options::parse();
    if let Some(Hidden::Ping { port }) = options.command {
        return restore::ping(port).await;
    }
    if options.fast {
        (options.rounds, options.seconds) = (1, 0.5);
    }
    if options.wants(Part::Instructions) && !instructions::can_be_counted() {
        bail!("valgrind is missing, which counts instructions: install it, or name other parts with --only");
    }
    let (anynode, other) = (&options.anynode, options.other.as_deref());
    let mut starter = Starter::new(Cores::take()?, anynode, other, &options.settings)
        .context("build anynode first: make build")?;
    starter.only.clone_from(&options.servers);
    let mut report = Report {
        setting: setting(options.rounds, options.seconds),
        ..Report::default()
    };
    single(&options, &mut starter, &mut report).await?;
    several(&options, &starter, &mut report).await?;
    let text = table::text(&report);
    println!("{text}");
    std::fs::create_dir_all(&options.out)?;
    std::fs::write(
        options.out.join("report.json"),
        serde_json::to_string_pretty(&report)? + "\n",
    )?;
    std::fs::write(options.out.join("report.md"), heading(&report) + &text)?;
    std::fs::write(options.out.join("report.svg"), plot::svg(&report))?;
    std::fs::write(options.out.join("summary.md"), table::summary(&report))?;
    eprintln!("written to {}", options.out.display());
    Ok(())
}

fn heading(report: &Report) -> String {
    let said = |name: &str| report.setting[name].as_str().unwrap_or("unknown").to_owned();
    format!(
        "# Side by side\n\n{}, {} with {} cores, {}; commit {}; load of the machine at the start {}. Made by `make bench`.\n",
        said("date"),
        said("processor"),
        report.setting["cores"],
        said("kernel"),
        said("commit"),
        said("load_at_start"),
    )
}

/// What any server can do by itself.
async fn single(options: &Options, starter: &mut Starter, report: &mut Report) -> anyhow::Result<()> {
    let span = Span {
        warm_up: Duration::from_secs_f64(options.seconds / 2.0),
        measured: Duration::from_secs_f64(options.seconds),
        awake: false,
    };
    for work in Work::ALL {
        let part = match work {
            Work::Echo { .. } => Part::Echo,
            Work::Churn => Part::Churn,
            Work::Progress => Part::Progress,
        };
        if options.wants(part) {
            eprintln!("{}", work.name());
            report
                .rates
                .push(rates(work, options.rounds, starter, span).await?);
        }
    }
    if options.wants(Part::Auth) {
        report.auth = credentials(options, starter, span).await?;
    }
    if options.wants(Part::Instructions) {
        for era in [Era::Legacy, Era::Modern] {
            // Under callgrind Node.js compiles nothing in time, so its figure would say little.
            let compiled = Server::ALL
                .into_iter()
                .filter(|server| *server != Server::TypeScript);
            let servers: Vec<_> = compiled
                .filter(|server| server.speaks(era) && starter.has(*server))
                .collect();
            for server in servers {
                eprintln!("instructions of {}, {era:?}", server.name());
                let measured =
                    instructions::measure(starter, server, era, options.times(3000), &options.keep).await;
                report
                    .instructions
                    .push(measured.with_context(|| format!("{} under callgrind", server.name()))?);
            }
        }
    }
    if options.wants(Part::Idle) {
        let servers = [
            Server::AnynodeMemory,
            Server::AnynodeRedis,
            Server::AnynodeOther,
            Server::TowerMcp,
            Server::RmcpSessions,
        ];
        for server in servers.into_iter().filter(|server| starter.has(*server)) {
            eprintln!("idle streams of {}", server.name());
            let measured = idle::measure(starter, server, options.times(10_000)).await;
            report.idle.push(measured.with_context(|| server.name())?);
        }
    }
    Ok(())
}

/// Every server does the work in each round, in the other order each time.
async fn rates(work: Work, rounds: usize, starter: &mut Starter, span: Span) -> anyhow::Result<Rates> {
    let servers = Server::ALL
        .into_iter()
        .filter(|server| work.suits(*server) && starter.has(*server));
    let mut servers: Vec<_> = servers
        .map(|server| Rate {
            server,
            rounds: Rounds::default(),
        })
        .collect();
    for round in 0..rounds {
        let mut order: Vec<_> = servers.iter_mut().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for rate in order {
            let sample = work
                .sample(starter, rate.server, span)
                .await
                .with_context(|| rate.server.name())?;
            eprintln!(
                "  {:20} {:>8.0} /s  {:>6.1} µs",
                rate.server.name(),
                sample.per_second,
                sample.server_us
            );
            rate.rounds.0.push(sample);
        }
    }
    Ok(Rates {
        work,
        name: work.name(),
        servers,
    })
}

/// What credentials cost anynode: with Redis, or as it takes part.
async fn credentials(options: &Options, starter: &Starter, span: Span) -> anyhow::Result<Vec<auth::Auth>> {
    let ours = [Server::AnynodeRedis, Server::AnynodeMemory, Server::AnynodeOther];
    let Some(server) = ours.into_iter().find(|server| starter.has(*server)) else {
        return Ok(Vec::new());
    };
    let mut measured = Vec::new();
    for era in [Era::Legacy, Era::Modern] {
        eprintln!("credentials of {}, {era:?}", server.name());
        let rows = auth::measure(starter, server, era, options.rounds, span).await;
        measured.push(rows.context("credentials")?);
    }
    Ok(measured)
}

/// What only several nodes can do.
async fn several(options: &Options, starter: &Starter, report: &mut Report) -> anyhow::Result<()> {
    if options.wants(Part::Restore) {
        eprintln!("restoration");
        report.restoration = Some(
            restore::measure(starter, options.times(1000))
                .await
                .context("restoration")?,
        );
    }
    if options.wants(Part::Across) {
        eprintln!("events from node to node");
        report.across = Some(
            across::measure(starter, options.times(1000))
                .await
                .context("across")?,
        );
    }
    if options.wants(Part::FanOut) {
        eprintln!("one change, many streams");
        report.fan_out = Some(
            fan_out::measure(starter, 1000, options.times(30))
                .await
                .context("fan-out")?,
        );
    }
    if options.wants(Part::Resume) {
        eprintln!("a long stream taken up");
        report.resume = Some(
            resume::measure(starter, options.times(50))
                .await
                .context("resume")?,
        );
    }
    Ok(())
}

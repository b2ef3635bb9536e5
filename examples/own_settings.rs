//! A program with settings of its own, which waits for something before it serves: here it reads a file.
//!
//! ```sh
//! cargo run --example own_settings -- --set phrasebook.greeting='Good day, {}!'
//! cargo run --example own_settings -- config show
//! ```

use std::process::ExitCode;

use anynode::cli;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::ErrorCode;
use rmcp::{ErrorData, ServerHandler, tool, tool_handler, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;

/// The settings with their defaults, as the settings file documents them.
const DEFAULTS: &str = r#"# What people are told.
[phrasebook]

# How a person is greeted; {} stands for the name.
# MCP_PHRASEBOOK__GREETING
greeting = "Hello, {}!"

# A file with names, one a line, of people who are not greeted; empty for none.
# MCP_PHRASEBOOK__UNWELCOME_FILE
unwelcome_file = ""

# The longest name that is greeted, in characters.
# MCP_PHRASEBOOK__NAME_CHARS_MAX
name_chars_max = 40
"#;

#[derive(Deserialize)]
struct Phrases {
    greeting: String,
    unwelcome_file: String,
    name_chars_max: usize,
}

struct Phrasebook {
    phrases: Phrases,
    unwelcome: Vec<String>,
}

impl Phrasebook {
    async fn open(phrases: Phrases) -> Result<Self, std::io::Error> {
        let names = match phrases.unwelcome_file.as_str() {
            "" => String::new(),
            file => tokio::fs::read_to_string(file).await?,
        };
        Ok(Self {
            phrases,
            unwelcome: names.lines().map(str::to_owned).collect(),
        })
    }
}

#[derive(Deserialize, JsonSchema)]
struct Person {
    /// Whom to greet.
    name: String,
}

#[tool_router]
impl Phrasebook {
    /// Greets a person.
    #[tool]
    fn greet(&self, Parameters(Person { name }): Parameters<Person>) -> Result<String, ErrorData> {
        if name.chars().count() > self.phrases.name_chars_max {
            return Err(ErrorData::invalid_params("the name is too long", None));
        }
        if self.unwelcome.contains(&name) {
            return Err(ErrorData::new(ErrorCode(-32000), "not welcome here", None));
        }
        Ok(self.phrases.greeting.replace("{}", &name))
    }
}

#[tool_handler(name = "phrasebook", version = "3.1.4")]
impl ServerHandler for Phrasebook {}

fn main() -> ExitCode {
    let program = cli::Program::new("phrasebook", "3.1.4").about("Greets people in their own words");
    let program = program.settings("phrasebook", DEFAULTS);
    cli::main_with(program, async |app, phrases: Phrases| {
        let phrasebook = Phrasebook::open(phrases).await?;
        Ok(app.handler(|| phrasebook))
    })
}

//! The `mcp-server` binary: command line in, exit code out.
#[tokio::main]
async fn main() {
    tracing_subscriber::fmt()
        .with_env_filter("debug,rmcp=warn")
        .init();
    let s = anynode::Settings::load(anynode::config::Sources::from_process()).unwrap();
    anynode::App::builder()
        .settings(s)
        .handler(anynode::tools::Notebook::new)
        .run()
        .await
        .unwrap();
}

//! Skills (SEP-2640), as `examples/everything` has them: what one node lists, another serves, in either era.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::client::Client;
use crate::support::cluster::Cluster;

fn digest(text: &str) -> String {
    let bytes = Sha256::digest(text.as_bytes());
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name]
        .as_array()
        .unwrap_or_else(|| panic!("no {name} in {value}"))
}

/// All files of a directory and of those below it, found as a client finds them.
async fn files_below(client: &Client, directory: &str, found: &mut Vec<String>) {
    let read = client
        .request("resources/directory/read", json!({"uri": directory}))
        .await
        .ok();
    for child in list(read.result(), "resources") {
        let uri = child["uri"].as_str().expect("a URI");
        match child["mimeType"].as_str() {
            Some("inode/directory") => Box::pin(files_below(client, uri, found)).await,
            _ => found.push(uri.to_owned()),
        }
    }
}

#[tokio::test]
async fn what_one_node_lists_another_serves() {
    for cluster in Cluster::stages_of_example("everything").await {
        for client in [cluster.client(), cluster.modern()] {
            let listed = client.request("skills/list", json!({})).await.ok();
            let skills = list(listed.result(), "skills");
            assert!(skills.len() > 1, "{}", listed.body);
            for skill in skills {
                let got = client
                    .request("skills/get", json!({"uri": skill["uri"]}))
                    .await
                    .ok();
                assert_eq!(got.result()["skill"], *skill);
                let mut named: Vec<String> = Vec::new();
                for file in list(skill, "resources") {
                    let read = client.read(file["uri"].as_str().expect("a URI")).await.ok();
                    let text = read.result()["contents"][0]["text"].as_str().expect("a text");
                    assert_eq!(file["digest"], digest(text), "{file}");
                    assert_eq!(file["size"], text.len(), "{file}");
                    named.push(file["uri"].as_str().expect("a URI").to_owned());
                }
                let skill_md = skill["uri"].as_str().expect("a URI");
                let directory = skill_md.strip_suffix("/SKILL.md").expect("a skill's URI");
                let mut found = Vec::new();
                files_below(&client, directory, &mut found).await;
                named.sort();
                found.sort();
                assert_eq!(named, found, "each file of the skill, and no other");
                let no_directory = json!({"uri": skill_md});
                let refused = client.request("resources/directory/read", no_directory).await;
                assert_eq!(refused.code(), -32602, "{}", refused.body);
            }
            let unknown = json!({"uri": "skill://unknown/SKILL.md"});
            let refused = client.request("skills/get", unknown).await;
            assert_eq!(refused.code(), -32602, "{}", refused.body);
        }
    }
}

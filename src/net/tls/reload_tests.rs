//! Tests of files that change, and of when the log warns.

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use super::super::current::load;
use super::*;
use crate::config::TlsSettings;
use crate::session::NodeId;

const DAY: u64 = 24 * 60 * 60;

/// A pair, for a host of that name.
fn pair(name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

struct Files {
    dir: TempDir,
    settings: TlsSettings,
}

impl Files {
    fn of(pair: &(String, String)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = TlsSettings {
            cert_file: Some(dir.path().join("cert.pem")),
            key_file: Some(dir.path().join("key.pem")),
            ..TlsSettings::default()
        };
        let files = Self { dir, settings };
        files.put("cert.pem", &pair.0);
        files.put("key.pem", &pair.1);
        files
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).unwrap();
    }
}

/// The host that the certificate in use names, after a look.
async fn named(tls: &Tls) -> String {
    sleep(LOOK_EVERY).await;
    tls.facts().names.concat()
}

#[tokio::test(start_paused = true)]
async fn files_that_change_are_taken_up_without_being_told_and_others_are_not() {
    let (one, two, three) = (pair("one.test"), pair("two.test"), pair("three.test"));
    let files = Files::of(&one);
    let tls = load(&files.settings).unwrap().unwrap();
    let watching = TaskTracker::new().spawn(keep_fresh(tls.clone(), Audit::silent(&NodeId::generate(0))));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(named(&tls).await, "one.test");

    let began = Instant::now();
    files.put("cert.pem", &two.0);
    files.put("key.pem", &two.1);
    assert_eq!(named(&tls).await, "two.test");
    assert_eq!(began.elapsed(), LOOK_EVERY);

    // As it is between the writing of one file and of the other.
    files.put("cert.pem", &three.0);
    assert_eq!(named(&tls).await, "two.test");
    files.put("cert.pem", "-----BEGIN CERTIFICATE-----\nhalf of");
    assert_eq!(named(&tls).await, "two.test");
    std::fs::remove_file(files.dir.path().join("cert.pem")).unwrap();
    assert_eq!(named(&tls).await, "two.test");
    files.put("cert.pem", &three.0);
    files.put("key.pem", &three.1);
    assert_eq!(named(&tls).await, "three.test");
    watching.abort();
}

#[test]
fn what_is_wrong_with_the_files_is_said_in_words() {
    let (one, two) = (pair("one.test"), pair("two.test"));
    let wrong = |change: &dyn Fn(&Files)| {
        let files = Files::of(&one);
        change(&files);
        load(&files.settings).unwrap_err().to_string()
    };
    let says = |words: &str, change: &dyn Fn(&Files)| {
        let said = wrong(change);
        assert!(said.contains(words), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    };
    says("tls.key_file: ", &|files| files.put("key.pem", &two.1));
    says("does not fit the certificate in tls.cert_file", &|files| {
        files.put("key.pem", &two.1)
    });
    says("holds no private key", &|files| files.put("key.pem", &two.0));
    says("tls.cert_file: ", &|files| files.put("cert.pem", &two.1));
    says("holds no certificate", &|files| files.put("cert.pem", ""));
    says("first certificate cannot be read", &|files| {
        files.put(
            "cert.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        );
    });
}

#[test]
fn a_certificate_is_warned_of_from_a_fortnight_before_its_end_once_a_day() {
    let expires = 100 * DAY;
    assert!(!is_to_be_told(expires, None, 86 * DAY));
    assert!(is_to_be_told(expires, None, 86 * DAY + 1));
    assert!(!is_to_be_told(expires, Some(90 * DAY), 91 * DAY - 1));
    assert!(is_to_be_told(expires, Some(90 * DAY), 91 * DAY));
    assert!(is_to_be_told(expires, Some(99 * DAY), 120 * DAY));
    assert!(
        !is_to_be_told(200 * DAY, Some(0), 120 * DAY),
        "another was put in its place"
    );
    assert!(words_on_expiry(expires, expires - 1).contains("soon"));
    assert!(words_on_expiry(expires, expires).contains("has expired"));
}

//! Certificates of an authority of the test's own.

use std::path::Path;

/// Writes PEM files into `dir`: `ca.pem`, `server.pem`, `server.key`,
/// `client.pem`, `client.key`, and `other.pem`, an authority that signed none of them.
pub(crate) fn write(dir: &Path) {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    let authority = |name: &str| {
        let mut params = CertificateParams::new(vec![]).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        (certificate.pem(), Issuer::new(params, key))
    };
    let write = |name: &str, pem: String| std::fs::write(dir.join(name), pem).expect("a PEM file");
    let (pem, issuer) = authority("anynode test authority");
    write("ca.pem", pem);
    write("other.pem", authority("another authority").0);
    for name in ["server", "client"] {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        write(&format!("{name}.pem"), certificate.pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
}

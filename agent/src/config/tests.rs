use std::os::unix::fs::PermissionsExt;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};

use super::*;

/// A folder with a CA, a server's certificate and key, and a configuration that names them.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI("spiffe://f/server/web1".try_into().unwrap())];
        folder.write("ca.pem", &ca.pem());
        folder.write("server.pem", &params.signed_by(&key, &ca).unwrap().pem());
        folder.write("server.key", &key.serialize_pem());
        std::fs::set_permissions(folder.path("server.key"), PermissionsExt::from_mode(0o600)).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn good(&self) -> String {
        let dir = self.0.path().display();
        format!(
            "controller = \"localhost:7443\"\nca = \"{dir}/ca.pem\"\ncert = \"{dir}/server.pem\"\n\
             key = \"{dir}/server.key\"\ndata_dir = \"{dir}/data\"\n"
        )
    }

    fn load(&self, text: &str) -> Result<Config, String> {
        self.write("agent.toml", text);
        Config::load(&self.path("agent.toml")).map_err(|e| e.to_string())
    }
}

#[test]
fn a_good_file_is_taken_and_its_defaults_are_safe() {
    let folder = Folder::new();
    let config = folder.load(&folder.good()).unwrap();
    assert_eq!(config.identity.to_string(), "spiffe://f/server/web1");
    assert!(matches!(config.trust, Trust::Nobody));
    assert_eq!(config.spool_max, 200_000);
    let actor = config.actor();
    assert_eq!((actor.server.as_str(), actor.fleet.as_deref()), ("web1", Some("f")));
    let more = format!("{}insecure_unsigned = true\n[ceiling]\nper_hour = 3\nallow = [\"service.*\"]\n", folder.good());
    let config = folder.load(&more).unwrap();
    assert!(config.actor().trust.is_insecure());
    assert_eq!(config.ceiling.per_hour, 3);
    assert!(!config.ceiling.allows("script.run"));
}

#[test]
fn everything_that_is_wrong_is_said_at_once_with_its_remedy() {
    let folder = Folder::new();
    let text = folder
        .good()
        .replace("localhost:7443", "localhost")
        .replace("ca.pem", "none.pem")
        .replace(&format!("data_dir = \"{}/data", folder.0.path().display()), "data_dir = \"data")
        + "spool_max = 5\nuser = \"nobody-of-that-name\"\n";
    std::fs::set_permissions(folder.path("server.key"), PermissionsExt::from_mode(0o644)).unwrap();
    let error = folder.load(&text).unwrap_err();
    for word in ["host:port", "none.pem", "absolute", "spool_max", "useradd", "chmod o="] {
        assert!(error.contains(word), "{error}\nlacks {word}");
    }
    assert_eq!(error.lines().count(), 6, "{error}");
}

#[test]
fn unknown_keys_and_missing_files_are_named() {
    let folder = Folder::new();
    let error = folder.load(&(folder.good() + "insecure_unsinged = true\n")).unwrap_err();
    assert!(error.contains("insecure_unsinged") && error.contains("line 6"), "{error}");
    let error = folder.load("[ceiling]\nper_day = 3\n").unwrap_err();
    assert!(error.contains("per_day") || error.contains("controller"), "{error}");
    let error = Config::load(&folder.path("nothing.toml")).unwrap_err().to_string();
    assert!(error.contains("nothing.toml"), "{error}");
    let swapped = folder.good().replace("server.pem", "ca.pem");
    assert!(folder.load(&swapped).unwrap_err().contains("SPIFFE"), "{}", folder.load(&swapped).unwrap_err());
}

#[test]
fn the_signers_file_is_read_and_must_be_nobody_elses() {
    let folder = Folder::new();
    let path = folder.path("allowed_signers");
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    let with = |more: &str| format!("{}signers = \"{}\"\n{more}", folder.good(), path.display());
    assert!(folder.load(&with("")).unwrap_err().contains("allowed_signers cannot be read"));
    folder.write("allowed_signers", &format!("anna {key}\n"));
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    let Trust::Signed { signers, needed } = folder.load(&with("")).unwrap().actor().trust else { panic!() };
    assert_eq!((signers.len(), needed), (1, 1));
    for (more, words) in [
        ("signers_needed = 2\n", "signers_needed is 2, and the signers file has 1 keys"),
        ("signers_needed = 0\n", "signers_needed is 0"),
        ("insecure_unsigned = true\n", "exclude each other"),
    ] {
        let error = folder.load(&with(more)).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    let error = Config::load_with(&folder.path("agent.toml"), true).unwrap_err().to_string();
    assert!(error.contains("exclude each other"), "the flag overrides no signers file: {error}");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o664)).unwrap();
    let error = folder.load(&with("")).unwrap_err();
    assert!(error.contains("others may change") && error.contains("chmod go-w"), "{error}");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    for (mode, open) in [(0o777, true), (0o770, true), (0o1777, false), (0o755, false)] {
        std::fs::set_permissions(folder.0.path(), PermissionsExt::from_mode(mode)).unwrap();
        let loaded = folder.load(&with(""));
        assert_eq!(
            loaded.as_ref().is_err_and(|error| error.contains("others may replace")),
            open,
            "{mode:o}: {loaded:?}"
        );
    }
    folder.write("allowed_signers", "anna\nben cert-authority x\n");
    let error = folder.load(&with("")).unwrap_err();
    assert!(error.contains("allowed_signers, line 1:") && error.contains("line 2: cert-authority is not"), "{error}");
}

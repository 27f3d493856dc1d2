use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use skynet_model::time::Span;

use super::*;

/// A fixture tree with `/srv/app/cache` in it.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(tree.real("/srv/app/cache/sub")).unwrap();
        for name in ["a.tmp", "b.tmp", "c.log", ".hidden.tmp", "sub/d.tmp"] {
            fs::write(tree.real("/srv/app/cache").join(name), "12345").unwrap();
        }
        tree
    }

    fn real(&self, path: &str) -> PathBuf {
        self.0.path().join(&path[1..])
    }

    fn delete(&self, pattern: &str) -> Result<Deleted, HostError> {
        self.delete_older(pattern, Span(0))
    }

    fn delete_older(&self, pattern: &str, older_than: Span) -> Result<Deleted, HostError> {
        LocalHost::with_root(self.0.path().to_owned())
            .delete_files(&DeleteFiles { pattern: PathBuf::from(pattern), older_than })
    }

    /// Every name in the tree.
    fn names(&self) -> Vec<String> {
        fn walk(at: &Path, names: &mut Vec<String>) {
            for entry in fs::read_dir(at).unwrap() {
                let path = entry.unwrap().path();
                names.push(path.display().to_string());
                if path.symlink_metadata().unwrap().is_dir() {
                    walk(&path, names);
                }
            }
        }
        let mut names = Vec::new();
        walk(self.0.path(), &mut names);
        names.sort();
        names
    }
}

#[test]
fn matching_regular_files_of_the_one_directory_go() {
    let tree = Tree::new();
    assert_eq!(tree.delete("/srv/app/cache/*.tmp").unwrap(), Deleted { files: 2, bytes: 10 });
    for (name, there) in
        [("a.tmp", false), ("b.tmp", false), ("c.log", true), (".hidden.tmp", true), ("sub/d.tmp", true)]
    {
        assert_eq!(tree.real("/srv/app/cache").join(name).exists(), there, "{name}");
    }
    assert_eq!(tree.delete("/srv/app/cache/*.tmp").unwrap(), Deleted::default());
    assert_eq!(tree.delete("/srv/app/cache/.*").unwrap().files, 1);
    assert_eq!(tree.delete("/srv/app/cache/c.log").unwrap().files, 1);
    assert_eq!(tree.delete("/srv/app/cache/*").unwrap().files, 0, "a directory is no file");
    assert!(tree.real("/srv/app/cache/sub/d.tmp").exists());
    assert!(matches!(tree.delete("/srv/app/none/*"), Err(HostError::Missing(_))));
}

#[test]
fn young_files_stay() {
    let tree = Tree::new();
    let old = fs::File::options().write(true).open(tree.real("/srv/app/cache/a.tmp")).unwrap();
    let now = LocalHost::new().now();
    let two_hours_ago = std::time::UNIX_EPOCH + std::time::Duration::from_millis(now.0.unsigned_abs() - 7_200_000);
    old.set_modified(two_hours_ago).unwrap();
    assert_eq!(tree.delete_older("/srv/app/cache/*", Span::hours(3)).unwrap().files, 0);
    assert_eq!(tree.delete_older("/srv/app/cache/*", Span::hours(1)).unwrap().files, 1);
    assert!(!tree.real("/srv/app/cache/a.tmp").exists());
}

#[test]
fn links_are_neither_followed_nor_deleted() {
    let tree = Tree::new();
    fs::create_dir_all(tree.real("/precious")).unwrap();
    fs::write(tree.real("/precious/gold.tmp"), "gold").unwrap();
    symlink(tree.real("/precious"), tree.real("/srv/app/link")).unwrap();
    symlink("../../precious", tree.real("/srv/relative")).unwrap();
    symlink(tree.real("/srv"), tree.real("/alias")).unwrap();
    symlink(tree.real("/precious/gold.tmp"), tree.real("/srv/app/cache/trap.tmp")).unwrap();
    let before = tree.names();
    for pattern in ["/srv/app/link/*", "/srv/relative/*", "/alias/app/cache/*"] {
        assert!(matches!(tree.delete(pattern), Err(HostError::Denied { .. })), "{pattern}");
    }
    assert_eq!(tree.names(), before);
    tree.delete("/srv/app/cache/*").unwrap();
    assert!(tree.real("/precious/gold.tmp").exists());
    assert!(tree.real("/srv/app/cache/trap.tmp").symlink_metadata().is_ok(), "a link is no regular file");
}

#[test]
fn paths_that_climb_or_name_no_directory_are_refused() {
    let tree = Tree::new();
    let before = tree.names();
    for pattern in [
        "/srv/app/../app/cache/*",
        "/srv/app/cache/..",
        "/srv/app/cache/../*",
        "srv/app/cache/*",
        "*",
        "/",
        "",
        "/srv/app/cache/",
        "/srv/app/cache/.",
    ] {
        assert!(matches!(tree.delete(pattern), Err(HostError::Denied { .. })), "{pattern}");
    }
    assert_eq!(tree.names(), before);
    // Globs stand for names only: a directory called `*` is meant literally.
    assert!(matches!(tree.delete("/srv/*/cache/x"), Err(HostError::Missing(_))));
}

#[test]
fn directories_of_the_system_are_refused() {
    let tree = Tree::new();
    for directory in SYSTEM.iter().chain(&SHALLOW) {
        fs::create_dir_all(tree.real(directory).join("deep")).unwrap();
        fs::write(tree.real(directory).join("file"), "x").unwrap();
        fs::write(tree.real(directory).join("deep/file"), "x").unwrap();
    }
    let before = tree.names();
    for directory in SYSTEM.iter().chain(&SHALLOW) {
        let pattern = format!("{}/*", directory.trim_end_matches('/'));
        let error = tree.delete(&pattern).unwrap_err().to_string();
        assert!(error.contains("name a directory of an application"), "{pattern}: {error}");
    }
    for directory in SYSTEM {
        let pattern = format!("{directory}/deep/*");
        assert!(matches!(tree.delete(&pattern), Err(HostError::Denied { .. })), "{pattern}");
    }
    assert_eq!(tree.names(), before);
    assert_eq!(tree.delete("/root/deep/*").unwrap().files, 1);
}

#[test]
fn a_directory_of_the_system_mounted_elsewhere_is_known_again() {
    let tree = Tree::new();
    fs::create_dir_all(tree.real("/etc")).unwrap();
    fs::write(tree.real("/etc/passwd"), "x").unwrap();
    // A bind mount has the identity of what is mounted; a link in the fixture's place of `/etc` gives the same
    // identity without needing privileges.
    fs::remove_file(tree.real("/etc/passwd")).unwrap();
    fs::remove_dir(tree.real("/etc")).unwrap();
    symlink(tree.real("/srv/app/cache"), tree.real("/etc")).unwrap();
    let error = tree.delete("/srv/app/cache/*").unwrap_err();
    assert!(error.to_string().contains("/etc under another name"), "{error}");
    assert!(tree.real("/srv/app/cache/a.tmp").exists());
}

#[test]
fn a_link_is_no_file_even_where_the_directory_does_not_tell_kinds() {
    let tree = Tree::new();
    let cache = tree.real("/srv/app/cache");
    symlink("a.tmp", cache.join("link.tmp")).unwrap();
    let fd = fs::File::open(&cache).unwrap();
    let size = |name: &CStr| size_if_meant(fd.as_fd(), name, None);
    assert_eq!(size(c"a.tmp"), Some(5));
    assert_eq!(size(c"link.tmp"), None);
    assert_eq!(size(c"sub"), None);
    assert_eq!(size(c"none"), None);
}

/// Runs itself again in a mount namespace of its own, where that is allowed; the identity test above needs no privilege.
#[test]
fn mounts_neither_disguise_a_directory_nor_stop_the_rest() {
    const MARK: &str = "SKYNET_TEST_MOUNTS";
    if let Some(root) = std::env::var_os(MARK) {
        let host = LocalHost::with_root(root.into());
        let delete = |pattern: &str| host.delete_files(&DeleteFiles { pattern: pattern.into(), older_than: Span(0) });
        let error = delete("/srv/bound/*").unwrap_err().to_string();
        assert!(error.contains("/etc under another name"), "{error}");
        // Another file is mounted on a.tmp: it is busy, and passed over.
        assert_eq!(delete("/srv/app/cache/*.tmp").unwrap().files, 1);
        assert!(delete("/srv/app/cache/*.tmp").is_err(), "nothing could be deleted");
        return;
    }
    let tree = Tree::new();
    fs::create_dir_all(tree.real("/etc")).unwrap();
    fs::create_dir_all(tree.real("/srv/bound")).unwrap();
    fs::write(tree.real("/etc/passwd"), "x").unwrap();
    let mounts = "mount --bind \"$1/etc\" \"$1/srv/bound\" && \
                  mount --bind \"$1/srv/app/cache/c.log\" \"$1/srv/app/cache/a.tmp\" || exit 99\n\
                  exec \"$2\" --exact host::local::files::tests::mounts_neither_disguise_a_directory_nor_stop_the_rest";
    let status = std::process::Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--", "sh", "-c", mounts, "sh"])
        .arg(tree.0.path())
        .arg(std::env::current_exe().unwrap())
        .env(MARK, tree.0.path())
        .output()
        .map(|output| (output.status.code(), output));
    match status {
        Ok((Some(0), _)) => {
            assert!(tree.real("/etc/passwd").exists() && tree.real("/srv/app/cache/c.log").exists());
            assert!(!tree.real("/srv/app/cache/b.tmp").exists(), "the inner run did not take place");
        }
        // 101: the inner run failed; everything else: no mounts for us here.
        Ok((Some(101), output)) => panic!("{}", String::from_utf8_lossy(&output.stdout)),
        Ok(_) | Err(_) => println!("mounts are not allowed here"),
    }
}

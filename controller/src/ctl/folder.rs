//! Reading a policy folder: `*.yaml` in it and in its subfolders, bounded in number, size and depth. Links are not
//! followed, so what is checked is what lies in the folder.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use skynet_model::diagnostic::Diagnostic;
use skynet_model::policy::{File, MAX_FILE_BYTES, MAX_FILES};

use super::Failure;

/// Deepest nesting of subfolders.
const MAX_DEPTH: usize = 8;
/// Most entries of all folders together; other files may lie beside policy.
const MAX_ENTRIES: usize = 20_000;

/// What lies in a policy folder.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// Files in order of name; names are paths within the folder.
    pub(super) files: Vec<File>,
    /// Files that should be policy but cannot be read as such.
    pub(super) mistakes: Vec<Diagnostic>,
    seen: usize,
}

/// Reads the folder.
///
/// # Errors
/// The folder or one of its subfolders cannot be listed, or there is too much in it.
pub(super) fn read(dir: &Path) -> Result<Folder, Failure> {
    let mut folder = Folder::default();
    folder.walk(dir, "", 0)?;
    folder.files.sort_by(|a, b| a.name.cmp(&b.name));
    if folder.files.is_empty() && folder.mistakes.is_empty() {
        return Err(Failure::Failed(format!("there is no *.yaml file in {}", dir.display())));
    }
    Ok(folder)
}

impl Folder {
    fn walk(&mut self, dir: &Path, prefix: &str, depth: usize) -> Result<(), Failure> {
        let failed = |e: std::io::Error| {
            let file = e.kind() == std::io::ErrorKind::NotADirectory;
            let remedy = if file { "; a policy is a folder of *.yaml files: name that" } else { "" };
            Failure::Failed(format!("cannot read the folder {}: {e}{remedy}", dir.display()))
        };
        for entry in fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            self.seen += 1;
            if self.seen > MAX_ENTRIES {
                return Err(Failure::Failed(format!(
                    "there are more than {MAX_ENTRIES} files below {}; is it the policy's folder?",
                    dir.display()
                )));
            }
            let file_name = entry.file_name();
            let name = file_name.to_string_lossy();
            // `.git` and the like.
            if name.starts_with('.') {
                continue;
            }
            let path = if prefix.is_empty() { name.to_string() } else { format!("{prefix}/{name}") };
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                if depth >= MAX_DEPTH {
                    self.mistake(&path, format!("the folder lies deeper than {MAX_DEPTH} levels and is not read"));
                } else {
                    self.walk(&entry.path(), &path, depth + 1)?;
                }
            } else if name.ends_with(".yml") {
                self.mistake(&path, "only files ending in `.yaml` are policy: rename it".to_owned());
            } else if name.ends_with(".yaml") {
                if kind.is_symlink() {
                    self.mistake(&path, "it is a symbolic link; links are not followed: copy the file".to_owned());
                } else if file_name.to_str().is_none() {
                    self.mistake(&path, "the file's name is not UTF-8".to_owned());
                } else {
                    self.file(&entry.path(), path)?;
                }
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, name: String) -> Result<(), Failure> {
        if self.files.len() >= MAX_FILES {
            return Err(Failure::Failed(format!("the policy has more than {MAX_FILES} files; put some together")));
        }
        match read_file(path, MAX_FILE_BYTES) {
            Ok(bytes) if bytes.len() > MAX_FILE_BYTES => {
                self.mistake(&name, format!("the file has more than {MAX_FILE_BYTES} bytes: split it"));
            }
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => self.files.push(File { name, text }),
                Err(error) => {
                    let good = error.utf8_error().valid_up_to();
                    let text = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
                    let line = text.matches('\n').count() + 1;
                    let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
                    self.mistakes.push(Diagnostic {
                        file: name,
                        line: u32::try_from(line).unwrap_or(u32::MAX),
                        column: u32::try_from(column).unwrap_or(u32::MAX),
                        message: "here the file is not UTF-8: save it as UTF-8".to_owned(),
                        suggestion: None,
                    });
                }
            },
            Err(error) => self.mistake(&name, format!("the file cannot be read: {error}")),
        }
        Ok(())
    }

    fn mistake(&mut self, file: &str, message: String) {
        let diagnostic = Diagnostic { file: file.to_owned(), line: 1, column: 1, message, suggestion: None };
        self.mistakes.push(diagnostic);
    }
}

/// A regular file's bytes, at most one more than `limit`. A link is not followed, a pipe not waited for.
///
/// # Errors
/// It cannot be opened or read, or is not a regular file.
pub(super) fn read_file(path: &Path, limit: usize) -> std::io::Result<Vec<u8>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).map_err(std::io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(folder: &Folder) -> Vec<String> {
        let mut said: Vec<String> = folder.mistakes.iter().map(ToString::to_string).collect();
        said.sort();
        said
    }

    #[test]
    fn yaml_files_of_the_folder_and_its_subfolders_are_read_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("b.yaml", "1"), ("web/a.yaml", "2"), (".git/x.yaml", "3"), ("README.md", "4")] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let folder = read(dir.path()).unwrap();
        let names: Vec<&str> = folder.files.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["b.yaml", "web/a.yaml"]);
        assert!(folder.mistakes.is_empty());
    }

    #[test]
    fn what_cannot_be_policy_is_told_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a.yml"), "").unwrap();
        fs::write(at("big.yaml"), vec![b'#'; MAX_FILE_BYTES + 1]).unwrap();
        fs::write(at("latin.yaml"), b"a: 1\nb: gr\xfcn\n").unwrap();
        fs::create_dir(at("elsewhere")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", at("link.yaml")).unwrap();
        std::os::unix::fs::symlink("/etc", at("etc")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe.yaml"), rustix::fs::Mode::RUSR).unwrap();
        let folder = read(dir.path()).unwrap();
        assert!(folder.files.is_empty());
        assert_eq!(
            said(&folder),
            [
                "a.yml:1:1: only files ending in `.yaml` are policy: rename it",
                "big.yaml:1:1: the file has more than 262144 bytes: split it",
                "latin.yaml:2:6: here the file is not UTF-8: save it as UTF-8",
                "link.yaml:1:1: it is a symbolic link; links are not followed: copy the file",
                "pipe.yaml:1:1: the file cannot be read: it is not a regular file",
            ]
        );
    }

    #[test]
    fn number_and_depth_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c/d/e/f/g/h/i");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("x.yaml"), "").unwrap();
        let folder = read(dir.path()).unwrap();
        assert_eq!(said(&folder), ["a/b/c/d/e/f/g/h/i:1:1: the folder lies deeper than 8 levels and is not read"]);
        for i in 0..=MAX_FILES {
            fs::write(dir.path().join(format!("{i}.yaml")), "").unwrap();
        }
        assert!(read(dir.path()).unwrap_err().to_string().contains("more than 1000 files"));
    }

    #[test]
    fn a_folder_of_very_many_files_is_taken_for_another() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("README.md"), "").unwrap();
        let mut folder = Folder { seen: MAX_ENTRIES, ..Folder::default() };
        assert!(folder.walk(dir.path(), "", 0).unwrap_err().to_string().contains("is it the policy's folder?"));
    }

    #[test]
    fn a_file_that_became_a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&file, "12345").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(read_file(&file, 3).unwrap(), b"1234", "one more than the limit");
        assert!(read_file(&link, 3).is_err());
    }

    #[test]
    fn an_empty_folder_and_one_that_is_not_there_are_no_policy() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path()).unwrap_err().to_string().contains("no *.yaml"));
        assert!(read(&dir.path().join("x")).unwrap_err().to_string().contains("cannot read the folder"));
        let file = dir.path().join("p.yaml");
        fs::write(&file, "fleet: a\n").unwrap();
        assert!(read(&file).unwrap_err().to_string().contains("a policy is a folder"));
    }
}

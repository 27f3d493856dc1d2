//! One place: a file or a URL. Reads are bounded in size and time; what is not there is no error.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::StatusCode;
use skynet_model::emergency::{MAX_EMERGENCY_BYTES, SignedDocument};
use skynet_model::sign::{MAX_SIGNATURE_BYTES, MAX_SIGNATURES};

const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";

/// Where a document may lie.
#[derive(Debug)]
pub(super) enum Place {
    /// A file.
    File(PathBuf, Duration),
    /// An `https://` URL.
    Https(reqwest::Client, reqwest::Url),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, _) => path.display().fmt(f),
            Self::Https(_, url) => url.fmt(f),
        }
    }
}

impl Place {
    pub(super) fn new(drop: &str, ca: Option<&Path>, timeout: Duration) -> Result<Self, String> {
        if !drop.contains("://") {
            return Ok(Self::File(PathBuf::from(drop), timeout));
        }
        let url = reqwest::Url::parse(drop).map_err(|error| format!("the dead drop `{drop}`: {error}"))?;
        let mut client = reqwest::Client::builder()
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(timeout)
            .user_agent(concat!("skynet/", env!("CARGO_PKG_VERSION")))
            .no_proxy();
        if let Some(path) = ca {
            let place = path.display();
            let pem = std::fs::read(path).map_err(|error| format!("[emergency] ca: cannot read {place}: {error}"))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|error| format!("[emergency] ca: {place} is no PEM file of certificates: {error}"))?;
            client = client.tls_certs_only(certificates);
        }
        let client = client.build().map_err(|error| format!("no HTTP client for dead drops: {error}"))?;
        Ok(Self::Https(client, url))
    }

    /// What lies there; none when nothing does.
    pub(super) async fn fetch(&self) -> Result<Option<SignedDocument>, String> {
        let (document, armored) = match self {
            Self::File(path, timeout) => {
                let path = path.clone();
                // A network mount may hang; the thread is left to it.
                let reading = tokio::task::spawn_blocking(move || read_files(&path));
                let read = tokio::time::timeout(*timeout, reading).await;
                let read = read.map_err(|_| "it did not answer in time".to_owned())?;
                match read.map_err(|error| error.to_string())?? {
                    Some(found) => found,
                    None => return Ok(None),
                }
            }
            Self::Https(client, url) => {
                let Some(document) = get(client, url.clone(), MAX_EMERGENCY_BYTES).await? else { return Ok(None) };
                let mut beside = url.clone();
                beside.set_path(&format!("{}.sig", url.path()));
                let signatures = get(client, beside, MAX_SIGNATURES * MAX_SIGNATURE_BYTES).await?;
                (document, signatures.into_iter().collect())
            }
        };
        let signatures = armored.iter().flat_map(|bytes| split(bytes)).collect();
        SignedDocument::new(document, signatures).map(Some).map_err(|error| error.to_string())
    }
}

/// The signatures of a file, which may hold several one after the other.
fn split(armored: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(armored);
    let starts: Vec<usize> = text.match_indices(BEGIN).map(|(at, _)| at).collect();
    if starts.len() < 2 {
        return vec![armored.to_vec()];
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts.iter().zip(ends).filter_map(|(from, to)| text.get(*from..to)).map(|one| one.as_bytes().to_vec()).collect()
}

type Found = (Vec<u8>, Vec<Vec<u8>>);

fn read_files(path: &Path) -> Result<Option<Found>, String> {
    let Some(document) = read(path, MAX_EMERGENCY_BYTES)? else { return Ok(None) };
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut names: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| format!("{}: {error}", folder.display()))?;
        let rest = entry.file_name().to_string_lossy().strip_prefix(&format!("{name}.")).map(str::to_owned);
        if rest.is_some_and(|rest| rest == "sig" || rest.ends_with(".sig")) && names.len() <= MAX_SIGNATURES {
            names.push(entry.path());
        }
    }
    names.sort();
    let mut signatures = Vec::new();
    for path in names {
        signatures.extend(read(&path, MAX_SIGNATURES * MAX_SIGNATURE_BYTES)?);
    }
    Ok(Some((document, signatures)))
}

/// A file of at most `limit` bytes; none when it is not there.
fn read(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, String> {
    let place = path.display();
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{place}: {error}")),
    };
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|error| format!("{place}: {error}"))?;
    if bytes.len() > limit { Err(format!("{place} has more than {limit} bytes")) } else { Ok(Some(bytes)) }
}

/// A body of at most `limit` bytes; none when there is none.
async fn get(client: &reqwest::Client, url: reqwest::Url, limit: usize) -> Result<Option<Vec<u8>>, String> {
    let mut answer = client.get(url).send().await.map_err(|error| told(&error))?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
        status if status.is_redirection() => return Err(format!("it answers {status}; redirects are not followed")),
        status => return Err(format!("it answers {status}")),
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| told(&error))? {
        if bytes.len() + chunk.len() > limit {
            return Err(format!("it has more than {limit} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}

/// An error with what caused it.
fn told(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

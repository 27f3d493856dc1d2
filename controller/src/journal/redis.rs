//! The way to the offsite Redis: one connection, commands and answers in words of our own.
//!
//! What must never enter: which keys there are and what is written to them. This file and `history/redis.rs` are the
//! only ones that name the client library; everything else speaks [`Call`], [`Reply`] and [`Fault`].

mod address;
mod fault;

use std::path::PathBuf;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::{ClusterClientBuilder, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, IntoConnectionInfo, RedisConnectionInfo, RedisError,
    ServerErrorKind, TlsCertificates, Value,
};

pub use address::{Address, Layout};
pub use fault::{Fault, FaultKind};

/// Longest secret that is read from a file, in bytes.
const MAX_SECRET: u64 = 4096;
/// Largest CA file, in bytes.
const MAX_CA: u64 = 1 << 20;

/// How to get in.
#[derive(Clone, Debug)]
pub struct Access {
    /// Where.
    pub address: Address,
    /// The file whose first line is the password.
    pub password: Option<PathBuf>,
    /// The CA's certificate, PEM; the system's own ones if none.
    pub ca: Option<PathBuf>,
    /// How long connecting, and each answer, may take.
    pub timeout: Duration,
}

/// One command.
#[derive(Clone, Debug)]
pub struct Call(redis::Cmd);

impl Call {
    /// A command by its name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(redis::cmd(name))
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.arg(bytes.as_ref());
        self
    }

    /// One more argument: a number.
    #[must_use]
    pub fn number(mut self, number: u64) -> Self {
        self.0.arg(number);
        self
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing.
    Nil,
    /// A whole number.
    Int(i64),
    /// A text or bytes.
    Bytes(Vec<u8>),
    /// Several; maps come as key, value, key, value.
    List(Vec<Reply>),
}

impl Reply {
    /// The number, where it is one.
    #[must_use]
    pub fn int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Bytes(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
            Self::Nil | Self::List(_) => None,
        }
    }

    /// The bytes, where it is some.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Nil | Self::Int(_) | Self::List(_) => None,
        }
    }

    /// The text, where it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// The parts; none of what is no list.
    #[must_use]
    pub fn list(&self) -> &[Reply] {
        match self {
            Self::List(parts) => parts,
            Self::Nil | Self::Int(_) | Self::Bytes(_) => &[],
        }
    }
}

fn reply(value: Value) -> Result<Reply, RedisError> {
    Ok(match value {
        Value::Nil => Reply::Nil,
        Value::Int(number) => Reply::Int(number),
        Value::BulkString(bytes) => Reply::Bytes(bytes),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Reply::Bytes(text.into_bytes()),
        Value::Okay => Reply::Bytes(b"OK".to_vec()),
        Value::Array(parts) | Value::Set(parts) => {
            Reply::List(parts.into_iter().map(reply).collect::<Result<Vec<_>, _>>()?)
        }
        Value::Map(pairs) => {
            let parts = pairs.into_iter().flat_map(|(key, value)| [key, value]);
            Reply::List(parts.map(reply).collect::<Result<Vec<_>, _>>()?)
        }
        Value::Double(number) => Reply::Bytes(number.to_string().into_bytes()),
        Value::Boolean(truth) => Reply::Int(i64::from(truth)),
        Value::BigNumber(digits) => Reply::Bytes(digits),
        Value::Attribute { data, .. } => reply(*data)?,
        Value::Push { .. } => Reply::Nil,
        Value::ServerError(error) => return Err(error.into()),
        _ => return Err((ErrorKind::Parse, "an answer of an unknown kind").into()),
    })
}

enum Inner {
    One(MultiplexedConnection),
    Cluster(Box<ClusterConnection>),
}

/// A connection. After a [`Fault`] that [`Fault::broken`] says so of, it is of no more use.
pub struct Connection {
    inner: Inner,
    address: Address,
    timeout: Duration,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({})", self.address)
    }
}

impl Connection {
    /// Connects. Secrets are read anew each time, so that changed ones count at once.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn open(access: &Access) -> Result<Self, Fault> {
        let Access { address, timeout, .. } = access;
        let wrong = |text: String| Fault::new(FaultKind::Setup, address, text);
        let password = match &access.password {
            Some(path) => Some(first_line(path).map_err(wrong)?),
            None => None,
        };
        let ca = match &access.ca {
            Some(path) => Some(read_bounded(path, MAX_CA).map_err(wrong)?),
            None => None,
        };
        let inner = tokio::time::timeout(*timeout, connect(access, password, ca)).await;
        let slow = || Fault::new(FaultKind::Slow(*timeout), address, "connecting".to_owned());
        let inner = inner.map_err(|_| slow())?.map_err(|error| classify(&error, address, *timeout))?;
        Ok(Self { inner, address: address.clone(), timeout: *timeout })
    }

    /// Where it leads.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Sends one command and waits for its answer.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn call(&mut self, call: &Call) -> Result<Reply, Fault> {
        let answer = tokio::time::timeout(2 * self.timeout, async {
            match &mut self.inner {
                Inner::One(connection) => connection.req_packed_command(&call.0).await,
                Inner::Cluster(connection) => connection.req_packed_command(&call.0).await,
            }
        });
        let answer = answer.await.map_err(|_| self.slow())?;
        answer.and_then(reply).map_err(|error| classify(&error, &self.address, self.timeout))
    }

    /// Sends commands at once and waits for all answers. A refused one does not keep the others from being carried out.
    ///
    /// # Errors
    /// [`Fault`]: the first one.
    pub async fn pipeline(&mut self, calls: Vec<Call>) -> Result<Vec<Reply>, Fault> {
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::Pipeline::with_capacity(calls.len());
        for call in calls {
            pipeline.add_command(call.0);
        }
        let answers = tokio::time::timeout(2 * self.timeout, async {
            match &mut self.inner {
                Inner::One(connection) => pipeline.query_async::<Vec<Value>>(connection).await,
                Inner::Cluster(connection) => pipeline.query_async::<Vec<Value>>(connection.as_mut()).await,
            }
        });
        let answers = answers.await.map_err(|_| self.slow())?;
        let replies = answers.and_then(|answers| answers.into_iter().map(reply).collect());
        replies.map_err(|error| classify(&error, &self.address, self.timeout))
    }

    fn slow(&self) -> Fault {
        Fault::new(FaultKind::Slow(self.timeout), &self.address, "an answer".to_owned())
    }
}

async fn connect(access: &Access, password: Option<String>, ca: Option<Vec<u8>>) -> Result<Inner, RedisError> {
    let Address { layout, tls, user, hosts, database, .. } = &access.address;
    let timeout = access.timeout;
    let endpoint = |(host, port): &(String, u16)| match tls {
        true => ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None },
        false => ConnectionAddr::Tcp(host.clone(), *port),
    };
    let certificates = TlsCertificates { client_tls: None, root_cert: ca };
    let mut settings = RedisConnectionInfo::default().set_db(i64::from(*database)).set_skip_set_lib_name();
    if let Some(user) = user {
        settings = settings.set_username(user);
    }
    if let Some(password) = &password {
        settings = settings.set_password(password);
    }
    let single = AsyncConnectionConfig::new();
    let single = single.set_connection_timeout(Some(timeout)).set_response_timeout(Some(timeout));
    let infos =
        hosts.iter().map(|host| Ok(endpoint(host).into_connection_info()?.set_redis_settings(settings.clone())));
    let mut infos = infos.collect::<Result<Vec<_>, RedisError>>()?;
    match layout {
        Layout::Single => {
            let info = infos.pop().ok_or((ErrorKind::InvalidClientConfig, "no machine is named"))?;
            let client = if *tls { Client::build_with_tls(info, certificates)? } else { Client::open(info)? };
            Ok(Inner::One(client.get_multiplexed_async_connection_with_config(&single).await?))
        }
        Layout::Sentinel(service) => {
            // Sentinels are asked without a password: it is the store's, and what they answer is checked by connecting.
            let endpoints = hosts.iter().map(endpoint);
            let mut builder = SentinelClientBuilder::new(endpoints, service, SentinelServerType::Master)?;
            builder = builder.set_client_to_redis_db(i64::from(*database));
            if *tls {
                builder = builder
                    .set_client_to_redis_tls_mode(redis::TlsMode::Secure)
                    .set_client_to_redis_certificates(certificates.clone())
                    .set_client_to_sentinel_certificates(certificates);
            }
            if let Some(user) = user {
                builder = builder.set_client_to_redis_username(user);
            }
            if let Some(password) = password {
                builder = builder.set_client_to_redis_password(password);
            }
            let mut client = builder.build()?;
            Ok(Inner::One(client.get_async_connection_with_config(&single).await?))
        }
        Layout::Cluster => {
            let mut builder = ClusterClientBuilder::new(infos).retries(1);
            if *tls {
                builder = builder.certs(certificates);
            }
            let config = ClusterConfig::new().set_connection_timeout(timeout).set_response_timeout(timeout);
            let connection = builder.build()?.get_async_connection_with_config(config).await?;
            Ok(Inner::Cluster(Box::new(connection)))
        }
    }
}

/// What a library's error means for us.
fn classify(error: &RedisError, address: &Address, timeout: Duration) -> Fault {
    let text = error.to_string();
    let server = || error.detail().map_or_else(|| text.clone(), |detail| detail.to_owned());
    let code = error.code().unwrap_or_default();
    let kind = if error.is_timeout() {
        FaultKind::Slow(timeout)
    } else if error.kind() == ErrorKind::AuthenticationFailed || matches!(code, "NOAUTH" | "WRONGPASS") {
        FaultKind::Denied
    } else if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm)
        || text.contains("NOPERM")
        || text.contains("can't run this command")
        || text.contains("has no permissions")
    {
        FaultKind::NoPermission
    } else if code == "READONLY" || text.contains("READONLY") {
        FaultKind::ReadOnly
    } else if code == "OOM" || text.contains("OOM ") {
        FaultKind::OutOfMemory
    } else if code == "WRONGTYPE" || text.contains("WRONGTYPE") {
        FaultKind::WrongType
    } else if matches!(code, "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "BUSY") {
        FaultKind::Busy
    } else if code == "MISCONF" {
        FaultKind::NotSaving
    } else if code == "NOREPLICAS" {
        FaultKind::Busy
    } else if error.is_io_error()
        || error.is_connection_dropped()
        || matches!(
            error.kind(),
            ErrorKind::Io
                | ErrorKind::ClusterConnectionNotFound
                | ErrorKind::MasterNameNotFoundBySentinel
                | ErrorKind::NoValidReplicasFoundBySentinel
        )
    {
        FaultKind::Down
    } else {
        FaultKind::Other
    };
    let text = match kind {
        FaultKind::Down => lowest_source(error),
        FaultKind::Setup
        | FaultKind::Slow(_)
        | FaultKind::Denied
        | FaultKind::NoPermission
        | FaultKind::ReadOnly
        | FaultKind::OutOfMemory
        | FaultKind::WrongType
        | FaultKind::Busy
        | FaultKind::NotSaving
        | FaultKind::Other => server(),
    };
    Fault::new(kind, address, text)
}

/// The system's own words, without what the layers above put around them.
fn lowest_source(error: &RedisError) -> String {
    let text = error.to_string();
    match text.strip_suffix(')').and_then(|rest| rest.rsplit_once(" (os error ")) {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

fn read_bounded(path: &std::path::Path, most: u64) -> Result<Vec<u8>, String> {
    let place = path.display();
    let size = std::fs::metadata(path).map_err(|e| format!("cannot read {place}: {e}"))?.len();
    if size > most {
        return Err(format!("{place} has {size} bytes; at most {most} are read"));
    }
    std::fs::read(path).map_err(|e| format!("cannot read {place}: {e}"))
}

/// The first line of a file that holds a secret.
///
/// # Errors
/// It cannot be read, or its first line is empty; in words.
pub fn first_line(path: &std::path::Path) -> Result<String, String> {
    let bytes = read_bounded(path, MAX_SECRET)?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{} is not text", path.display()))?;
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        Some(_) | None => Err(format!("the first line of {} is empty; write the secret there", path.display())),
    }
}

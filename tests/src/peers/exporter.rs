//! The series of a load as a page to be scraped: one path a server, the values of the same model.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use crate::load::host::{FIRE_AT, Host, Layout};

/// A running exporter; it ends with its thread's runtime when it is dropped.
#[derive(Debug)]
pub(super) struct Exporter {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    hosts: Vec<Mutex<Host>>,
    pages: AtomicU64,
    /// What the firing series of the first server shows.
    fire: AtomicU64,
}

impl Exporter {
    /// Serves `servers` pages of `series` series each, from a thread of its own.
    pub(super) fn start(servers: usize, series: usize) -> anyhow::Result<Self> {
        let layout = Layout::new(series);
        let hosts = (0..servers as u64).map(|seed| Mutex::new(layout.host(seed))).collect();
        let shared = Arc::new(Shared { hosts, pages: AtomicU64::new(0), fire: AtomicU64::new(0) });
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let served = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                tokio::select! {
                    _ = stopped => {}
                    () = serve(listener, served) => {}
                }
            });
        });
        Ok(Self { address, shared, stop: Some(stop), thread: Some(thread) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Pages served so far.
    pub(super) fn pages(&self) -> u64 {
        self.shared.pages.load(Ordering::SeqCst)
    }

    /// What the first server's firing series shows from now on.
    pub(super) fn fire(&self, value: u64) {
        self.shared.fire.store(value, Ordering::SeqCst);
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(stream, Arc::clone(&shared)));
    }
}

/// Requests one after another; `GET /17` is the page of server 17.
async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let mut stream = BufReader::new(stream);
    let (mut line, mut page) = (String::new(), String::new());
    loop {
        let mut path = None;
        loop {
            line.clear();
            match stream.read_line(&mut line).await {
                Ok(n) if n > 2 && n < 8192 => {
                    let number = || line.split(' ').nth(1)?.trim_start_matches('/').parse::<usize>().ok();
                    path = path.or_else(number);
                }
                Ok(n) if n > 0 => break,
                _ => return,
            }
        }
        let Some((at, host)) = path.and_then(|at| Some((at, shared.hosts.get(at)?))) else { return };
        page.clear();
        {
            let mut host = host.lock().await;
            host.step();
            if at == 0 {
                host.values[FIRE_AT] = shared.fire.load(Ordering::SeqCst) as f64;
            }
            write(&host, &mut page);
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\n\r\n",
            page.len()
        );
        page.insert_str(0, &head);
        if stream.write_all(page.as_bytes()).await.is_err() {
            return;
        }
        shared.pages.fetch_add(1, Ordering::SeqCst);
    }
}

fn write(host: &Host, page: &mut String) {
    for (key, value) in host.keys.iter().zip(&host.values) {
        // Writing into a text cannot fail.
        let _ = writeln!(page, "{}{} {value}", key.name.replace('.', "_"), key.labels);
    }
}

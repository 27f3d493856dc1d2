//! The demo's faults: real processes and files of its own, each with its clean-up.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context;

/// Real things in one folder that can be broken.
#[derive(Debug)]
pub struct Faults {
    dir: PathBuf,
    runaway: Option<Child>,
}

impl Faults {
    /// Lays out scripts and folders below `dir`.
    ///
    /// # Errors
    /// When files cannot be written.
    pub fn lay_out(dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir.join("bin"))?;
        fs::create_dir_all(dir.join("scratch"))?;
        fs::write(dir.join("scratch/keep.txt"), "not a temporary file\n")?;
        // Both count what happens to them, so that an effect that happened twice shows.
        let runaway =
            format!("#!/bin/sh\ntrap \"echo term >> '{}/effects.log'\" TERM\nwhile :; do :; done\n", dir.display());
        executable(&dir.join("bin/demo-runaway"), &runaway)?;
        let worker = format!(
            "#!/bin/sh\necho $$ > '{0}/worker.pid.new'\nmv '{0}/worker.pid.new' '{0}/worker.pid'\necho started >> '{0}/effects.log'\nwhile :; do sleep 1; done\n",
            dir.display()
        );
        executable(&dir.join("bin/demo-worker"), &worker)?;
        Ok(Self { dir: dir.to_owned(), runaway: None })
    }

    /// A process that burns a core and ignores SIGTERM.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_runaway(&mut self) -> anyhow::Result<u32> {
        let child = silent(&self.dir.join("bin/demo-runaway")).spawn().context("starting demo-runaway")?;
        let pid = child.id();
        self.runaway = Some(child);
        Ok(pid)
    }

    /// How the runaway process ended: the signal's number, once it is gone.
    pub fn runaway_ended_by(&mut self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt;
        self.runaway.as_mut()?.try_wait().ok().flatten().and_then(|status| status.signal())
    }

    /// The service as an operator would have started it before; returns once it runs.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_worker(&self) -> anyhow::Result<()> {
        // Its parent ends at once, as a daemon's does; the service is nobody's child of ours.
        let line = format!("'{}' </dev/null >/dev/null 2>&1 &", self.dir.join("bin/demo-worker").display());
        let status = Command::new("/bin/sh").arg("-c").arg(line).status().context("starting demo-worker")?;
        anyhow::ensure!(status.success(), "starting demo-worker: {status}");
        for _ in 0..1000 {
            if self.worker_pid().is_some() {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        anyhow::bail!("demo-worker did not write its pid file")
    }

    /// The service's process, while it lives.
    #[must_use]
    pub fn worker_pid(&self) -> Option<i32> {
        let pid: i32 = fs::read_to_string(self.dir.join("worker.pid")).ok()?.trim().parse().ok()?;
        // Only a process that still is ours counts: pids are used again.
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        (name.trim() == "demo-worker").then_some(pid)
    }

    /// Ends the service with SIGKILL.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_worker(&self) -> anyhow::Result<i32> {
        let pid = self.worker_pid().context("demo-worker does not run")?;
        signal(pid, rustix::process::Signal::KILL)?;
        Ok(pid)
    }

    /// Fills the scratch folder with `count` files of 1 MB.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn fill_scratch(&self, count: usize) -> anyhow::Result<()> {
        let block = vec![b'x'; 1_000_000];
        for i in 0..count {
            fs::write(self.dir.join(format!("scratch/part-{i:03}.tmp")), &block)
                .context("filling the scratch folder")?;
        }
        Ok(())
    }

    /// Names left in the scratch folder, sorted.
    #[must_use]
    pub fn scratch(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.join("scratch")).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Makes the mirror check fail; nothing in the policy cures it.
    ///
    /// # Errors
    /// When the marker cannot be written.
    pub fn break_mirror(&self) -> anyhow::Result<()> {
        fs::write(self.dir.join("mirror.stale"), "").context("marking the mirror stale")
    }

    /// Lines of the log into which effects write themselves: `term` by the runaway process, `started` by the service,
    /// `ran ...` by the cure of the mirror.
    #[must_use]
    pub fn effects(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.join("effects.log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Ends what still runs.
    pub fn clean_up(&mut self) {
        if let Some(mut child) = self.runaway.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(pid) = self.worker_pid() {
            let _ = signal(pid, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.clean_up();
    }
}

fn executable(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o755).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(())
}

fn silent(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn signal(pid: i32, signal: rustix::process::Signal) -> anyhow::Result<()> {
    let pid = rustix::process::Pid::from_raw(pid).context("a pid is positive")?;
    rustix::process::kill_process(pid, signal).with_context(|| format!("ending process {}", pid.as_raw_nonzero()))
}

//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use super::maintenance::MaintenanceCommand;
use super::silence::SilenceCommand;

/// Talks to the Skynet controller of this machine.
///
/// Exit codes: 0 done; 1 failed, or `policy check`, `test` or `verify` found mistakes; 2 wrong usage; 3 the controller
/// cannot be reached.
#[derive(Debug, Parser)]
#[command(name = "skynetctl", version, arg_required_else_help = true, max_term_width = 110)]
pub struct Args {
    /// The controller's socket for operators.
    #[arg(
        long,
        global = true,
        env = "SKYNET_SOCKET",
        value_name = "PATH",
        default_value = "/var/lib/skynet-controller/operator.sock"
    )]
    pub socket: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List servers, incidents, policies, notices, approvals, silences or maintenance.
    Get {
        /// What to list.
        kind: Kind,
        /// Incidents: those that have ended, too.
        #[arg(short = 'A', long)]
        all: bool,
        /// At most so many.
        #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Tell all that is known of a server or an incident.
    Describe {
        /// What it is.
        kind: Thing,
        /// Its name or id.
        name: String,
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Show the event log, oldest first.
    Logs {
        /// Go on with what comes.
        #[arg(short, long)]
        follow: bool,
        /// Begin with the newest N.
        #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = 100,
            value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
        lines: u32,
        /// How to print each event; json is one object a line.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Show the past of series: `query 'disk.used_ratio{mount="/"}' --server web1 --since 6h`.
    Query(QueryArgs),
    /// Check policy, or put it in force.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// What operators say of a server.
    #[command(subcommand)]
    Server(ServerCommand),
    /// Ask for something that a scenario of the policy answers: `request unblock ip=203.0.113.7 --where role=web`.
    Request(RequestArgs),
    /// Take an incident over: whoever else would be told later is not.
    Ack {
        /// The incident's id.
        incident: String,
        /// A word to the others.
        #[arg(short = 'm', long = "message", visible_alias = "comment", value_name = "TEXT", default_value = "")]
        comment: String,
        /// How to print what became of it.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Let the step of an incident be done that waits for approval; `get approvals` lists them.
    Approve {
        /// The incident's id.
        incident: String,
        /// A word to the others.
        #[arg(short = 'm', long = "message", visible_alias = "comment", value_name = "TEXT", default_value = "")]
        comment: String,
        /// How to print what became of it.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Hold notices back for a while; acting goes on.
    #[command(subcommand)]
    Silence(SilenceCommand),
    /// Say that servers are worked on: they are read, nothing is done about them, nobody is told.
    #[command(subcommand)]
    Maintenance(MaintenanceCommand),
    /// Stop acting on the whole fleet; reading and telling go on.
    Halt {
        /// Why; the others will read it.
        #[arg(short = 'm', long = "message", visible_alias = "reason", value_name = "TEXT")]
        reason: String,
        /// How to print what became of it.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Let acting go on after a halt.
    Resume {
        /// How to print what became of it.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Bring the controller its keys, on standard input: `age -d keys.age | ssh controller skynetctl unseal`.
    Unseal {
        /// How to print what became of it.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Take the keys away from the controller.
    Seal {
        /// How to print what became of it.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// The offsite copy in Redis.
    #[command(subcommand)]
    Store(StoreCommand),
    /// What there is: sensors, actions, functions; series, units, parameters, risks and defaults.
    Explain {
        /// `sensor`, `action`, `function`, or a name.
        what: Option<String>,
        /// The name of one sensor, series, action or function.
        name: Option<String>,
        /// All of it, in full.
        #[arg(short = 'A', long)]
        all: bool,
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t)]
        output: ExplainOutput,
    },
}

/// What to show of the past.
#[derive(Debug, clap::Args)]
pub struct QueryArgs {
    /// A series' name, or the name with some labels: `disk.used_ratio{mount="/"}`; `*` stands for any text.
    pub series: String,
    /// A server, or several; `*` stands for any text.
    #[arg(short, long = "server", value_name = "NAME", required_unless_present = "all", conflicts_with = "all")]
    pub servers: Vec<String>,
    /// Every server.
    #[arg(short = 'A', long)]
    pub all: bool,
    /// From when: so long ago (`6h`), or an instant (`2026-11-01T03:00:00Z`).
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub since: String,
    /// Until when; now if not given.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// One line for so much time: least, mean and greatest. `0s` shows every sample. By default tables and sparklines have
    /// about 60, and json and yaml hold every sample.
    #[arg(long, value_name = "SPAN")]
    pub step: Option<String>,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: QueryOutput,
}

/// What to ask for, and for which servers.
#[derive(Debug, clap::Args)]
pub struct RequestArgs {
    /// The request's name in policy.
    pub name: String,
    /// Its parameters.
    #[arg(value_name = "NAME=VALUE", value_parser = pair)]
    pub parameters: Vec<(String, String)>,
    /// A server, or several.
    #[arg(short, long = "server", value_name = "NAME")]
    pub servers: Vec<String>,
    /// Servers with this label; given again: and with that one. `*` stands for any text.
    #[arg(long = "where", value_name = "LABEL=VALUE", value_parser = pair)]
    pub selector: Vec<(String, String)>,
    /// On behalf of a customer: what they may ask for, on their servers; all of theirs if none are named.
    #[arg(long, value_name = "NAME")]
    pub customer: Option<String>,
    /// Show what happens until it is over, for so long at most. Exits with 1 when it was not done.
    #[arg(long, value_name = "SPAN", num_args = 0..=1, require_equals = true, default_missing_value = "10m")]
    pub wait: Option<String>,
    /// How to print what became of it.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// `name=value`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("write NAME=VALUE".to_owned()),
    }
}

/// How to print the past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum QueryOutput {
    /// For people: one table a series.
    #[default]
    Table,
    /// For people: one line a series.
    Sparkline,
    /// For programs.
    Json,
    /// The same as YAML.
    Yaml,
}

/// What to try a policy out on.
#[derive(Debug, clap::Args)]
pub struct BacktestArgs {
    /// A folder, or a bundle built from one.
    pub source: PathBuf,
    /// From when: so long ago (`24h`), or an instant (`2026-11-01T03:00:00Z`).
    #[arg(long, value_name = "TIME", default_value = "24h")]
    pub since: String,
    /// Until when; now if not given.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// A server, or several; `*` stands for any text. Every server if not given.
    #[arg(short, long = "server", value_name = "NAME")]
    pub servers: Vec<String>,
    /// How to print what was found.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// What to do with policy.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Find every mistake in a folder of policy files. Asks no controller.
    Check {
        /// The folder.
        dir: PathBuf,
        /// How to print the mistakes.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Show the newest rollout: its waves, its gate, and where every server is.
    Status {
        /// Go on until it is over; exits with 1 when it went back.
        #[arg(short, long)]
        watch: bool,
        /// List every server.
        #[arg(short = 'A', long)]
        all: bool,
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Make the one file that is signed and pushed. Same files, version and expiry: same bytes.
    Build {
        /// The folder.
        dir: PathBuf,
        /// The bundle to write.
        #[arg(short, long, value_name = "FILE")]
        out: PathBuf,
        /// Its version, higher than any before; without it the controller is asked for the newest, and one is added.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        version: Option<u64>,
        /// Actions stop so long from now.
        #[arg(long, value_name = "SPAN", default_value = "90d", conflicts_with = "expires")]
        valid: String,
        /// Actions stop at this instant: `2027-02-01T00:00:00Z`. Give it, and the version, to get the same bytes again.
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
        /// How to print what was built.
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Sign a bundle with your own SSH key: runs `ssh-keygen -Y sign`, so agents, hardware keys and passphrases work.
    Sign {
        /// The bundle.
        bundle: PathBuf,
        /// Your key: the private key's file, or its .pub file where an agent holds it.
        #[arg(short = 'f', long = "key", value_name = "FILE")]
        key: PathBuf,
        /// Write BUNDLE.NAME.sig. Without it: BUNDLE.sig, or the key's name where that is taken.
        #[arg(long)]
        name: Option<String>,
        /// How to print what was signed.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Check a bundle and the signatures beside it as agents do. Asks no controller. Exits with 1 if it would be refused.
    Verify {
        /// The bundle; its signatures are BUNDLE.sig and BUNDLE.*.sig.
        bundle: PathBuf,
        /// Whose signatures count: a file in OpenSSH's allowed_signers format.
        #[arg(long, value_name = "FILE")]
        allowed_signers: PathBuf,
        /// How many of them must have signed; the policy itself may ask for more.
        #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
        signers: u32,
        /// How to print who signed.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Run the tests that ship with a policy (`*.test.yaml`) in virtual time. Asks no controller; exits with 1 if one fails.
    Test {
        /// The folder.
        dir: PathBuf,
        /// Only tests whose names fit; `*` stands for any text.
        #[arg(long, value_name = "GLOB")]
        run: Option<String>,
        /// How to print what came of them.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Tell what a policy would have done over recorded history, beside what the one in force did. Changes nothing.
    Backtest(BacktestArgs),
    /// Print the language as JSON Schema, for editors with a YAML language server.
    Schema {
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t = Output::Json)]
        output: Output,
    },
    /// Tell in words what changes from one policy to another, and for which servers. Exit codes as of `diff`: 0 nothing,
    /// 1 something, 2 trouble.
    Diff {
        /// What there is: a folder, a bundle, or `current`, the policy in force.
        from: PathBuf,
        /// What comes: the same.
        to: PathBuf,
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Begin no further wave of the rollout. What has begun is still watched, and goes back if it does harm.
    Pause {
        /// How to print what became of it.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Let a paused rollout go on.
    Resume {
        /// How to print what became of it.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// End the rollout: every server goes back to its last good version.
    Rollback {
        /// Why; the others will read it.
        #[arg(
            short = 'm',
            long = "message",
            visible_alias = "reason",
            value_name = "TEXT",
            default_value = "an operator's wish"
        )]
        reason: String,
        /// How to print what became of it.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Roll a policy out, in the waves that it names itself. A folder is checked first.
    Push {
        /// A bundle, sent with BUNDLE.sig and BUNDLE.*.sig beside it; or a folder, where unsigned policy is taken.
        source: PathBuf,
        /// The version of what is built from a folder; the current one plus one if not given.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        version: Option<u64>,
        /// Send it without signatures; the controller and the agents must allow that.
        #[arg(long)]
        insecure_unsigned: bool,
        /// How to print what became of it.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
}

/// What to say of a server.
#[derive(Debug, Subcommand)]
pub enum ServerCommand {
    /// Set labels (`role=web`) and take labels away (`tier-`). They choose what of the policy the server runs, at once.
    Label {
        /// The server.
        server: String,
        /// `name=value` or `name-`.
        #[arg(required = true)]
        labels: Vec<String>,
        /// How to print what became of it.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
}

/// What to do with the offsite copy. `skynet-controller store restore` brings a lost data folder back from it.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Tell what is copied, how far, and what is wrong.
    Status {
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Recompute the chain of all copied events, check its seal, and compare it with the journal. Exits with 1 and the
    /// first bad event if there is one.
    Verify {
        /// How to print what was found.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
}

/// What can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Every enrolled server.
    #[value(alias = "server", alias = "srv")]
    Servers,
    /// What fired and is not over.
    #[value(alias = "incident", alias = "inc")]
    Incidents,
    /// Policy versions.
    #[value(alias = "policy", alias = "pol")]
    Policies,
    /// What people were told.
    #[value(alias = "notice")]
    Notices,
    /// Steps that wait for approval, or have it and are not done yet.
    #[value(alias = "approval")]
    Approvals,
    /// Silences in force.
    #[value(alias = "silence")]
    Silences,
    /// Maintenance in force.
    #[value(alias = "maintenances")]
    Maintenance,
}

impl Kind {
    /// The word in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Servers => "servers",
            Self::Incidents => "incidents",
            Self::Policies => "policies",
            Self::Notices => "notices",
            Self::Approvals => "approvals",
            Self::Silences => "silences",
            Self::Maintenance => "maintenance",
        }
    }
}

/// What can be described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Thing {
    /// An enrolled server.
    #[value(alias = "servers", alias = "srv")]
    Server,
    /// A scenario that fired.
    #[value(alias = "incidents", alias = "inc")]
    Incident,
}

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// As the controller gave it.
    Json,
    /// The same as YAML.
    Yaml,
}

/// How to print what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ExplainOutput {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// The same as YAML.
    Yaml,
    /// The reference in the docs.
    Markdown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}

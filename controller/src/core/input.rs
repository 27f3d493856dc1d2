//! What comes into the core, and what goes back.

use skynet_engine::Asking;
use skynet_model::command::{LedgerEntry, Outcome};
use skynet_model::emergency::Taken;
use skynet_model::name::{IncidentId, NoticeId, ServerId};
use skynet_model::policy::Match;
use skynet_model::series::Labels;
use skynet_proto::WireError;
use tokio::sync::{mpsc, oneshot};

use super::desk::Desk;
use super::link::Link;
use super::standing::Standing;
use super::view::View;
use crate::policies::Candidate;

/// Inputs that may wait; senders wait for room.
pub const INPUTS: usize = 1024;

/// What the core is told.
pub enum Input {
    /// By an agent's session.
    Session(SessionInput),
    /// By an operator, who waits for the answer.
    Order(Order, oneshot::Sender<Answer>),
    /// A question about the state.
    Ask(Box<dyn for<'a> FnOnce(View<'a>) + Send>),
    /// A notice reached a target, or never will.
    Notified {
        /// Which notice.
        notice: NoticeId,
        /// Which target, by its name.
        target: String,
        /// Why not.
        result: Result<(), String>,
    },
    /// Something operators should know. Goes into the log as it is.
    Remark {
        /// The server it is about.
        server: Option<ServerId>,
        /// A stable word.
        topic: &'static str,
        /// In words.
        message: String,
    },
    /// An operator called a method that changes something: told before what it leads to.
    Called {
        /// Who.
        by: String,
        /// Their role.
        role: &'static str,
        /// The method.
        method: &'static str,
        /// What they asked for, in short.
        summary: String,
    },
    /// An emergency document whose signatures were found good.
    Emergency {
        /// What it says.
        taken: Box<Taken>,
        /// Its signatures.
        signatures: Vec<String>,
    },
    /// Write what is left and end.
    Stop,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Session(_) => "Session",
            Self::Order(..) => "Order",
            Self::Ask(_) => "Ask",
            Self::Notified { .. } => "Notified",
            Self::Remark { .. } => "Remark",
            Self::Called { .. } => "Called",
            Self::Emergency { .. } => "Emergency",
            Self::Stop => "Stop",
        })
    }
}

/// What a session tells.
#[derive(Debug)]
pub struct SessionInput {
    /// Whose, by its certificate.
    pub server: ServerId,
    /// Which of this controller's sessions; unique while it runs.
    pub token: u64,
    /// What.
    pub what: FromAgent,
}

/// One message of an agent, checked.
#[derive(Debug)]
pub enum FromAgent {
    /// The session begins, if the answer says so.
    Begin {
        /// Who it says it is.
        hello: Hello,
        /// The way back.
        link: Link,
        /// Whether it may begin, and where its readings go.
        answer: oneshot::Sender<Result<Desk, WireError>>,
    },
    /// What the ledger holds.
    Inventory(Vec<LedgerEntry>),
    /// Its [`Desk::take`] said so: something was found in its readings.
    Found,
    /// A command ended.
    Outcome(Outcome),
    /// A policy was taken or refused.
    Policy {
        /// Its version.
        version: u64,
        /// Its digest.
        digest: String,
        /// Why it was refused.
        error: Option<String>,
    },
    /// A sensor's health changed.
    Sensor {
        /// Which.
        id: String,
        /// Its health.
        healthy: bool,
        /// In words.
        message: String,
    },
    /// Readings were lost on the agent.
    Lost {
        /// How many.
        readings: u64,
        /// Why.
        reason: String,
    },
    /// The session ended.
    End {
        /// Why, in words.
        reason: String,
        /// Set when bad input ended it.
        bad_input: bool,
    },
}

/// An agent's first message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The agent's version.
    pub version: String,
    /// The server's boot id.
    pub boot: String,
    /// Rises with every session of one boot.
    pub session: u64,
    /// The highest epoch it has seen.
    pub epoch: u64,
    /// The policy it runs; 0 when none.
    pub policy_version: u64,
    /// Its digest.
    pub policy_digest: String,
    /// What the server runs on.
    pub system: System,
    /// It takes policy that nobody signed.
    pub insecure_unsigned: bool,
    /// When the agent began, on the boot clock; 0: not told.
    pub started_boot_ms: i64,
    /// The labels that policy came with.
    pub labels: Labels,
}

/// What a server runs on, as its agent says; empty or 0 where it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct System {
    /// The distribution and its version.
    pub os: String,
    /// The kernel's release.
    pub kernel: String,
    /// The processor's architecture.
    pub arch: String,
    /// Cores.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
}

/// What an operator wants.
#[derive(Debug)]
pub enum Order {
    /// Take an incident over.
    Acknowledge {
        /// Which.
        incident: IncidentId,
        /// Who.
        by: String,
        /// What they say.
        comment: String,
    },
    /// Ask for something that a scenario answers.
    Request {
        /// What, by whom, for which customer, and which servers by name.
        asking: Asking,
        /// And servers with these labels.
        selector: Match,
    },
    /// Stop acting.
    Halt {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// Act again.
    Resume {
        /// Who.
        by: String,
    },
    /// Approve, silence, work on servers.
    Stand {
        /// What.
        what: Standing,
        /// Who.
        by: String,
    },
    /// Begin the rollout of a policy.
    Push {
        /// The policy, checked by itself.
        candidate: Box<Candidate>,
        /// Who.
        by: String,
    },
    /// Pause, resume or end the rollout.
    Steer {
        /// What.
        what: Steer,
        /// Who.
        by: String,
    },
    /// Give a server other labels.
    Label {
        /// Which.
        server: ServerId,
        /// Labels it gets.
        set: Labels,
        /// Names of labels it loses.
        remove: Vec<String>,
        /// Who.
        by: String,
    },
}

/// What becomes of a rollout.
#[derive(Debug)]
pub enum Steer {
    /// No wave begins any more.
    Pause,
    /// Waves go on.
    Resume,
    /// Every server goes back.
    RollBack {
        /// Why.
        reason: String,
    },
}

/// What became of an order: a JSON document, or why not.
pub type Answer = Result<serde_json::Value, Refused>;

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// Not in this state.
    #[error("{0}")]
    Precondition(String),
    /// Not now: the journal, the disk, the end.
    #[error("{0}")]
    Unavailable(String),
}

/// The way into the core.
#[derive(Clone, Debug)]
pub struct Handle(mpsc::Sender<Input>);

impl Handle {
    /// A way in and the core's end of it.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Input>) {
        let (sender, receiver) = mpsc::channel(INPUTS);
        (Self(sender), receiver)
    }

    /// Tells; waits for room. False when the core has ended.
    pub async fn tell(&self, input: Input) -> bool {
        self.0.send(input).await.is_ok()
    }

    /// Tells if there is room.
    pub fn try_tell(&self, input: Input) -> bool {
        self.0.try_send(input).is_ok()
    }

    /// Asks about the state.
    ///
    /// # Errors
    /// [`Refused::Unavailable`] when the core has ended.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl for<'a> FnOnce(View<'a>) -> T + Send + 'static,
    ) -> Result<T, Refused> {
        let (sender, receiver) = oneshot::channel();
        let ask = Input::Ask(Box::new(move |view| {
            // Whoever asked may have gone.
            let _ = sender.send(question(view));
        }));
        let gone = || Refused::Unavailable("the controller is going down".to_owned());
        if !self.tell(ask).await {
            return Err(gone());
        }
        receiver.await.map_err(|_| gone())
    }

    /// Gives an order and waits for what became of it.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn order(&self, order: Order) -> Answer {
        let (sender, receiver) = oneshot::channel();
        let gone = || Refused::Unavailable("the controller is going down".to_owned());
        if !self.tell(Input::Order(order, sender)).await {
            return Err(gone());
        }
        receiver.await.map_err(|_| gone())?
    }
}

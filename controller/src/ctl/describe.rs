//! `describe`: all that is known of one thing.

mod incident;
mod server;

use skynet_model::catalogue::Catalogue;

use super::Failure;
use super::args::{Output, Thing};
use super::clock;
use super::documents::{Latest, Server, Story, Told};
use super::link::Link;
use super::print::{Printer, parse};

/// How many notices are looked through for those of an incident.
const NOTICES: u32 = 1000;

/// Asks and prints.
///
/// # Errors
/// [`Failure`].
pub(super) async fn run(
    link: &mut Link,
    thing: Thing,
    name: &str,
    output: Output,
    catalogue: &Catalogue,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let kind = match thing {
        Thing::Server => "server",
        Thing::Incident => "incident",
    };
    let json = link.describe(kind, name).await?;
    if output != Output::Table {
        return printer.document(&json, output);
    }
    match thing {
        Thing::Server => printer.page(&server::page(&parse(kind, &json)?, clock::now())),
        Thing::Incident => {
            let story: Story = parse(kind, &json)?;
            let (told, latest) = around(link, &story).await;
            printer.page(&incident::page(&story, told.as_deref(), &latest, catalogue, clock::now()))
        }
    }
}

/// Who was told, and what the server's readings are by now. The story is told without them where they cannot be had.
async fn around(link: &mut Link, story: &Story) -> (Option<Vec<Told>>, Vec<Latest>) {
    let told = link.list("notices", true, NOTICES).await.ok().map(|jsons| {
        let all = jsons.iter().filter_map(|json| serde_json::from_str::<Told>(json).ok());
        all.filter(|told| told.notice.incident.as_ref() == Some(&story.incident.id)).collect()
    });
    let server = match story.incident.server() {
        Some(server) => link.describe("server", server.as_str()).await.ok(),
        None => None,
    };
    let server = server.and_then(|json| serde_json::from_str::<Server>(&json).ok());
    // What a server said before it went away is not how it is now.
    let latest = server.filter(|s| s.connected).and_then(|s| s.latest).unwrap_or_default();
    (told, latest)
}

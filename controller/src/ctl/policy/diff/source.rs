//! The two sides: a folder, a bundle, or the policy in force.

use std::path::Path;

use skynet_model::catalogue::Catalogue;
use skynet_model::policy::{Bundle, Policy, load};

use super::super::{Checked, read_bundle, tell};
use crate::ctl::Failure;
use crate::ctl::args::Output;
use crate::ctl::link::Link;
use crate::ctl::print::Printer;

/// The word for the policy in force. A folder of this name is `./current`.
const CURRENT: &str = "current";

/// One side of the comparison.
#[derive(Debug)]
pub(super) struct Side {
    /// What it is called in the answer.
    pub(super) name: String,
    /// Whether it is the one in force.
    pub(super) current: bool,
    /// What it says.
    pub(super) policy: Policy,
}

impl Side {
    /// Reads it. Mistakes of a folder are printed.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn read(
        socket: &Path,
        source: &Path,
        catalogue: &Catalogue,
        printer: &mut Printer,
    ) -> Result<Self, Failure> {
        if source == Path::new(CURRENT) {
            let json = Link::open(socket).await?.describe("bundle", CURRENT).await?;
            let bundle = Bundle::decode(json.as_bytes());
            let bundle = bundle.map_err(|e| Failure::Failed(format!("the controller's policy cannot be read: {e}")))?;
            return Self::of_bundle(format!("current (v{})", bundle.version), true, &bundle, catalogue);
        }
        let name = source.display().to_string();
        if !source.is_dir() {
            let bundle = read_bundle(source)?;
            return Self::of_bundle(format!("{name} (v{})", bundle.version), false, &bundle, catalogue);
        }
        let Checked { files, result, .. } = Checked::read(source, catalogue)?;
        match result {
            Ok(policy) => Ok(Self { name, current: false, policy }),
            Err(mistakes) => {
                let told = tell(&mistakes, &files, Output::Table, printer);
                let bare = matches!(&told, Failure::Failed(text) if text.is_empty());
                Err(if bare { Failure::Failed(format!("{name} has mistakes and cannot be compared")) } else { told })
            }
        }
    }

    fn of_bundle(name: String, current: bool, bundle: &Bundle, catalogue: &Catalogue) -> Result<Self, Failure> {
        let policy = load(&bundle.files, catalogue).map_err(|mistakes| {
            let first = mistakes.first().map(ToString::to_string).unwrap_or_default();
            Failure::Failed(format!("{name} is not policy as this skynetctl knows it: {first}"))
        })?;
        Ok(Self { name, current, policy })
    }
}

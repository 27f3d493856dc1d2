//! `policy verify`: what an agent would say of a bundle, anywhere.

use std::path::Path;

use serde_json::json;
use skynet_model::catalogue::Catalogue;
use skynet_model::policy::{Bundle, MAX_BUNDLE_BYTES, load};
use skynet_model::sign::{POLICY_NAMESPACE, SignatureError, Signer, Trust};

use super::super::Failure;
use super::super::age::to_the_second;
use super::super::args::Output;
use super::super::clock;
use super::super::folder;
use super::super::page::{Ink, Page};
use super::super::print::Printer;
use super::sign;
use crate::config::signers;

/// Checks a bundle and the signatures beside it.
///
/// # Errors
/// [`Failure::Failed`] with why it would be refused.
pub(in super::super) fn verify(
    path: &Path,
    allowed_signers: &Path,
    needed: u32,
    catalogue: &Catalogue,
    output: Output,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let place = path.display();
    let failed = |why: &dyn std::fmt::Display| Failure::Failed(format!("{place} is refused: {why}"));
    let bytes = folder::read_file(path, MAX_BUNDLE_BYTES)
        .map_err(|e| Failure::Failed(format!("cannot read the bundle {place}: {e}")))?;
    let trust = signers::read(allowed_signers).and_then(|signers| Trust::new(Some(signers), needed, false));
    let trust = trust.map_err(Failure::Failed)?;
    let (paths, signatures): (Vec<_>, Vec<_>) = sign::beside(path)?.into_iter().unzip();
    let now = clock::now();
    // Before it is parsed, as agents do.
    let good = trust.check(POLICY_NAMESPACE, &bytes, &signatures, now).map_err(|error| match error {
        SignatureError::TooFew { needed, good, bad } if !bad.is_empty() => {
            let mut text = format!("{} of {needed} needed signatures are good", good.len());
            for one in bad {
                let file = paths.get(one.number - 1).map(|p| p.display().to_string()).unwrap_or_default();
                text.push_str(&format!("\n  {file}: {}", one.fault));
            }
            failed(&text)
        }
        error @ (SignatureError::TooFew { .. }
        | SignatureError::TooMany(_)
        | SignatureError::NoSigners
        | SignatureError::Policy { .. }) => failed(&error),
    })?;
    let bundle = Bundle::decode(&bytes).map_err(|error| failed(&error))?;
    if bundle.expires <= now {
        return Err(failed(&format!("it expired at {}; build and sign it anew", to_the_second(bundle.expires))));
    }
    let policy = load(&bundle.files, catalogue).map_err(|mistakes| {
        let first = mistakes.first().map(ToString::to_string).unwrap_or_default();
        failed(&format!("its policy has {} mistakes, the first: {first}", mistakes.len()))
    })?;
    trust.enough(&good, policy.fleet.signers).map_err(|error| failed(&error))?;
    let digest = Bundle::digest(&bytes);
    match output {
        Output::Json | Output::Yaml => {
            let document = json!({
                "bundle": place.to_string(), "fleet": bundle.fleet, "version": bundle.version, "expires": bundle.expires,
                "digest": digest, "signed_by": good,
            });
            printer.document(&document.to_string(), output)
        }
        Output::Table => printer.page(&page(&bundle, &digest, &good)),
    }
}

fn page(bundle: &Bundle, digest: &str, good: &[Signer]) -> Page {
    let mut page = Page::new();
    page.line([
        Ink::Green.on("good"),
        format!(": policy v{} of fleet {}, expires {}", bundle.version, bundle.fleet, to_the_second(bundle.expires))
            .into(),
    ]);
    page.line([format!("digest {digest}").into()]);
    for signer in good {
        page.line([format!("signed by {} ({})", signer.principals.join(","), signer.fingerprint).into()]);
    }
    page
}

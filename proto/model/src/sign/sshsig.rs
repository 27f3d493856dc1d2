//! One signature: armored SSHSIG, its key, its proof.

use aws_lc_rs::signature as algorithms;
use aws_lc_rs::signature::{UnparsedPublicKey, VerificationAlgorithm};
use sha2::{Digest, Sha256};
use ssh_key::encoding::Decode;
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, LineEnding, Mpint, SshSig};

use super::MAX_SIGNATURE_BYTES;
use super::error::Fault;

/// A hardware key's flags: somebody touched it (PROTOCOL.u2f, after the FIDO U2F raw message formats).
const USER_PRESENT: u8 = 1;
/// Flags and counter, after a hardware key's signature.
const TRAILER: usize = 5;

/// A parsed signature.
#[derive(Debug)]
pub(super) struct Signature(SshSig);

/// Whether signatures by such a key are taken; else why not.
#[expect(clippy::wildcard_enum_match_arm, reason = "kinds of keys grow: only those that are named are taken")]
pub(super) fn supported(key: &KeyData) -> Result<(), String> {
    match key {
        KeyData::Ed25519(_) | KeyData::SkEd25519(_) | KeyData::Ecdsa(_) | KeyData::SkEcdsaSha2NistP256(_) => Ok(()),
        KeyData::Rsa(rsa) if (2048..=8192).contains(&rsa.key_size()) => Ok(()),
        KeyData::Rsa(rsa) => Err(format!("an RSA key of {} bits is not taken; 2048 to 8192 are", rsa.key_size())),
        other => Err(format!("keys of kind {} are not taken; write a signer's own ed25519 key", other.algorithm())),
    }
}

impl Signature {
    /// Reads what `ssh-keygen -Y sign` wrote; other spellings of the same signature are refused.
    pub(super) fn parse(armored: &[u8]) -> Result<Self, Fault> {
        if armored.len() > MAX_SIGNATURE_BYTES {
            return Err(Fault::TooLarge(armored.len()));
        }
        let malformed = |error: &dyn std::fmt::Display| Fault::Malformed(error.to_string());
        let parsed = SshSig::from_pem(armored).map_err(|error| malformed(&error))?;
        let canonical = [LineEnding::LF, LineEnding::CRLF].into_iter().any(|ending| {
            // What a key's own encoding leaves open would let one signature have several spellings.
            parsed.to_pem(ending).is_ok_and(|text| text.as_bytes() == armored)
        });
        if !canonical {
            return Err(malformed(&"it is written in another way"));
        }
        if parsed.version() != SshSig::VERSION || !parsed.reserved().is_empty() {
            return Err(malformed(&"its version is not known"));
        }
        supported(parsed.public_key()).map_err(Fault::Unsupported)?;
        Ok(Self(parsed))
    }

    pub(super) fn namespace(&self) -> &str {
        self.0.namespace()
    }

    pub(super) fn key(&self) -> &KeyData {
        self.0.public_key()
    }

    pub(super) fn fingerprint(&self) -> String {
        self.key().fingerprint(HashAlg::Sha256).to_string()
    }

    /// Whether it is a signature of `bytes` by its own key.
    pub(super) fn verify(&self, bytes: &[u8]) -> Result<(), Fault> {
        let signed = SshSig::signed_data(self.namespace(), self.0.hash_alg(), bytes);
        let signed = signed.map_err(|error| Fault::Malformed(error.to_string()))?;
        let (kind, proof) = (self.0.algorithm(), self.0.signature_bytes());
        match (self.key(), kind) {
            (KeyData::Ed25519(key), Algorithm::Ed25519) => proves(&algorithms::ED25519, &key.0, &signed, proof),
            (KeyData::Ecdsa(key), Algorithm::Ecdsa { curve }) if curve == key.curve() => {
                let (proof, _) = fixed(proof, curve)?;
                let algorithm: &'static dyn VerificationAlgorithm = match curve {
                    EcdsaCurve::NistP256 => &algorithms::ECDSA_P256_SHA256_FIXED,
                    EcdsaCurve::NistP384 => &algorithms::ECDSA_P384_SHA384_FIXED,
                    EcdsaCurve::NistP521 => &algorithms::ECDSA_P521_SHA512_FIXED,
                };
                proves(algorithm, key.as_sec1_bytes(), &signed, &proof)
            }
            (KeyData::Rsa(key), Algorithm::Rsa { hash: Some(hash) }) => {
                let algorithm = match hash {
                    HashAlg::Sha256 => &algorithms::RSA_PKCS1_2048_8192_SHA256,
                    HashAlg::Sha512 => &algorithms::RSA_PKCS1_2048_8192_SHA512,
                    other => return Err(Fault::Unsupported(format!("an RSA signature over {other} is not taken"))),
                };
                proves(algorithm, &rsa_key(key.n().as_bytes(), key.e().as_bytes()), &signed, proof)
            }
            (KeyData::SkEd25519(key), Algorithm::SkEd25519) => {
                let at = proof.len().saturating_sub(TRAILER);
                let (proof, trailer) = proof.split_at(at);
                let message = touched(key.application(), trailer, &signed)?;
                proves(&algorithms::ED25519, &key.public_key().0, &message, proof)
            }
            (KeyData::SkEcdsaSha2NistP256(key), Algorithm::SkEcdsaSha2NistP256) => {
                let (proof, trailer) = fixed(proof, EcdsaCurve::NistP256)?;
                let message = touched(key.application(), trailer, &signed)?;
                proves(&algorithms::ECDSA_P256_SHA256_FIXED, key.ec_point().as_bytes(), &message, &proof)
            }
            (key, kind) => {
                Err(Fault::Unsupported(format!("a {kind} signature by a {} key is not taken", key.algorithm())))
            }
        }
    }
}

fn proves(
    algorithm: &'static dyn VerificationAlgorithm,
    key: &[u8],
    message: &[u8],
    proof: &[u8],
) -> Result<(), Fault> {
    UnparsedPublicKey::new(algorithm, key).verify(message, proof).map_err(|_| Fault::OtherBytes)
}

/// What a hardware key signs. Neither the parsing crate nor OpenSSH's own verification looks at the touch: this does.
fn touched(application: &str, trailer: &[u8], signed: &[u8]) -> Result<Vec<u8>, Fault> {
    let flags = *trailer.first().filter(|_| trailer.len() == TRAILER).ok_or(Fault::OtherBytes)?;
    if flags & USER_PRESENT == 0 {
        return Err(Fault::NoPresence);
    }
    let mut message = Sha256::digest(application.as_bytes()).to_vec();
    message.extend_from_slice(trailer);
    message.extend_from_slice(&Sha256::digest(signed));
    Ok(message)
}

/// `mpint r, mpint s` as `r || s`, each of the field's size; and what follows.
fn fixed(mut encoded: &[u8], curve: EcdsaCurve) -> Result<(Vec<u8>, &[u8]), Fault> {
    let size = match curve {
        EcdsaCurve::NistP256 => 32,
        EcdsaCurve::NistP384 => 48,
        EcdsaCurve::NistP521 => 66,
    };
    let mut both = Vec::with_capacity(2 * size);
    for _ in 0..2 {
        let number = Mpint::decode(&mut encoded).map_err(|error| Fault::Malformed(error.to_string()))?;
        let bytes = number.as_positive_bytes().filter(|bytes| bytes.len() <= size).ok_or(Fault::OtherBytes)?;
        both.resize(both.len() + size - bytes.len(), 0);
        both.extend_from_slice(bytes);
    }
    Ok((both, encoded))
}

/// An RSA key as PKCS#1 has it: `SEQUENCE { INTEGER n, INTEGER e }`. An mpint is what an INTEGER holds.
fn rsa_key(n: &[u8], e: &[u8]) -> Vec<u8> {
    let mut body = tagged(0x02, n);
    body.extend(tagged(0x02, e));
    tagged(0x30, &body)
}

/// DER: tag, length, content.
fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let mut out = vec![tag];
    match significant.as_slice() {
        [] => out.push(0),
        [short] if *short < 0x80 => out.push(*short),
        long => {
            out.push(0x80 | long.len() as u8);
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(content);
    out
}

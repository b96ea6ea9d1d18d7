//! Diffie-Hellman on P-256. A point is a type, checked once at the door: what is not on the curve meets
//! no private key.

use core::convert::Infallible;

use p256::elliptic_curve::point::{AffineCoordinates, DecompressPoint};
use p256::elliptic_curve::sec1::{FromEncodedPoint, ToEncodedPoint};
use p256::{AffinePoint, EncodedPoint, NonZeroScalar};
use zeroize::Zeroizing;

use super::join;
use crate::secret::SharedSecret;

/// A point on the curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(p256::PublicKey);

impl PublicKey {
    /// The point with these coordinates, if it is on the curve.
    #[must_use]
    pub fn from_xy(x: &[u8; 32], y: &[u8; 32]) -> Option<Self> {
        let point = EncodedPoint::from_affine_coordinates(x.into(), y.into(), false);
        Option::from(p256::PublicKey::from_encoded_point(&point)).map(Self)
    }

    /// One of the two points with this x, if there are any; both have the same products.
    #[must_use]
    pub fn from_x(x: &[u8; 32]) -> Option<Self> {
        let point: Option<AffinePoint> = AffinePoint::decompress(x.into(), 0.into()).into();
        p256::PublicKey::from_affine(point?).ok().map(Self)
    }

    /// Its x.
    #[must_use]
    pub fn x(&self) -> [u8; 32] {
        self.0.as_affine().x().into()
    }

    /// Its y.
    #[must_use]
    pub fn y(&self) -> [u8; 32] {
        // Only the point at infinity has none, and that is no public key.
        self.0.to_encoded_point(false).y().copied().unwrap_or_default().into()
    }

    /// `04 ‖ x ‖ y` (SEC 1), as tokens take it.
    #[must_use]
    pub fn uncompressed(&self) -> [u8; 65] {
        join(&[&[4], &self.x(), &self.y()])
    }
}

/// A static private key that multiplies, in memory or in a token that never shows it.
pub trait Agreement {
    /// Why a token does not answer.
    type Error;

    /// x of the product of the private key and `peer`.
    ///
    /// # Errors
    /// Those of the token.
    fn agree(&self, peer: &PublicKey) -> Result<SharedSecret, Self::Error>;
}

/// A private key in memory, wiped on drop.
pub struct PrivateKey(Zeroizing<NonZeroScalar>);

impl PrivateKey {
    /// Takes over the octets of a number from 1 to the curve's order - 1; of another there is none.
    /// Wiping the place they came from is the caller's work.
    #[must_use]
    pub fn from_octets(octets: &[u8; 32]) -> Option<Self> {
        Option::from(NonZeroScalar::from_repr((*octets).into())).map(|scalar| Self(Zeroizing::new(scalar)))
    }

    /// Its public key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(p256::PublicKey::from_secret_scalar(&self.0))
    }

    pub(super) fn shared(&self, peer: &PublicKey) -> SharedSecret {
        let product = p256::ecdh::diffie_hellman(&*self.0, peer.0.as_affine());
        SharedSecret::from_octets((*product.raw_secret_bytes()).into())
    }
}

impl Agreement for PrivateKey {
    type Error = Infallible;

    fn agree(&self, peer: &PublicKey) -> Result<SharedSecret, Infallible> {
        Ok(self.shared(peer))
    }
}

/// A key pair for one run.
pub struct Ephemeral {
    pub(super) key: PrivateKey,
    pub(super) g: [u8; 32],
}

impl Ephemeral {
    /// From 32 random octets; where they are none of the curve's numbers (one in 2^32), draw again.
    #[must_use]
    pub fn from_octets(octets: &[u8; 32]) -> Option<Self> {
        let key = PrivateKey::from_octets(octets)?;
        let g = key.public_key().x();
        Some(Self { key, g })
    }
}

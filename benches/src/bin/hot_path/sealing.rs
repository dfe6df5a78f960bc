//! What it costs to seal a record of TLS 1.3, as the daemon does it, and what of that is aws-lc's.

use std::error::Error;
use std::hint::black_box;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use oca_daemon::stats::TlsVersion;
use oca_daemon::tls::record::{ContentType, PLAINTEXT_BYTES_MAX, RECORD_BYTES_MAX};
use oca_daemon::tls::sealer::Sealer;
use oca_daemon::tls::traffic_key::TrafficKey;
use rustls::ConnectionTrafficSecrets;
use rustls::crypto::cipher::{AeadKey, Iv};

use crate::timing::Timing;

const KEY: [u8; 32] = [7; 32];
const NONCE: [u8; 12] = [9; 12];

/// A header, as additional data.
const HEADER: [u8; 5] = [23, 3, 3, 64, 17];

pub(crate) fn measure(timing: Timing) -> Result<(), Box<dyn Error>> {
    let content = vec![42; PLAINTEXT_BYTES_MAX];
    let mut record = vec![0; RECORD_BYTES_MAX];

    let secrets = ConnectionTrafficSecrets::Aes256Gcm { key: AeadKey::from(KEY), iv: Iv::from(NONCE) };
    let key = TrafficKey::new(&secrets, TlsVersion::Tls13).map_err(|_| "the suite is not known")?;
    let mut sealer = Sealer::new(key, 0, u64::MAX);
    timing.measure("seal a record of 16 KiB (AES-256-GCM)", |_| {
        let sealed = sealer.seal(ContentType::ApplicationData, black_box(&content), black_box(&mut record));
        assert!(sealed.is_ok());
    });

    let key = UnboundKey::new(&AES_256_GCM, &KEY).map_err(|_| "aws-lc does not take the key")?;
    let key = LessSafeKey::new(key);
    let tail = content.len()..content.len() + 1 + AES_256_GCM.tag_len();
    timing.measure("the same 16 KiB by aws-lc alone", |_| {
        let (sealed, type_and_tag) = black_box(&mut record)[..tail.end].split_at_mut(tail.start);
        let nonce = Nonce::assume_unique_for_key(NONCE);
        let content = black_box(&content);
        let done =
            key.seal_out_of_place_scatter(nonce, Aad::from(HEADER), content, sealed, &[23], type_and_tag);
        assert!(done.is_ok());
    });
    Ok(())
}

//! Numbers that others cannot guess, and that need not be guessed.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// 64 random bits.
pub fn number() -> u64 {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).expect("the kernel gives random bytes to every process");
    u64::from_le_bytes(bytes)
}

/// Evenly spread over 0 to 1: what spreads the retries of many appliances.
pub fn jitter() -> f64 {
    (number() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    #[test]
    fn jitter_lies_between_0_and_1_and_differs() {
        let many: Vec<f64> = (0..100).map(|_| super::jitter()).collect();
        assert!(many.iter().all(|jitter| (0.0..1.0).contains(jitter)));
        assert!(many.windows(2).any(|pair| pair[0] != pair[1]));
    }
}

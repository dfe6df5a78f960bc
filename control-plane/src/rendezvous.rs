//! Rendezvous hashing (Thaler and Ravishankar, 1998): every key draws a number for every candidate, and the
//! highest draw wins. Where a candidate comes or goes, only the keys that it wins or won move. Weighted as by
//! Schindelhauer and Schomaker (2005): a candidate wins keys in proportion to its weight, and a weight that
//! changes moves no more keys than it must.

use xxhash_rust::xxh3::xxh3_64;

/// What a key or a candidate is known by in [`draw`]. It is the same on every machine and in every release:
/// what is stored follows it.
pub fn identity(name: &str) -> u64 {
    xxh3_64(name.as_bytes())
}

/// What `key` draws for `candidate`.
pub const fn draw(key: u64, candidate: u64) -> u64 {
    // The finaliser of splitmix64 (Steele, Lea and Flood, 2014): every bit of both reaches every bit of the draw.
    let mut mixed = key ^ candidate.rotate_left(32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A draw that counts `weight`: always above 0 and finite for a weight above 0, and 0 for none.
pub fn weighted(draw: u64, weight: f64) -> f64 {
    // 52 bits, and half a step off both ends: exact, so that the logarithm is neither 0 nor infinite.
    let uniform = ((draw >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    if weight > 0.0 { weight / -uniform.ln() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_to_candidates_in_proportion_to_their_weights() {
        let candidates = [("oca-1", 1.0), ("oca-2", 2.0), ("oca-3", 5.0)];
        let mut won = [0_u32; 3];
        for key in 0..80_000_u32 {
            let key = identity(&format!("/titles/{key}/1080p"));
            let draws = candidates.map(|(name, weight)| weighted(draw(key, identity(name)), weight));
            let best = (0..3).max_by(|&left, &right| draws[left].total_cmp(&draws[right])).unwrap();
            won[best] += 1;
        }
        for (won, expected) in won.iter().zip([10_000_u32, 20_000, 50_000]) {
            assert!(won.abs_diff(expected) < expected / 20, "{won} of {expected}");
        }
    }

    #[test]
    fn a_weighted_draw_is_finite_at_both_ends() {
        for draw in [0, 1, u64::MAX - 1, u64::MAX] {
            let drawn = weighted(draw, 1e18);
            assert!(drawn.is_finite() && drawn > 0.0, "{drawn}");
            assert_eq!(weighted(draw, 0.0), 0.0);
        }
    }

    #[test]
    fn identities_do_not_change_from_release_to_release() {
        assert_eq!(identity("oca-1"), identity("oca-1"));
        assert_eq!(identity(""), 0x2d06_8005_38d3_94c2);
    }
}

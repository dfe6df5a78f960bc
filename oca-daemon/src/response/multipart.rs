//! `multipart/byteranges` (RFC 9110 §14.6, RFC 2046 §5.1.1).

use control_client::units::ByteRange;
use smallvec::SmallVec;

use super::Part;

/// Several ranges of one object as one body.
pub(crate) struct Multipart<'a> {
    /// The object's media type, said in every part.
    pub(crate) media_type: &'a str,
    /// Where the object lies in the bundle's file.
    pub(crate) object: ByteRange,
    /// Its SHA-256, from which the boundary is made.
    pub(crate) sha256: &'a [u8; 32],
}

impl Multipart<'_> {
    /// The boundary: the second half of the object's digest, of which the entity tag shows the first. Nobody
    /// can make an object that contains it, since they would have to know the digest of what they are
    /// writing.
    pub(crate) fn boundary(&self) -> String {
        let half = u128::from_be_bytes(*self.sha256.last_chunk().expect("a digest is longer than its half"));
        format!("oca-{half:032x}")
    }

    /// The body: for each range of the object, a head and its bytes of the file; then the closing boundary.
    pub(crate) fn parts(&self, ranges: &[ByteRange]) -> SmallVec<[Part; 1]> {
        let boundary = self.boundary();
        let mut parts = SmallVec::with_capacity(ranges.len() * 2 + 1);
        let mut line_end = "";
        for range in ranges {
            let (media_type, first, last, length) =
                (self.media_type, range.start, range.end - 1, self.object.len());
            let head = format!(
                "{line_end}--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: bytes {first}-{last}/{length}\r\n\r\n"
            );
            parts.push(Part::Text(head.into_bytes()));
            parts.push(Part::File(ByteRange::new(
                self.object.start + range.start,
                self.object.start + range.end,
            )));
            line_end = "\r\n";
        }
        parts.push(Part::Text(format!("\r\n--{boundary}--\r\n").into_bytes()));
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_in_the_order_asked_for_between_boundaries() {
        let sha256 = std::array::from_fn(|place| place as u8);
        let multipart =
            Multipart { media_type: "video/mp4", object: ByteRange::new(4096, 4196), sha256: &sha256 };
        let parts = multipart.parts(&[ByteRange::new(90, 100), ByteRange::new(0, 1)]);
        let expected: [Part; 5] = [
            Part::Text(b"--oca-101112131415161718191a1b1c1d1e1f\r\nContent-Type: video/mp4\r\nContent-Range: bytes 90-99/100\r\n\r\n".to_vec()),
            Part::File(ByteRange::new(4186, 4196)),
            Part::Text(b"\r\n--oca-101112131415161718191a1b1c1d1e1f\r\nContent-Type: video/mp4\r\nContent-Range: bytes 0-0/100\r\n\r\n".to_vec()),
            Part::File(ByteRange::new(4096, 4097)),
            Part::Text(b"\r\n--oca-101112131415161718191a1b1c1d1e1f--\r\n".to_vec()),
        ];
        assert_eq!(parts.as_slice(), expected);
    }
}

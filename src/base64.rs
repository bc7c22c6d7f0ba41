//! Base64 (RFC 4648).
//!
//! # Invariants
//!
//! * A text that is read has one spelling: padded, and without bits that mean nothing.

/// The digits of base64url.
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// The digits of plain base64.
const PLAIN: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64url, without padding.
pub(crate) fn base64url(bytes: &[u8]) -> String {
    encode(bytes, URL)
}

/// Plain base64, padded.
pub(crate) fn base64(bytes: &[u8]) -> String {
    let mut text = encode(bytes, PLAIN);
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// Reads plain base64, padded; `None` if it is not, or has bits that mean nothing.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for chunk in digits.chunks(4) {
        let mut bits = 0;
        for (place, digit) in chunk.iter().enumerate() {
            bits |= value(*digit)? << (18 - 6 * place);
        }
        let four = bits.to_be_bytes();
        let (meant, rest) = four[1..].split_at(chunk.len() * 6 / 8);
        if rest.iter().any(|byte| *byte != 0) {
            return None;
        }
        bytes.extend_from_slice(meant);
    }
    Some(bytes)
}

/// The six bits of a digit of plain base64.
fn value(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value.into())
}

/// Writes six bits as one digit.
fn encode(bytes: &[u8], digits: &[u8; 64]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut four = [0; 4];
        four[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(four);
        for digit in 0..=chunk.len() {
            let index = bits >> (18 - 6 * digit) & 63;
            text.push(char::from(digits[index as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
            assert_eq!(from_base64(text).as_deref(), Some(bytes.as_bytes()));
            assert_eq!(base64url(bytes.as_bytes()), text.trim_end_matches('='));
        }
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
    }
    #[test]
    fn what_is_not_base64_is_not_read() {
        for wrong in ["Z", "Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "Zm9v=", "====", "=", "Zg==Zg=="] {
            assert_eq!(from_base64(wrong), None, "{wrong}");
        }
        for wrong in ["Zm9v\n", "Zm 9", "-_8=", "Zm9\u{e4}", "Z=9v"] {
            assert_eq!(from_base64(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes: Vec<u8> = (0..=255).collect();
        for end in 0..bytes.len() {
            assert_eq!(from_base64(&base64(&bytes[..end])).as_deref(), Some(&bytes[..end]));
        }
    }
}

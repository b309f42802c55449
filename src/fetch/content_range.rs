//! The header `Content-Range` of a response.

use ureq::Body;
use ureq::http::{Response, header};

/// Value of a `Content-Range: bytes START-END/TOTAL` header. TOTAL may be `*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ContentRange {
    pub(super) start: u64,
    pub(super) total: Option<u64>,
}

impl ContentRange {
    /// Returns the range of a response, if it has a valid one.
    pub(super) fn of(response: &Response<Body>) -> Option<Self> {
        let value = response.headers().get(header::CONTENT_RANGE)?;
        Self::parse(value.to_str().ok()?)
    }

    fn parse(value: &str) -> Option<Self> {
        let (unit, range) = value.trim().split_once(' ')?;
        let (span, total) = range.split_once('/')?;
        let (start, _end) = span.split_once('-')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        Some(Self { start: start.trim().parse().ok()?, total: total.trim().parse().ok() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_parsed() {
        let range = |start, total| Some(ContentRange { start, total });
        assert_eq!(ContentRange::parse("bytes 5-9/10"), range(5, Some(10)));
        assert_eq!(ContentRange::parse("Bytes 5-9/*"), range(5, None));
    }

    #[test]
    fn malformed_content_ranges_are_rejected() {
        for value in ["", "bytes", "bytes */10", "bytes 5-9", "lines 5-9/10", "bytes -9/10"] {
            assert_eq!(ContentRange::parse(value), None, "{value:?}");
        }
    }
}

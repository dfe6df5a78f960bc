//! How a request ended. Every request ends with exactly one [`Outcome`]; the metrics count them by name, and
//! a total is the sum of its named causes.
//!
//! The table below is the only place that lists them: the metrics, the access log and the operator's manual read it.

/// Declares the outcomes as one table: variant, name, what it means and what to do.
macro_rules! outcomes {
    ($($variant:ident $name:literal $help:literal)*) => {
        /// How one request ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Outcome {
            $(#[doc = $help] $variant,)*
        }

        impl Outcome {
            /// Every outcome, in the order of the table; `outcome as usize` is its place.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$variant,)*];

            /// How many outcomes there are.
            pub const COUNT: usize = [$($name),*].len();

            /// The name of each, in the same order.
            pub fn words() -> impl Iterator<Item = &'static str> {
                Self::ALL.into_iter().map(Self::as_str)
            }

            /// Its name in metrics and logs, such as `refused_capacity`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One line for the operator: what it means and, where something should be done, what.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }
        }
    };
}

outcomes! {
    HitRam "hit_ram" "Answered from blocks locked in memory"
    HitDisk "hit_disk" "Answered from a bundle on disk"
    DemandHit "demand_hit" "Answered from pull-through content held here"
    DemandMiss "demand_miss" "Answered while the content was pulled from upstream"
    DemandPassed "demand_passed" "A method that caches do not answer was passed to upstream, as pull.unsafe_methods allows, and its answer back"
    Redirected "redirected" "Sent elsewhere because the content is not held here"
    NotModified "not_modified" "304: the client's copy is still right"
    Head "head" "HEAD: the fields of an object without its bytes"
    Options "options" "OPTIONS: what is allowed, and CORS preflights"

    RefusedCapacity "refused_capacity" "503: the connection bound is reached; raise serve.connections or add an appliance"
    RefusedVolumeBusy "refused_volume_busy" "503: too many bundles of the volume wait to be opened; look at the disk's latency"
    RefusedBuffers "refused_buffers" "503: no read buffer was free within serve.disk_timeout; raise serve.read_buffers or add an appliance"
    RefusedDiskTimeout "refused_disk_timeout" "503: the disk did not answer within serve.disk_timeout; look at the disk"
    RefusedReadError "refused_read_error" "503: the disk gave an error before the first byte was sent; look at the kernel log"
    RefusedCorrupt "refused_corrupt" "503: a checksum did not match before the first byte was sent; the bundle is quarantined"
    RefusedVolumeFailed "refused_volume_failed" "503: the volume is isolated; replace the disk"
    RefusedExhausted "refused_exhausted" "503: no descriptor or memory was left to open the bundle; raise LimitNOFILE or lower serve.connections"
    RefusedShutdown "refused_shutdown" "503: the daemon is stopping"
    RefusedUpstreamUnreachable "refused_upstream_unreachable" "502: no upstream could be connected to; look at the upstreams and at the network between"
    RefusedUpstreamTimeout "refused_upstream_timeout" "504: upstream did not answer within pull.first_byte_timeout; look at the upstream"
    RefusedUpstreamInvalid "refused_upstream_invalid" "502: upstream broke off, or its answer breaks HTTP or itself; the log says how, and the upstream's operator must mend it"
    RefusedUpstreamLoop "refused_upstream_loop" "508: upstream leads back to this appliance; correct pull.upstreams"
    RefusedUpstreamBusy "refused_upstream_busy" "503: pull.requests or pull.fetches is reached, or one client's part of them; raise them, or look why upstream is slow"
    RefusedUpstreamError "refused_upstream_error" "5xx: upstream's own answer, passed on; look at the upstream"
    RefusedUpstreamDefect "refused_upstream_defect" "502: a request was given up without a reason; report it"

    ClientErrorMalformed "client_error_malformed" "400: the request line or a field breaks the grammar of HTTP"
    ClientErrorFraming "client_error_framing" "400: Content-Length, Transfer-Encoding or a chunk is wrong; possibly a smuggling attempt"
    ClientErrorHost "client_error_host" "400: Host is missing, repeated or not a host"
    ClientErrorTarget "client_error_target" "400: the target is not a path: bad escape, escaped slash or control byte, above the root"
    ClientErrorAbsent "client_error_absent" "404: no object has this name here; if steering sends clients for it, compare the inventory"
    ClientErrorMethod "client_error_method" "405: only GET, HEAD and OPTIONS are allowed"
    ClientErrorTimeout "client_error_timeout" "408: the request was not complete within serve.header_timeout"
    ClientErrorPreconditionFailed "client_error_precondition_failed" "412: If-Match or If-Unmodified-Since does not hold"
    ClientErrorContentTooLarge "client_error_content_too_large" "413: the request carries more content than is read and discarded"
    ClientErrorUriTooLong "client_error_uri_too_long" "414: the request line is longer than is read"
    ClientErrorRangeNotSatisfiable "client_error_range_not_satisfiable" "416: no requested range lies within the object"
    ClientErrorExpectation "client_error_expectation" "417: Expect asks for something other than 100-continue"
    ClientErrorMisdirected "client_error_misdirected" "421: an https target on a cleartext connection"
    ClientErrorFieldsTooLarge "client_error_fields_too_large" "431: the fields are more or longer than are read"
    ClientErrorUnknownMethod "client_error_unknown_method" "501: the method is not known, or is CONNECT"
    ClientErrorCoding "client_error_coding" "501: a transfer coding other than chunked"
    ClientErrorVersion "client_error_version" "505: not HTTP/1.x; an HTTP/2 preface ends here too"
    ClientErrorOnlyIfCached "client_error_only_if_cached" "504: the client takes only what is held, and it is not, or not fresh"
    ClientErrorUpstream "client_error_upstream" "4xx but 404, 410, 412 and 416: upstream's own answer, passed on"

    AbortedClientGone "aborted_client_gone" "The client closed the connection before the response was complete; seeking players do"
    AbortedSendStall "aborted_send_stall" "The client took no bytes for serve.send_stall_timeout"
    AbortedLifetime "aborted_lifetime" "The connection reached serve.connection_lifetime during a response"
    AbortedReadError "aborted_read_error" "The disk gave an error during the response; look at the kernel log"
    AbortedCorrupt "aborted_corrupt" "A checksum did not match during the response; no wrong byte left, the bundle is quarantined"
    AbortedBuffers "aborted_buffers" "No read buffer was free within serve.disk_timeout during the response; raise serve.read_buffers"
    AbortedDiskTimeout "aborted_disk_timeout" "The disk did not answer within serve.disk_timeout during the response; look at the disk"
    AbortedShutdown "aborted_shutdown" "The response was not complete within serve.shutdown_timeout"
    AbortedTls "aborted_tls" "The TLS connection broke during the request"
    AbortedUpstreamTimeout "aborted_upstream_timeout" "Upstream sent nothing for pull.stall_timeout, or next to nothing for three times as long, during the response"
    AbortedUpstreamInvalid "aborted_upstream_invalid" "Upstream broke off, or sent another length or other content than it had said, during the response"
}

#[cfg(test)]
mod tests {
    use super::Outcome;

    #[test]
    fn every_outcome_stands_at_its_own_place_in_the_table() {
        for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place, "{}", outcome.as_str());
        }
    }

    #[test]
    fn names_are_unique_and_belong_to_a_family_of_the_design() {
        let alone = ["redirected", "not_modified", "head", "options"];
        let families = ["hit_", "demand_", "refused_", "client_error_", "aborted_"];
        for outcome in Outcome::ALL {
            let name = outcome.as_str();
            assert_eq!(Outcome::ALL.iter().filter(|other| other.as_str() == name).count(), 1, "{name}");
            assert!(
                alone.contains(&name) || families.iter().any(|family| name.starts_with(family)),
                "{name}"
            );
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        }
    }

    #[test]
    fn every_outcome_has_one_line_of_help() {
        for outcome in Outcome::ALL {
            let help = outcome.help();
            assert!(!help.is_empty() && !help.contains('\n') && !help.ends_with('.'), "{}", outcome.as_str());
        }
    }
}

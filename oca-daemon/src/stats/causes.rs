//! The named causes that a worker counts by. Each enum is a label of one metric; its words are the label's
//! values.

/// Declares a fieldless enum whose variants have one word for metrics and logs, and one line of help.
macro_rules! causes {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal: $help:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $(#[doc = $help] $variant,)+
        }

        impl $name {
            /// Every variant, in the order of their numbers.
            pub const ALL: &[$name] = &[$($name::$variant,)+];
            /// How many there are.
            pub const COUNT: usize = $name::ALL.len();

            /// The word of each, in the same order.
            pub fn words() -> impl Iterator<Item = &'static str> {
                $name::ALL.iter().map(|cause| cause.as_str())
            }

            /// The word in metrics and logs.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }

            /// What it means, in one line.
            pub const fn help(self) -> &'static str {
                match self { $($name::$variant => $help,)+ }
            }
        }
    };
}

pub(crate) use causes;

causes! {
    /// How a client reaches us.
    Transport {
        Cleartext = "cleartext": "HTTP over TCP.",
        Tls = "tls": "HTTP over TLS.",
    }
}

causes! {
    /// The TLS version that a handshake settled on.
    TlsVersion {
        Tls12 = "1.2": "TLS 1.2.",
        Tls13 = "1.3": "TLS 1.3.",
    }
}

causes! {
    /// Who seals what is sent over a TLS connection.
    RecordLayer {
        Kernel = "kernel": "The kernel: what is in memory goes by sendfile.",
        User = "user": "The daemon.",
        Refused = "refused": "The daemon, because the kernel, which can, would not.",
    }
}

causes! {
    /// Why a connection ended.
    CloseCause {
        PeerClosed = "peer_closed": "The client closed it between two requests.",
        Finished = "finished": "Closed after a response, because the client or HTTP/1.0 asked for it.",
        RequestRefused = "request_refused": "Closed after an error response that ends the connection, as \
        the RFC demands for broken framing.",
        Capacity = "capacity": "The bound on connections was reached; the client was told to come back.",
        HandshakeFailed = "handshake_failed": "The TLS handshake failed.",
        HeaderTimeout = "header_timeout": "A request head or a handshake was not complete in time.",
        IdleTimeout = "idle_timeout": "No further request arrived in time.",
        SendStall = "send_stall": "The client took no bytes for too long.",
        Lifetime = "lifetime": "The connection reached its age limit.",
        PeerReset = "peer_reset": "The client or the network broke it off.",
        ContentFailed = "content_failed": "Reset by us, because the rest of a body could not be read or was \
        not right.",
        Shutdown = "shutdown": "The daemon stopped.",
        SystemError = "system_error": "A system call of ours failed; the log has the error.",
    }
}

causes! {
    /// Why accepting was paused.
    AcceptPause {
        Descriptors = "descriptors": "The process has no free file descriptor (EMFILE).",
        SystemDescriptors = "system_descriptors": "The machine has no free file descriptor (ENFILE).",
        Memory = "memory": "The kernel has no memory for a socket (ENOBUFS, ENOMEM).",
        Capacity = "capacity": "The bound on connections was reached, and at_capacity is \"pause\".",
        SystemError = "system_error": "Another error of accept; the log has it.",
    }
}

impl AcceptPause {
    /// Whether it is a shortage that the operator has to know about, rather than the bound that the operator
    /// chose.
    pub const fn is_shortage(self) -> bool {
        !matches!(self, AcceptPause::Capacity)
    }
}

causes! {
    /// How a read of a volume ended.
    ReadEnd {
        Complete = "complete": "All bytes arrived, and their checksums are right.",
        Failed = "failed": "The device or file system gave an error.",
        Truncated = "truncated": "The file ended early.",
        Corrupt = "corrupt": "The bytes arrived, and a checksum is wrong; none of them was sent.",
        Cancelled = "cancelled": "Nobody waits for it any more.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_a_metric_label_and_every_help_a_sentence() {
        let mut all: Vec<(&str, &str)> = Vec::new();
        all.extend(Transport::ALL.iter().map(|cause| (cause.as_str(), cause.help())));
        all.extend(CloseCause::ALL.iter().map(|cause| (cause.as_str(), cause.help())));
        all.extend(AcceptPause::ALL.iter().map(|cause| (cause.as_str(), cause.help())));
        all.extend(ReadEnd::ALL.iter().map(|cause| (cause.as_str(), cause.help())));
        for (word, help) in all {
            assert!(word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{word}");
            assert!(help.ends_with('.'), "{help}");
        }
    }

    #[test]
    fn variants_are_numbered_in_the_order_of_the_list() {
        assert!(CloseCause::ALL.iter().enumerate().all(|(index, &cause)| cause as usize == index));
        assert!(ReadEnd::ALL.iter().enumerate().all(|(index, &end)| end as usize == index));
    }
}

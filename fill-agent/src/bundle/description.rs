//! What a bundle consists of: its descriptor, which has to be what the manifest says.

use control_client::descriptor::Descriptor;
use control_client::fill::FailureReason;

use super::{End, Work};
use crate::descriptors::{self, NoDescriptor};
use crate::limits::{DESCRIPTOR_RETRY, DESCRIPTOR_WAITS_MAX};
use crate::random::jitter;
use crate::run::Run;

/// Finds the descriptor of a bundle, or says when to look again.
pub(super) async fn descriptor(run: &Run, work: &mut Work) -> Result<Descriptor, End> {
    let agent = &run.agent;
    let found = descriptors::descriptor(agent, &work.entry.descriptor, &work.planned.key).await;
    let found = match found {
        Ok(found) => found,
        Err(NoDescriptor::Later(_)) if work.descriptor_waits < DESCRIPTOR_WAITS_MAX => {
            let delay = DESCRIPTOR_RETRY.delay(work.descriptor_waits, jitter());
            work.descriptor_waits += 1;
            return Err(End::Wait(agent.pace.now() + delay));
        }
        Err(NoDescriptor::Later(why) | NoDescriptor::Never(why)) => {
            return Err(End::Failed(FailureReason::Descriptor, why));
        }
    };
    if found.bytes() == work.entry.bytes && found.objects.len() as u64 == work.entry.objects {
        return Ok(found);
    }
    // The plan has made room for what the manifest says.
    Err(End::Failed(
        FailureReason::Descriptor,
        format!(
            "the descriptor has {} objects of {} bytes, the manifest says {} of {}",
            found.objects.len(),
            found.bytes(),
            work.entry.objects,
            work.entry.bytes
        ),
    ))
}

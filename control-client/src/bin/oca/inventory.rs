use std::process::ExitCode;

use control_client::admin_client::Call;
use control_client::inventory::{Inventory, InventoryEntry};
use control_client::units::ByteCount;

use crate::arguments::Asking;
use crate::failure::Failure;
use crate::output;
use crate::table::{Align, table};
use crate::target::ask;

/// `oca inventory`.
pub(crate) fn run(asking: &Asking) -> Result<ExitCode, Failure> {
    let answer = ask(asking, &Call::Inventory)?;
    let inventory: Inventory = answer.document()?;
    if asking.json {
        output::print_bytes(&answer.content)?;
    } else {
        output::print(&show(inventory))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(mut inventory: Inventory) -> String {
    inventory
        .bundles
        .sort_by(|a, b| (&a.path, a.generation, a.volume).cmp(&(&b.path, b.generation, b.volume)));
    let objects: u64 = inventory.bundles.iter().fold(0, |sum, entry| sum.saturating_add(entry.objects));
    let bytes: u64 = inventory.bundles.iter().fold(0, |sum, entry| sum.saturating_add(entry.bytes));
    let mut text = table(
        [
            ("path", Align::Left),
            ("generation", Align::Right),
            ("volume", Align::Right),
            ("objects", Align::Right),
            ("size", Align::Right),
            ("state", Align::Left),
        ],
        inventory.bundles.iter().map(row),
    );
    let size = ByteCount::new(bytes).rounded();
    text.push_str(&format!("\n{} bundles, {objects} objects, {size}\n", inventory.bundles.len()));
    text
}

fn row(entry: &InventoryEntry) -> [String; 6] {
    [
        entry.path.to_string(),
        entry.generation.to_string(),
        entry.volume.to_string(),
        entry.objects.to_string(),
        ByteCount::new(entry.bytes).rounded(),
        entry.state.to_string(),
    ]
}

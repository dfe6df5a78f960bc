use std::process::ExitCode;

use cache_store::Volume;
use serde_json::json;

use crate::Failure;
use crate::arguments::InitArguments;
use crate::output::print;

/// Makes a volume, or readmits one.
pub(crate) fn run(arguments: &InitArguments) -> Result<ExitCode, Failure> {
    let path = &arguments.volume;
    if arguments.readmit {
        let volume = Volume::open(path, false).map_err(Failure::new)?;
        let was_isolated = volume.readmit()?;
        let text = match was_isolated {
            true => format!("{}: readmitted; restart the daemon to serve from it\n", path.display()),
            false => format!("{}: was not isolated; nothing was changed\n", path.display()),
        };
        let document = json!({ "volume": path, "id": volume.id().to_string(), "was_isolated": was_isolated });
        print(arguments.json, &document, &text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let is_mounted = Volume::is_mounted(path);
    if arguments.mount_required && !is_mounted {
        return Err(Failure::Failed(format!("{}: no disk is mounted there; mount it first", path.display())));
    }
    let id = Volume::init(path).map_err(Failure::new)?;
    let mut text = format!("{}: volume {id}\n", path.display());
    if !is_mounted {
        text.push_str("no disk is mounted there: the daemon takes it with mount_required = false only\n");
    }
    let document = json!({ "volume": path, "id": id.to_string(), "is_mounted": is_mounted });
    print(arguments.json, &document, &text)?;
    Ok(ExitCode::SUCCESS)
}

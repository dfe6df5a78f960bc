use control_client::fleet::ApplianceName;
use control_client::limits::SERVE_URLS_MAX;
use control_client::report::Enrolment;
use control_client::web_url;

use super::RegistryError;
use crate::database::{Database, from_i64, maybe_number, number, text, to_i64};
use crate::limits;

/// Takes what an appliance says of itself.
pub async fn enrol(
    database: &Database,
    name: &ApplianceName,
    enrolment: &Enrolment,
    now: u64,
) -> Result<(), RegistryError> {
    check(enrolment).map_err(RegistryError::Refused)?;
    let urls = serde_json::to_string(&enrolment.serve_urls).expect("a list of texts is JSON");
    let mut change = database.change().await?;
    // The row is changed before it is compared, so that two enrolments wait for each other.
    let sql = "UPDATE appliances SET release = $1 WHERE name = $2 RETURNING enrolled_at, serve_urls, admin_url, capacity_bytes";
    let arguments = vec![enrolment.release.as_str().into(), name.as_str().into()];
    let row =
        change.row(sql, arguments).await?.ok_or_else(|| RegistryError::UnknownAppliance(name.clone()))?;
    let is_as_it_was = maybe_number(&row, 0)?.is_some()
        && text(&row, 1)? == urls
        && text(&row, 2)? == enrolment.admin_url
        && number(&row, 3)? == from_i64(to_i64(enrolment.capacity_bytes));
    if !is_as_it_was {
        // Only then, so that ten thousand agents that start again are no work for those who follow the fleet.
        change.count("fleet").await?;
    }
    let sql = "UPDATE appliances SET enrolled_at = $1, serve_urls = $2, admin_url = $3, capacity_bytes = $4 WHERE name = $5";
    let arguments = vec![
        now.into(),
        urls.into(),
        enrolment.admin_url.as_str().into(),
        enrolment.capacity_bytes.into(),
        name.as_str().into(),
    ];
    change.execute(sql, arguments).await?;
    Ok(change.commit().await?)
}

fn check(enrolment: &Enrolment) -> Result<(), String> {
    if enrolment.release.len() > limits::TEXT_BYTES_MAX || enrolment.release.contains(char::is_control) {
        return Err(format!(
            "release is longer than {} bytes, or holds a control character",
            limits::TEXT_BYTES_MAX
        ));
    }
    if enrolment.serve_urls.len() > SERVE_URLS_MAX {
        return Err(format!("serve_urls has more than {SERVE_URLS_MAX} URLs"));
    }
    for url in &enrolment.serve_urls {
        check_url("serve_urls", url)?;
    }
    // An appliance whose health nobody may poll is judged by its reports alone.
    if enrolment.admin_url.is_empty() { Ok(()) } else { check_url("admin_url", &enrolment.admin_url) }
}

/// As appliances check their configuration: what they may be told of themselves is taken.
fn check_url(key: &str, text: &str) -> Result<(), String> {
    web_url::check(text).map_err(|error| format!("{key}: {text:?}: {error}"))?;
    if web_url::has_path(text) { Err(format!("{key}: {text:?} has a path")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_a_scheme_a_host_and_a_port() {
        for good in ["http://192.0.2.7", "https://oca-1.example.net", "http://[2001:db8::7]:8080/"] {
            assert_eq!(check_url("serve_urls", good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "192.0.2.7",
            "ftp://a",
            "http://a/b",
            "http://a/?q",
            "http://user@a",
            "file:///etc",
            "http://",
        ] {
            assert!(check_url("serve_urls", bad).is_err(), "{bad}");
        }
        assert!(check_url("serve_urls", &format!("http://{}", "a".repeat(2_000))).is_err());
    }
}

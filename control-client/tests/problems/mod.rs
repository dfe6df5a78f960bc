//! What an operator is told of a configuration.

use control_client::config::Config;

/// Why a text is no configuration.
pub(crate) fn refusal(text: &str) -> String {
    Config::parse(text).expect_err("the text must be refused").to_string()
}

/// What is wrong with one that is.
pub(crate) fn problems(text: &str) -> Vec<String> {
    Config::parse(text).expect("readable").check().iter().map(ToString::to_string).collect()
}

#[track_caller]
pub(crate) fn assert_only_problem(text: &str, expected: &str) {
    let problems = problems(text);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains(expected), "{problems:?}");
}

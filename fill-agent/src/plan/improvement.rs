//! The exact part: over the bundles at the margin, the last ones that were selected and the first ones that
//! were not, every choice is looked at, or excluded by a bound. What the greedy pass gets wrong lies there:
//! one large bundle that keeps out two, a night's bytes that are not quite used, a volume that is full by a
//! little.

mod cover;
mod margin;
mod search;

use super::selection::{Fate, Selection, Stay};
use super::worth::Worth;

use cover::Cover;
use margin::{marginal_candidates, marginal_victims, marginal_volumes, ties_of};
use search::Search;

/// Replaces the choices at the margin by the best ones.
pub(super) fn improve(selection: &mut Selection<'_>) {
    let before = selection.clone();
    let volumes = marginal_volumes(selection);
    let places = marginal_candidates(selection, &volumes);
    let ties: Vec<usize> = places.iter().flat_map(|place| ties_of(selection, *place)).collect();
    let victims: Vec<Vec<usize>> =
        volumes.iter().map(|volume| marginal_victims(selection, *volume, &ties)).collect();

    let worth = take_back(selection, &places, victims.iter().flatten().chain(&ties));
    let covers = victims.into_iter().map(|victims| Cover::new(selection, victims)).collect();
    let mut search = Search::new(selection, &volumes, &places, covers, worth);
    search.decide(0, Worth::ZERO);
    match search.best_choices.take() {
        Some(choices) => search.finish(&choices).apply(selection),
        None => *selection = before,
    }
}

/// Undoes the choices about these, and says what they were worth.
fn take_back<'v>(
    selection: &mut Selection<'_>,
    places: &[usize],
    victims: impl Iterator<Item = &'v usize>,
) -> Worth {
    let mut worth = Worth::ZERO;
    for place in places {
        if matches!(selection.fate[*place], Fate::Fetched(_)) {
            worth += selection.survey.candidates[*place].gain();
            selection.unfetch(*place);
        }
    }
    for victim in victims {
        if selection.stay[*victim] == Stay::Goes {
            worth = worth - selection.survey.victims[*victim].cost();
            selection.keep(*victim);
        }
    }
    worth
}

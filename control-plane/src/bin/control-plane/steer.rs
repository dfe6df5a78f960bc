use control_client::steering::SteeringAnswer;
use control_plane::fleet::MemberUpdate;
use control_plane::hysteresis::Hysteresis;
use control_plane::mirror::Mirror;
use control_plane::plane::now;
use control_plane::standings::Standings;
use control_plane::steering::Question;

use crate::Session;
use crate::arguments::SteerArguments;
use crate::failure::Failure;

/// Decides from the database: with the standings that the control plane remembered last, which does not have to run.
pub(crate) async fn steer(session: &Session, question: SteerArguments) -> Result<(), Failure> {
    let config = session.control_plane();
    let database = session.database().await?;
    let mirror = Mirror::of(config);
    let appliances = mirror.refresh(&database).await?.appliances.unwrap_or_default();
    let standings = Standings::new(Hysteresis { misses: config.misses, recoveries: config.recoveries });
    let fleet = mirror.fleet();
    for (name, turn) in standings.follow(&appliances, now()) {
        fleet.update(&name, MemberUpdate { standing: Some(turn.to), utilisation: Some(turn.utilisation) });
    }
    let answer = fleet.steer(&Question {
        client: question.client,
        path: &question.path,
        explain: session.output.explain,
    });
    session.output.write(&answer, lines)
}

fn lines(answer: &SteeringAnswer) -> Vec<String> {
    let site =
        answer.site.as_ref().map_or("no site has this client".to_owned(), |site| format!("site {site}"));
    let mut lines = vec![format!("{}: {site}; holds for {} s", answer.path, answer.ttl_seconds)];
    for (place, candidate) in answer.candidates.iter().enumerate() {
        let name = candidate.appliance.as_ref().map_or("the origin", |name| name.as_str());
        lines.push(format!("{}. {name} (tier {}): {}", place + 1, candidate.tier, candidate.urls.join(" ")));
    }
    if answer.candidates.is_empty() {
        lines.push("nobody can serve it".to_owned());
    }
    lines.extend(
        answer.explanation.iter().map(|explained| format!("{}: {}", explained.appliance, explained.why)),
    );
    lines
}

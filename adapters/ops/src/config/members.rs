//! What each member is for, and who is preferred: `witnesses`, `observers` and `priorities`.

use super::document::Document;
use super::error::SetupError;
use super::section::{ElectSection, SECTION};
use kevy_elect_plugin::config::Member;
use kevy_elect_plugin::ids::NodeId;

/// A key, the members that it names, and what that makes of each.
type Kind<'a> = (&'a str, &'a [String], fn(NodeId) -> Member);

/// The members, in the order of `ids`.
pub(super) fn read(
    section: &ElectSection,
    ids: &[NodeId],
    document: &Document<'_>,
) -> Result<Vec<Member>, SetupError> {
    let mut members: Vec<Member> = ids.iter().map(|id| Member::voter(*id)).collect();
    let mut listed: Vec<&str> = Vec::new();
    let kinds: [Kind<'_>; 2] = [
        ("witnesses", &section.witnesses, Member::witness),
        ("observers", &section.observers, Member::observer),
    ];
    for (key, names, member) in kinds {
        for name in names {
            let wrong = |reason: &str| document.error(SECTION, key, name, reason.to_owned());
            let known = find(&mut members, name).ok_or_else(|| wrong(UNKNOWN))?;
            if listed.contains(&name.as_str()) {
                return Err(wrong("stands twice; a member is a witness, or an observer, or neither"));
            }
            *known = member(known.id);
            listed.push(name);
        }
    }
    let mut preferred: Vec<&str> = Vec::new();
    for entry in &section.priorities {
        let wrong = |reason: &str| document.error(SECTION, "priorities", entry, reason.to_owned());
        let (name, priority) = entry
            .split_once('=')
            .and_then(|(name, priority)| Some((name.trim(), priority.trim().parse().ok()?)))
            .ok_or_else(|| wrong("use \"id=priority\" with a priority from 0 (never primary) to 255, as in \"n1=200,n2=0\""))?;
        let known = find(&mut members, name).ok_or_else(|| wrong(UNKNOWN))?;
        if listed.contains(&name) {
            return Err(wrong("is a witness or an observer, which is never primary; remove its priority"));
        }
        if preferred.contains(&name) {
            return Err(wrong("stands twice; keep one"));
        }
        *known = known.with_priority(priority);
        preferred.push(name);
    }
    Ok(members)
}

const UNKNOWN: &str = "is not in [cluster] peers; add it there, or correct its id";

fn find<'a>(members: &'a mut [Member], name: &str) -> Option<&'a mut Member> {
    members.iter_mut().find(|member| member.id.as_str() == name)
}

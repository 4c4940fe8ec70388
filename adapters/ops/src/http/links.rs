//! The links between each pair, for people: each row is what one node says of its own, both ways.

use super::html::escape;
use super::views::View;
use kevy_elect_plugin::ids::NodeId;
use kevy_elect_plugin::plugin::ElectSnapshot;
use kevy_elect_plugin::transport::Directions;
use std::fmt::Write;

const LEGEND: &str = "Each row is what that node says itself: ← the link from the other is up, → its link to the other is up, \
    ✗ in place of an arrow: it is cut.";

pub(super) fn links(body: &mut String, snapshot: &ElectSnapshot, views: &[(NodeId, Result<View, String>)]) {
    let me = snapshot.node;
    let mut ids: Vec<NodeId> = snapshot.peers.iter().map(|peer| peer.id).chain([me]).collect();
    ids.sort();
    body.push_str("<h2>Links</h2><div class=wide><table class=links><tr><th>");
    // Writing to a String cannot fail.
    for id in &ids {
        let _ = write!(body, "<th>{}", escape(id.as_str()));
    }
    body.push_str("</tr>");
    for from in &ids {
        let _ = write!(body, "<tr><th>{}", escape(from.as_str()));
        for to in &ids {
            let ways = if *from == me { own(snapshot, *to) } else { theirs(views, *from, *to) };
            match (from == to, ways) {
                (true, _) => body.push_str("<td>·"),
                (false, Some(ways)) => cell(body, *to, ways),
                (false, None) => body.push_str("<td class=note>?"),
            }
        }
        body.push_str("</tr>");
    }
    let _ = write!(body, "</table></div><p class=note>{LEGEND}</p>");
    let unknown = views.iter().filter_map(|(id, view)| Some((id, view.as_ref().err()?)));
    for (id, reason) in unknown {
        let _ = write!(
            body,
            "<p class=note><b class=warn>?</b> What {} sees is not known: {}.</p>",
            escape(id.as_str()),
            escape(reason)
        );
    }
}

fn own(snapshot: &ElectSnapshot, to: NodeId) -> Option<Directions> {
    let peer = snapshot.peers.iter().find(|peer| peer.id == to)?;
    Some(peer.links.unwrap_or(Directions { out: peer.linked, back: peer.linked }))
}

fn theirs(views: &[(NodeId, Result<View, String>)], from: NodeId, to: NodeId) -> Option<Directions> {
    let (_, view) = views.iter().find(|(id, _)| *id == from)?;
    let (_, ways) = view.as_ref().ok()?.links.iter().find(|(id, _)| id == to.as_str())?;
    Some(*ways)
}

fn cell(body: &mut String, other: NodeId, ways: Directions) {
    let other = escape(other.as_str());
    let state = |up: bool| if up { "up" } else { "cut" };
    let arrow = |up: bool, arrow: &str| match up {
        true => format!("<span class=good>{arrow}</span>"),
        false => "<span class=bad>✗</span>".to_owned(),
    };
    let (back, out) = (arrow(ways.back, "←"), arrow(ways.out, "→"));
    let _ = write!(
        body,
        "<td title='from {other}: {}, to {other}: {}'>{back}{out}",
        state(ways.back),
        state(ways.out)
    );
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use crate::http::fixture::behind;

    #[test]
    fn every_node_has_its_row_and_what_is_not_known_says_why() {
        let id = |name| NodeId::new(name).unwrap();
        // b's peer is a; c is a's peer, and silent.
        let mut node = behind();
        let mut silent = node.peers[0].clone();
        (silent.id, silent.linked) = (id("c"), false);
        node.peers.push(silent);
        let ways = |out, back| Directions { out, back };
        let seen = View {
            links: vec![("b".to_owned(), ways(true, true)), ("c".to_owned(), ways(true, false))],
            lease: None,
        };
        let views = [(id("a"), Ok(seen)), (id("c"), Err("10.0.0.3:9121 <cannot be reached>".to_owned()))];
        let mut body = String::new();
        links(&mut body, &node, &views);
        let row = |name: &str| {
            let from = body.split(&format!("<tr><th>{name}")).nth(1).unwrap();
            from.split("</tr>").next().unwrap().to_owned()
        };
        assert!(
            row("a").contains("from b: up, to b: up") && row("a").contains("from c: cut, to c: up"),
            "{body}"
        );
        assert!(
            row("b").contains("from a: up, to a: up") && row("b").contains("from c: cut, to c: cut"),
            "{body}"
        );
        assert_eq!(row("c").matches('?').count(), 2, "{body}");
        assert!(
            body.contains("What c sees is not known: 10.0.0.3:9121 &lt;cannot be reached&gt;."),
            "{body}"
        );
    }
}

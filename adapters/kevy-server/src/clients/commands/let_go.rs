//! A primary that may have been replaced sends clients away that come back to it (F22 of `docs/protocol.md`): other nodes may have
//! named it for a moment after its lease had ended.

use super::ElectedCommands;
use crate::clients::harmless;
use crate::clients::verdict::Verdict;
use kevy_rt::{ArgvView, BlockHint, ResolvedCmd, Route, VerbId};

impl ElectedCommands {
    /// Answers who reads and ends its connection; refuses who publishes or would wait, and ends who listens. Who asks about the server
    /// itself stays. Whether that is all that becomes of the command.
    #[cold]
    pub(super) fn let_go<A: ArgvView + ?Sized>(&self, args: &A, resolved: &mut ResolvedCmd) -> bool {
        if kevy_rt::applying_record() || resolved.is_write {
            return false;
        }
        match resolved.route {
            // An end is what every library expects there; an error to `SUBSCRIBE` some of them do not.
            Route::Subscribe | Route::Psubscribe => {
                *resolved = ResolvedCmd::new(Route::Local)
                    .with_verb(Verdict::Ignored.mark(VerbId::UNKNOWN))
                    .with_quit(true);
                return true;
            }
            Route::Publish => self.resolve_shut(args, resolved),
            _ if matches!(resolved.block_hint, BlockHint::Block { .. }) => self.resolve_shut(args, resolved),
            _ => {
                resolved.is_quit |= args.first().is_some_and(harmless::reads);
                return false;
            }
        }
        true
    }
}
